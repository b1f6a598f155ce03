"""What can go wrong, and what the router does about it.

GatewayError
├── SettingsInvalid        a wrong setting: one line, the program stops
├── PromptRefused          the caller's fault: tell them, try no other tier
│   └── PromptTooLong      nobody has a window large enough
├── TierFailed             one tier's fault: try the next tier; `effect` says what its circuit hears
│   ├── TierUnreachable      DNS, refused, time-out on the way             counts
│   ├── TierBroken           5xx, not its schema, cut stream, silence      counts
│   ├── RateLimited          429 or overload with a moment to come back    waits, does not count
│   ├── QuotaUsedUp          402 and its relatives, until a date           waits, does not count
│   ├── Unauthorized         401 or 403 after one refresh                  waits for a new credential
│   ├── ContextTooLong       this tier's window is too small               circuit hears nothing
│   └── TierUnavailable      offline, login page, misconfigured, busy      circuit hears nothing
├── AllTiersFailed         nobody answered: carries one Attempt per tier, and the longest text that broke off
└── AnswerInterrupted      an answer broke off after visible text and nobody may go on: carries the text so far

Messages are for people, never for `if`: what happened, to whom, what to do. No token, prompt or document text in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from .types import Answer, Attempt, Reason

Effect = Literal["counts", "waits", "nothing"]

ONE_HOUR = 3600.0
REPORT = "it is in the log, with its place and without your words; please report it"  # the cure for our own errors
SOON = 5.0  # seconds: when a failure may pass by itself and nobody named a time

_PASSING = frozenset(
    {
        Reason.RESET,
        Reason.PROTOCOL,
        Reason.CONNECT_TIMEOUT,
        Reason.FIRST_TOKEN_TIMEOUT,
        Reason.THINKING_TIMEOUT,
        Reason.STALLED,
        Reason.DEADLINE,
        Reason.CLOCK_GAP,
        Reason.UPSTREAM_5XX,
        Reason.UPSTREAM_ERROR,
        Reason.BAD_PAYLOAD,
        Reason.EMPTY_BODY,
        Reason.TRUNCATED,
        Reason.OFFLINE,
        Reason.DNS,
        Reason.COURTESY_LIMIT,
        Reason.BUSY,
        Reason.PROBE_IN_FLIGHT,
    }
)

# What the user has chosen, or was never set up: nothing went wrong when such a tier is left out.
EXPECTED = frozenset({Reason.NOT_CONFIGURED, Reason.LOCAL_ONLY, Reason.NO_DOCUMENTS})


class GatewayError(Exception):
    """Everything this product raises on purpose."""


class SettingsInvalid(GatewayError):
    """A setting has a wrong value. The message names the variable, the fault and what is allowed."""


class PromptRefused(GatewayError):
    """The request itself is at fault, whichever tier reads it. `field` names the part, if known."""

    reason: Reason = Reason.PROMPT_REFUSED

    def __init__(
        self, message: str, *, field: str | None = None, cure: str = "", attempts: Sequence[Attempt] = ()
    ) -> None:
        super().__init__(message)
        self.field = field
        self.cure = cure
        self.attempts = tuple(attempts)


class PromptTooLong(PromptRefused):
    """The prompt is larger than the window of every tier that could be asked."""

    reason = Reason.CONTEXT_TOO_LONG


class TierFailed(GatewayError):
    """One tier could not answer.

    `again`: the tier has mended the cause (fresh connection, new token, other model); ask it once more, uncharged.
    `wait`: seconds for which it should be left alone, if it said so (`math.inf`: until the credential changes).
    """

    effect: ClassVar[Effect] = "counts"
    default_reason: ClassVar[Reason] = Reason.UPSTREAM_ERROR

    def __init__(
        self,
        tier: str,
        detail: str = "",
        *,
        reason: Reason | None = None,
        cure: str = "",
        wait: float | None = None,
        again: bool = False,
        may_have_billed: bool = False,
    ) -> None:
        super().__init__(f"{tier}: {detail}" if detail else tier)
        self.tier = tier
        self.detail = detail
        self.reason = reason or self.default_reason
        self.cure = cure
        self.wait = wait
        self.again = again
        self.may_have_billed = may_have_billed


class TierUnreachable(TierFailed):
    default_reason = Reason.CONNECT_REFUSED


class TierBroken(TierFailed):
    default_reason = Reason.UPSTREAM_ERROR


class RateLimited(TierFailed):
    """`wait` is what the tier asked for; `None` lets the circuit choose (30 s, doubling)."""

    effect = "waits"
    default_reason = Reason.RATE_LIMITED


class QuotaUsedUp(TierFailed):
    effect = "waits"
    default_reason = Reason.QUOTA_USED_UP

    def __init__(self, tier: str, detail: str = "", *, wait: float | None = ONE_HOUR, **rest: object) -> None:
        super().__init__(tier, detail, wait=ONE_HOUR if wait is None else wait, **rest)  # type: ignore[arg-type]


class Unauthorized(TierFailed):
    effect = "waits"
    default_reason = Reason.UNAUTHORIZED

    def __init__(self, tier: str, detail: str = "", *, wait: float | None = math.inf, **rest: object) -> None:
        super().__init__(tier, detail, wait=math.inf if wait is None else wait, **rest)  # type: ignore[arg-type]


class ContextTooLong(TierFailed):
    """`limit_chars`: what would fit, where the tier said so."""

    effect = "nothing"
    default_reason = Reason.CONTEXT_TOO_LONG

    def __init__(self, tier: str, detail: str = "", *, limit_chars: int | None = None, **rest: object) -> None:
        super().__init__(tier, detail, **rest)  # type: ignore[arg-type]
        self.limit_chars = limit_chars


class TierUnavailable(TierFailed):
    """Not the tier's fault: no way out of this laptop, a login page, a wrong setting, its queue is full."""

    effect = "nothing"
    default_reason = Reason.NOT_CONFIGURED


