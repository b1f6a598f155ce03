"""What observers hear of one request at its end: who was asked, when, how it went, and nothing that was said.

The facts hold no prompt, no answer, no document and no document's name, and no credential. Moments are milliseconds
since the request began, on the clock that deadlines use; `begun` is that beginning on the calendar.

    {"id", "task": "ask" | "rag" | "embed", "begun", "ms", "outcome", "reason", "traceparent", "tier", "local_only",
     "whole", "backend", "mode", "model", "state", "finish_reason", "first_token_ms", "input_tokens", "output_tokens",
     "credits",
     "segments": [{"backend", "start", "end"}], "retrieval": {"ms", "begun_ms", "documents", "passages", "chars"},
     "attempts": [{"backend", "mode", "outcome", "reason", "detail", "begun_ms", "ms", "first_token_ms", "asked_model",
                   "model", "host", "port", "finish_reason", "input_tokens", "output_tokens", "may_have_billed",
                   "retry_after", "segment", "action"}]}

`outcome` is `answered`, `interrupted` (part of an answer was shown), `unanswered`, `refused`, `cancelled` or `failed`
(an error of our own).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .clock import Clock
from .errors import AllTiersFailed, AnswerInterrupted, PromptRefused
from .telemetry import Telemetry
from .types import Answer, Attempt, AttemptOutcome, Embeddings, Prompt, Reason, Usage

# W3C Trace Context: version, trace, parent, flags. Version ff and identifiers of zeros only are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def facts_of(
    attempt: Attempt, *, begun_ms: float, first_token_ms: float | None = None, usage: Usage | None = None, **facts: Any
) -> dict[str, Any]:
    """One tier's part, in the form above. `detail` is told only where no provider could have worded it."""
    return {
        "backend": attempt.backend,
        "mode": attempt.mode,
        "outcome": str(attempt.outcome),
        "reason": attempt.reason,
        "detail": attempt.detail if attempt.outcome is AttemptOutcome.SKIPPED else None,
        "begun_ms": round(begun_ms, 1),
        "ms": attempt.ms,
        "first_token_ms": None if first_token_ms is None else round(first_token_ms, 1),
        "asked_model": None,
        "model": attempt.model,
        "host": None,
        "port": None,
        "finish_reason": None,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "may_have_billed": attempt.may_have_billed,
        "retry_after": attempt.retry_after,
        "segment": None,
        "action": None,
        **facts,
    }


class Account:
    """Collects the facts of one request; `kept` tells of them when the request ends, however it ends."""

    def __init__(self, id: str, clock: Clock, *, task: str, traceparent: str | None = None, **wishes: Any) -> None:
        self.id = id
        self.begun = clock.now()
        self.attempts: list[Mapping[str, Any]] = []
        self._clock = clock
        self._facts: dict[str, Any] = {
            "id": id,
            "task": task,
            "begun": clock.wall(),
            "outcome": "failed",
            "reason": Reason.INTERNAL,
            "traceparent": traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
            **wishes,
        }

    @contextmanager
    def kept(self, telemetry: Telemetry) -> Iterator[None]:
        try:
            yield
        except BaseException as exc:
            if self._facts["outcome"] != "answered":  # who leaves after the last event had the whole answer
                self._failed(exc)
            raise
        finally:
            telemetry.tell("request", **self._facts, ms=self._since_begin(), attempts=tuple(self.attempts))

    @contextmanager
    def retrieval(self) -> Iterator[None]:
        """The time that reading documents and choosing passages takes."""
        begun = self._since_begin()
        try:
            yield
        finally:
            self._facts["retrieval"] = {"begun_ms": begun, "ms": round(self._since_begin() - begun, 1)}

    def retrieved(self, prompt: Prompt) -> None:
        chars = sum(len(source.text) for source in prompt.sources)
        found = {"documents": len(prompt.documents), "passages": len(prompt.sources), "chars": chars}
        self._facts["retrieval"] = {**self._facts.get("retrieval", {}), **found}

    def answered(self, answer: Answer) -> None:
        self._facts.update(outcome="answered", reason=None)
        self._tell_answer(answer)

    def embedded(self, found: Embeddings) -> None:
        self._facts.update(
            outcome="answered",
            reason=None,
            backend=found.backend,
            mode=found.mode,
            model=found.model,
            input_tokens=found.usage.input_tokens,
        )

    def _failed(self, exc: BaseException) -> None:
        match exc:
            case AnswerInterrupted():
                self._facts.update(outcome="interrupted", reason=exc.reason)
                self._tell_answer(exc.partial)
            case AllTiersFailed():
                self._facts.update(outcome="unanswered", reason=Reason.NO_TIER_ANSWERED)
            case PromptRefused():
                self._facts.update(outcome="refused", reason=exc.reason)
            case GeneratorExit() | asyncio.CancelledError():
                self._facts.update(outcome="cancelled", reason=Reason.CANCELLED)

    def _tell_answer(self, answer: Answer) -> None:
        usage = answer.usage
        self._facts.update(
            backend=answer.backend,
            mode=answer.mode,
            model=answer.model,
            state=answer.state,
            finish_reason=answer.finish_reason,
            first_token_ms=min(
                (a["first_token_ms"] for a in self.attempts if a["first_token_ms"] is not None), default=None
            ),
            segments=tuple({"backend": s.backend, "start": s.start, "end": s.end} for s in answer.segments),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            credits=usage.credits,
        )

    def _since_begin(self) -> float:
        return round((self._clock.now() - self.begun) * 1000, 1)
