"""One question on its way: events are shown as they come, and what was shown is never lost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .result import AIResult

if TYPE_CHECKING:
    from gateway_core import Answer, Document

    from .screen import Screen
    from .session import Asked

PATIENCE = 0.05  # seconds between looks at the screen while nothing comes; Ctrl-C is heard at once


class Interrupted(KeyboardInterrupt):
    """Stopped by hand. The partial answer is kept."""


class Asking:
    """`result` is what came of it: also after an error, if any text was shown."""

    def __init__(self, question: str, documents: Sequence[Document], notes: Sequence[str], screen: Screen) -> None:
        self.result: AIResult | None = None
        self._question = question
        self._documents = documents
        self._notes = tuple(notes)
        self._screen = screen
        self._begun = time.monotonic()
        self._first_text_at: float | None = None
        self._id, self._state = "", "closed"
        self._parts: list[list[str]] = []  # what was shown: backend, then texts, segment by segment

    def run(self, asked: Asked, options: Mapping[str, Any]) -> None:
        """Raises what the gateway raises, and `Interrupted` on Ctrl-C."""
        from gateway_core import AnswerInterrupted, GatewayError

        reading = asked.stream(self._question, **options)
        try:
            while not reading.is_over:
                self._take(reading.wait(PATIENCE))
        except AnswerInterrupted as exc:
            self._finish(exc.partial)
            raise
        except GatewayError:
            self._screen.finish(None)
            raise
        except KeyboardInterrupt:
            reading.close()
            self._finish(self._partial())
            raise Interrupted(self._told()) from None
        finally:
            reading.close()

    def _take(self, event: Any) -> None:
        from gateway_core import Delta, Done, Meta, SegmentStarted

        if event is None:
            self._screen.tick()
        elif isinstance(event, Delta):
            if self._first_text_at is None:
                self._first_text_at = time.monotonic()
            self._parts[-1].append(event.text)
            self._screen.grow(event.text)
        elif isinstance(event, Meta):
            self._id, self._state = event.id, event.state
            self._parts = [[event.backend]]
        elif isinstance(event, SegmentStarted):
            if event.action == "restart":
                self._parts = []
            self._parts.append([event.backend])
            self._screen.seam(event.backend, event.action)
        elif isinstance(event, Done):
            self._finish(event.answer)

    def _finish(self, answer: Answer | None) -> None:
        if answer is not None:
            from .documents import with_places

            noted = replace(answer, notes=tuple(dict.fromkeys((*self._notes, *answer.notes))))
            sources = with_places(answer.sources, self._documents)
            self.result = AIResult.of(noted, self._question, sources=sources)
        self._screen.finish(self.result)

    def _partial(self) -> Answer | None:
        """What was shown, as an answer; `None` when nothing was."""
        from gateway_core import Answer, Segment

        segments, at = [], 0
        for backend, *texts in self._parts:
            length = sum(map(len, texts))
            segments.append(Segment(backend, at, at + length))
            at += length
        if not at:
            return None
        now, first = time.monotonic(), self._first_text_at
        return Answer(
            id=self._id,
            text="".join(text for _, *texts in self._parts for text in texts),
            backend=segments[-1].backend,
            mode=segments[-1].backend,
            model=None,
            state=self._state,
            finish_reason="interrupted",
            segments=tuple(segments),
            attempts=(),
            first_token_ms=None if first is None else round((first - self._begun) * 1000, 1),
            total_ms=round((now - self._begun) * 1000, 1),
        )

    def _told(self) -> str:
        if self.result is None:
            return "stopped before any text came"
        return f"stopped; the {len(self.result.text):,} characters that came are in _ai"
