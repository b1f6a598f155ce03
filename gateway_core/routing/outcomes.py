"""What a circuit hears of the way a call ended."""

from __future__ import annotations

from ..circuit import NEUTRAL, SUCCESS, End, Outcome
from ..errors import PromptRefused, RateLimited, TierFailed
from ..types import Reason

LONGEST_RATE_LIMIT = 86_400.0
_TIMEOUTS = frozenset(
    {
        Reason.CONNECT_TIMEOUT,
        Reason.FIRST_TOKEN_TIMEOUT,
        Reason.THINKING_TIMEOUT,
        Reason.STALLED,
        Reason.DEADLINE,
    }
)


def outcome_of(failure: BaseException | None, *, had_its_time: bool = True) -> Outcome:
    """`None` is a finished answer. A time-out is held against a tier only if it had its whole limit."""
    if failure is None:
        return SUCCESS
    if isinstance(failure, TierFailed):
        if failure.reason in _TIMEOUTS and not had_its_time:
            return NEUTRAL
        return _of_tier(failure)
    if isinstance(failure, PromptRefused):
        return NEUTRAL
    if not isinstance(failure, Exception):  # cancelled, closed, interrupted: the caller's own doing
        return NEUTRAL
    return Outcome(End.FAILURE, Reason.INTERNAL)  # a bug of ours while this tier was asked must not leave a probe out


def _of_tier(failure: TierFailed) -> Outcome:
    wait = failure.wait
    if wait is not None and not wait >= 0:  # a provider's clock may be ahead of ours, its header nonsense
        wait = 0.0 if wait < 0 else None
    match failure.effect:
        case "counts":
            return Outcome(End.FAILURE, failure.reason, wait)
        case "waits":
            if isinstance(failure, RateLimited) and wait is not None:
                wait = min(wait, LONGEST_RATE_LIMIT)
            return Outcome(End.HOLD, failure.reason, wait)
        case "nothing":
            return NEUTRAL
