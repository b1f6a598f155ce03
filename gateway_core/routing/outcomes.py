"""What a circuit hears of the way a call ended."""

from __future__ import annotations

import asyncio

from ..circuit import NEUTRAL, SUCCESS, End, Outcome
from ..errors import PromptRefused, RateLimited, TierFailed
from ..types import Reason

LONGEST_RATE_LIMIT = 86_400.0
_TIMEOUTS = frozenset({Reason.FIRST_TOKEN_TIMEOUT, Reason.THINKING_TIMEOUT, Reason.CONNECT_TIMEOUT})


def outcome_of(failure: BaseException | None, *, had_its_time: bool = True) -> Outcome:
    """`None` is a finished answer. A time-out is held against a tier only if it had its whole limit."""
    if failure is None:
        return SUCCESS
    if isinstance(failure, TierFailed):
        if failure.reason in _TIMEOUTS and not had_its_time:
            return NEUTRAL
        return _of_tier(failure)
    if isinstance(failure, (PromptRefused, asyncio.CancelledError, GeneratorExit)):
        return NEUTRAL
    return Outcome(End.FAILURE, Reason.INTERNAL)


def _of_tier(failure: TierFailed) -> Outcome:
    match failure.effect:
        case "counts":
            return Outcome(End.FAILURE, failure.reason, failure.wait)
        case "waits":
            wait = failure.wait
            if isinstance(failure, RateLimited) and wait is not None:
                wait = min(wait, LONGEST_RATE_LIMIT)
            return Outcome(End.HOLD, failure.reason, wait)
        case "nothing":
            return NEUTRAL
