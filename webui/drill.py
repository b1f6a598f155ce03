"""A drill: the next question of one page meets a fault that was chosen, and survives it or not, for all to see.

The fault is put in front of the real tiers inside a gateway of its own, with circuits of its own in memory: no real
circuit is charged, no other user of the server notices, and after one question, or a few minutes, it is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from gateway_core import Gateway, Reason, TierFailed

SECONDS_A_DRILL_WAITS = 300.0
_CUT_AFTER = 60  # characters
_RATE_LIMIT = 45.0  # seconds
_NEVER = 3600.0

FAULTS = {
    "down": "is down",
    "slow": "never begins to answer",
    "cut": "breaks off in mid-answer",
    "rate_limited": "says: too many requests",
    "offline": "no way out of this laptop",
}
TIERS = ("copilot", "cloud", "local")


@dataclass(frozen=True, slots=True)
class Drill:
    tier: str
    fault: str

    @property
    def words(self) -> str:
        return FAULTS[self.fault] if self.fault == "offline" else f"{self.tier} {FAULTS[self.fault]}"


class DrillRoom:
    """Holds the drill that waits for the next question of each page. A page is known by a word of its own."""

    def __init__(self, gateway: Gateway, now: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._now = now
        self._waiting: dict[str, tuple[Drill, float]] = {}

    def waiting(self, page: str = "") -> Drill | None:
        over = self._now() - SECONDS_A_DRILL_WAITS
        self._waiting = {page: told for page, told in self._waiting.items() if told[1] >= over}
        return self._waiting[page][0] if page in self._waiting else None

    def begin(self, drill: Drill, page: str = "") -> None:
        self._waiting[page] = (drill, self._now())

    def end(self, page: str = "") -> None:
        self._waiting.pop(page, None)

    def end_all(self) -> None:
        self._waiting.clear()

    def gateway_for_next(self, page: str = "") -> tuple[Gateway, str]:
        """The gateway of a page's next question and what it is drilled with, if it is; then the drill is over."""
        drill = self.waiting(page)
        self.end(page)
        if drill is None:
            return self._gateway, ""
        return _with_fault(self._gateway, drill), drill.words


def _with_fault(gateway: Gateway, drill: Drill) -> Gateway:
    rungs: list[Any] = [_Faulty(rung, drill.fault) if _meets(rung, drill) else rung for rung in gateway.router.rungs]
    return Gateway(
        rungs,
        settings=gateway.settings,
        clock=gateway.clock,
        network=gateway.network,
        composer=gateway.composer,
        budgets=gateway.budgets,
    )


def _meets(rung: Any, drill: Drill) -> bool:
    return bool(rung.leaves_laptop) if drill.fault == "offline" else bool(rung.backend == drill.tier)


class _Faulty:
    """A tier with a fault in front of it. Everything but its stream is the tier's own."""

    def __init__(self, rung: Any, fault: str) -> None:
        self._rung = rung
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rung, name)

    async def stream(self, prompt: Any, call: Any) -> AsyncGenerator[Any, None]:
        backend = self._rung.backend
        match self._fault:
            case "down":
                raise TierFailed(backend, "drill: nobody answers", reason=Reason.CONNECT_REFUSED)
            case "offline":
                raise TierFailed(backend, "drill: no way out", reason=Reason.OFFLINE)
            case "rate_limited":
                raise TierFailed(backend, "drill: too many requests", reason=Reason.RATE_LIMITED, wait=_RATE_LIMIT)
            case "slow":
                call.sent()
                await asyncio.sleep(_NEVER)
        shown = 0
        async with aclosing(self._rung.stream(prompt, call)) as chunks:
            async for chunk in chunks:
                if shown + len(chunk.text) > _CUT_AFTER or (shown and chunk.finish_reason):
                    raise TierFailed(backend, "drill: the connection broke", reason=Reason.RESET, may_have_billed=True)
                shown += len(chunk.text)
                yield chunk
