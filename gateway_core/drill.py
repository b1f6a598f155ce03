"""A drill: one question meets a fault that was chosen, and survives it or not, for all to see.

The fault is put in front of the real tiers inside a gateway of its own, with circuits and a journal of its own in
memory: no real circuit is charged, and no other user of the tiers notices. What the tiers answer is real, and paid for;
a tier that the fault keeps from being asked costs nothing, and no budget is charged for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from .errors import TierFailed
from .gateway import Gateway
from .tiers.base import Tier
from .types import Reason

_CUT_AFTER = 60  # characters
_RATE_LIMIT = 45.0  # seconds
_IN_TIME = 0.95  # of a tier's share of the request; when that is over, the router takes it for one without a connection

DRILL_FAULTS = {
    "down": "is down",
    "slow": "never begins to answer",
    "cut": "breaks off in mid-answer",
    "rate_limited": "says: too many requests",
    "offline": "no way out of this laptop",
}


@dataclass(frozen=True, slots=True)
class Drill:
    """`begins_there`: the tiers before the broken one are left out, so that it is surely asked."""

    tier: str
    fault: str
    begins_there: bool = False

    @property
    def words(self) -> str:
        return DRILL_FAULTS[self.fault] if self.fault == "offline" else f"{self.tier} {DRILL_FAULTS[self.fault]}"


def drilled(gateway: Gateway, drill: Drill) -> Gateway:
    """A gateway over the same tiers with the fault in front of them. It owns nothing and is not to be closed."""
    rungs = gateway.router.rungs
    if drill.begins_there:
        rungs = rungs[next((n for n, rung in enumerate(rungs) if rung.backend == drill.tier), 0) :]
    chosen = gateway.settings
    waits = {True: chosen.first_token_timeout, False: chosen.local_first_token_timeout}
    broken: list[Any] = [
        _Faulty(rung, drill.fault, waits[rung.backend != "local"]) if _meets(rung, drill) else rung for rung in rungs
    ]
    return Gateway(
        broken,
        settings=gateway.settings,
        clock=gateway.clock,
        network=gateway.network,
        composer=gateway.composer,
        budgets=gateway.budgets,
    )


def _meets(rung: Tier, drill: Drill) -> bool:
    return rung.leaves_laptop if drill.fault == "offline" else rung.backend == drill.tier


class _Faulty:
    """A tier with a fault in front of it. Everything but its stream is the tier's own.

    `wait`: seconds that a first event is waited for.
    """

    def __init__(self, rung: Tier, fault: str, wait: float) -> None:
        self._rung = rung
        self._fault = fault
        self._wait = wait

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
                # Not by `call.sent()` and silence: nothing has left, so nothing may have been billed.
                await asyncio.sleep(min(self._wait, call.until_text * _IN_TIME))
                raise TierFailed(backend, "drill: no first event in time", reason=Reason.FIRST_TOKEN_TIMEOUT)
        shown = 0
        async with aclosing(self._rung.stream(prompt, call)) as chunks:
            async for chunk in chunks:
                if shown + len(chunk.text) > _CUT_AFTER or (shown and chunk.finish_reason):
                    if not shown:  # it comes in one piece: a part of it, else nothing would break off
                        yield replace(chunk, text=chunk.text[:_CUT_AFTER], finish_reason=None)
                    raise TierFailed(backend, "drill: the connection broke", reason=Reason.RESET, may_have_billed=True)
                shown += len(chunk.text)
                yield chunk
