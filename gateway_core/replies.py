"""Answers and errors as plain JSON values, the same for REST and command line. Pure.

A reply is `{"response", "backend", "state"}`, with `details` if asked for. A problem follows RFC 9457: `type`,
`title`, `status`, `detail`, and of our own `code`, `attempts`, `cure`, `retry_after`. Numbers that JSON cannot hold
(a wait without an end) become null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from .errors import REPORT, AllTiersFailed, AnswerInterrupted, PromptRefused
from .types import Answer, Attempt, Reason

TYPE_PREFIX = "urn:ai-gateway:problem:"
_TOO_LARGE = frozenset({Reason.TOO_LARGE, Reason.CONTEXT_TOO_LONG})


def reply_of(answer: Answer, details: bool = False) -> dict[str, Any]:
    """The reply of `POST /ai/query` and `ask --json`."""
    reply: dict[str, Any] = {"response": answer.text, "backend": answer.backend, "state": answer.state}
    if details:
        reply["details"] = details_of(answer)
    return reply


def details_of(answer: Answer) -> dict[str, Any]:
    """Who wrote which part, who was asked, what it took and what it stands on."""
    return {
        "id": answer.id,
        "mode": answer.mode,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "segments": [asdict(segment) for segment in answer.segments],
        "attempts": attempts_of(answer.attempts),
        "usage": asdict(answer.usage),
        "timing": {"first_token_ms": answer.first_token_ms, "total_ms": answer.total_ms},
        "sources": [asdict(source) for source in answer.sources],
        "grounding": dict(answer.grounding) if answer.grounding is not None else None,
        "notes": list(answer.notes),
    }


def attempts_of(attempts: Iterable[Attempt]) -> list[dict[str, Any]]:
    return [
        {
            "backend": attempt.backend,
            "outcome": str(attempt.outcome),
            "reason": None if attempt.reason is None else str(attempt.reason),
            "ms": attempt.ms,
            "may_have_billed": attempt.may_have_billed,
            "mode": attempt.mode,
            "model": attempt.model,
            "detail": attempt.detail,
            "cure": attempt.cure,
            "retry_after": _finite(attempt.retry_after),
        }
        for attempt in attempts
    ]


def problem_of(error: BaseException) -> dict[str, Any]:
    """What went wrong, as one object; never a token, prompt or document, never a traceback.

    Two members appear only where they mean something: `field`, the part of the request at fault, and `partial`, the
    text that was written before an answer broke off.
    """
    if isinstance(error, PromptRefused):
        title, status = "The request was refused", 422
        if error.reason in _TOO_LARGE:
            title, status = "The request is too large", 413
        problem = _problem(error.reason, title, status, str(error), error.attempts, error.cure)
        if error.field is not None:
            problem["field"] = error.field
        return problem
    if isinstance(error, AllTiersFailed):
        cures = dict.fromkeys(a.cure.rstrip(".") for a in error.telling if a.cure)
        if error.retry_after is not None:  # what passes by itself comes before what a person must do
            cures = {f"ask again in {_told(error.retry_after)}": None, **cures}
        cure = "; or ".join(cures)
        problem = _problem(
            Reason.NO_TIER_ANSWERED, "No tier could answer", 503, str(error), error.attempts, cure, error.retry_after
        )
        if error.partial is not None:
            problem["partial"] = reply_of(error.partial)
        return problem
    if isinstance(error, AnswerInterrupted):
        problem = _problem(
            Reason.STREAM_INTERRUPTED, "The answer broke off", 503, str(error), error.attempts, error.cure
        )
        problem["partial"] = reply_of(error.partial)
        return problem
    if isinstance(error, KeyboardInterrupt):
        return _problem(Reason.CANCELLED, "The request was cancelled", 499, "stopped before the answer was whole", ())
    # Foreign messages may hold anything; the type is enough to find the cause in the log.
    return _problem(Reason.INTERNAL, "An error of our own", 500, type(error).__name__, (), REPORT)


def _problem(
    code: Reason,
    title: str,
    status: int,
    detail: str,
    attempts: Iterable[Attempt],
    cure: str = "",
    retry_after: float | None = None,
) -> dict[str, Any]:
    return {
        "type": f"{TYPE_PREFIX}{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": str(code),
        "attempts": attempts_of(attempts),
        "cure": cure,
        "retry_after": _finite(retry_after),
    }


def _told(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{math.ceil(seconds)} s"


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) else None
