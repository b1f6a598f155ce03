"""Manners towards a local model: a laptop answers one question at a time, each over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..errors import TierUnavailable
from ..types import InLine, Reason

# As many as may come at once when the network goes away; whoever waits too long is told at the deadline.
LONGEST_LINE = 100

# A new connection to a neighbour costs nothing; one kept open may be closed just when the question is on its way.
FRESH = {"connection": "close"}


class LocalQueue:
    """Hands out turns in the order of asking, and refuses when too many wait."""

    def __init__(self, at_once: int = 1, longest: int = LONGEST_LINE) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._longest = longest
        self._line: dict[object, InLine] = {}  # in the order of asking

    @property
    def waiting(self) -> int:
        return len(self._line)

    @asynccontextmanager
    async def turn(self, tier: str, in_line: InLine = lambda before: None) -> AsyncGenerator[int, None]:
        """Wait for a turn and hold it; gives the number of those that stood before. Leaving the line is free.

        `in_line` hears that number whenever it changes: those that wait before, and the one being answered.
        """
        before = self.waiting
        if self._slots.locked():
            if before >= self._longest:
                raise TierUnavailable(
                    tier,
                    f"{before} questions already wait for the local model",
                    reason=Reason.BUSY,
                    cure="Wait a moment and ask again.",
                    wait=5.0,
                )
            before += 1  # the one being answered
            in_line(before)
        place = object()
        self._line[place] = in_line
        try:
            await self._slots.acquire()
        finally:
            del self._line[place]
            in_line(0)
            for number, other in enumerate(self._line.values()):
                other(number + 1)
        try:
            yield before
        finally:
            self._slots.release()