class AllTiersFailed(GatewayError):
    """No tier answered. `attempts` says why, tier by tier.

    `partial`: where an answer in one piece broke off, the longest text that came; `finish_reason` "interrupted".
    """

    def __init__(self, attempts: Sequence[Attempt], partial: Answer | None = None) -> None:
        self.attempts = tuple(attempts)
        self.partial = partial
        told = "; ".join(f"{a.backend}: {a.detail or a.reason}" for a in self.telling)
        super().__init__(f"no tier could answer ({told})" if told else "no tier could answer")

    @property
    def telling(self) -> tuple[Attempt, ...]:
        """The attempts that a person should hear of: a way inside a tier that was never set up is left out, as long
        as another way of the same tier has more to say."""
        told = []
        for attempt in self.attempts:
            same = [other for other in self.attempts if other.backend == attempt.backend]
            failed = [other for other in same if other.reason not in EXPECTED]
            if attempt in (failed or same[:1]):
                told.append(attempt)
        return tuple(told)

    @property
    def retry_after(self) -> float | None:
        """Seconds until waiting alone may help; `None` when only the user can mend it."""
        waits = [a.retry_after for a in self.attempts if a.retry_after is not None and math.isfinite(a.retry_after)]
        if any(a.retry_after is None and a.reason in _PASSING for a in self.attempts):
            waits.append(SOON)
        return min(waits) if waits else None


class AnswerInterrupted(GatewayError):
    """The answer broke off after visible text, and by the chosen policy nobody goes on.

    `partial` is an `Answer` whose text is exactly what was shown, `finish_reason` "interrupted".
    """

    def __init__(self, partial: Answer, reason: Reason, detail: str = "", *, cure: str = "") -> None:
        super().__init__(detail or f"the answer broke off ({reason})")
        self.partial = partial
        self.reason = reason
        self.detail = detail
        self.cure = cure
        self.attempts = partial.attempts
