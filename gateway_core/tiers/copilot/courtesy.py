"""Limits we set ourselves, so that a seat meant for one person is used like one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...clock import Clock
from ...errors import TierUnavailable
from ...types import Reason

PATIENCE = 10.0
MINUTE = 60.0


class Courtesy:
    """So many requests at a time, so many a minute; over them a request waits a little, then goes elsewhere."""

    def __init__(self, clock: Clock, *, in_flight: int, a_minute: int, patience: float = PATIENCE) -> None:
        self._clock = clock
        self._places = asyncio.Semaphore(in_flight) if in_flight else None
        self._a_minute = a_minute
        self._patience = patience
        self._begun: deque[float] = deque()

    @asynccontextmanager
    async def place(self, until_text: float) -> AsyncIterator[None]:
        """Hold a place for one request, or raise `TierUnavailable(courtesy_limit)`.

        Of the seconds left to its first text a request waits for half at most: the rest is for the answer.
        """
        patience = min(self._patience, until_text / 2)
        try:
            async with asyncio.timeout(patience):
                if self._places is not None:
                    await self._places.acquire()
                try:
                    await self._turn(patience)
                except BaseException:
                    if self._places is not None:
                        self._places.release()
                    raise
        except TimeoutError:
            raise _over("too many at a time") from None
        try:
            yield
        finally:
            if self._places is not None:
                self._places.release()

    async def _turn(self, patience: float) -> None:
        """Wait until the last minute has room."""
        while self._a_minute:
            now = self._clock.span()
            while self._begun and not 0 <= now - self._begun[0] < MINUTE:
                self._begun.popleft()
            if len(self._begun) < self._a_minute:
                self._begun.append(now)
                return
            wait = MINUTE - (now - self._begun[0])
            if wait > patience:  # waiting would be in vain
                raise _over(f"{self._a_minute} a minute")
            await asyncio.sleep(wait)


def _over(told: str) -> TierUnavailable:
    return TierUnavailable(
        "copilot",
        f"our own courtesy limit is reached ({told})",
        reason=Reason.COURTESY_LIMIT,
        cure="wait a moment, or change COPILOT_MAX_IN_FLIGHT and COPILOT_MAX_RPM",
    )
