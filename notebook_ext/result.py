"""What a cell leaves behind: `_ai`, or the name it was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway_core import Answer, Attempt, Segment, Source, Usage


@dataclass(frozen=True, repr=False)
class AIResult:
    """An answer and its story. `str(result)` is the text.

    `backend` wrote the last part, `segments` says who wrote which; `state` is Copilot's circuit afterwards.
    `interrupted`: the text is not whole, because it was stopped by hand or broke off.
    """

    prompt: str
    text: str
    backend: str
    state: str
    mode: str
    model: str | None
    finish_reason: str
    segments: tuple[Segment, ...]
    attempts: tuple[Attempt, ...]
    sources: tuple[Source, ...]
    grounding: Mapping[str, Any] | None
    usage: Usage
    notes: tuple[str, ...]
    first_token_ms: float | None
    total_ms: float
    interrupted: bool
    id: str

    @classmethod
    def of(cls, answer: Answer, prompt: str, *, sources: tuple[Source, ...] | None = None) -> AIResult:
        return cls(
            prompt=prompt,
            text=answer.text,
            backend=answer.backend,
            state=answer.state,
            mode=answer.mode,
            model=answer.model,
            finish_reason=answer.finish_reason,
            segments=answer.segments,
            attempts=answer.attempts,
            sources=answer.sources if sources is None else sources,
            grounding=answer.grounding,
            usage=answer.usage,
            notes=answer.notes,
            first_token_ms=answer.first_token_ms,
            total_ms=answer.total_ms,
            interrupted=answer.finish_reason == "interrupted",
            id=answer.id,
        )

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        start = " ".join(self.text[:60].split())
        more = "..." if len(self.text) > 60 else ""
        how = ", interrupted" if self.interrupted else ""
        return f"<AI answer by {self.backend}{how}, {len(self.text)} characters: {start!r}{more}>"

    def _repr_markdown_(self) -> str:
        from gateway_core.markdown import harmless

        return harmless(self.text)
