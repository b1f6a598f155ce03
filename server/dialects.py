"""How an answer is said: the gateway's own form. The compatible forms are in `surfaces`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from gateway_core import Answer, Delta, Done, Event, Meta, SegmentStarted, reply_of

from .problems import MEDIA_TYPE
from .wire import dump, sse, still_working

EVENT_STREAM = "text/event-stream"


class Dialect(Protocol):
    """One answer on its way to one client; may remember what it has said.

    `breaks_off`: after an error in a stream the connection is cut, so that no reader takes the partial text for a
    whole one.
    """

    @property
    def stream_type(self) -> str: ...

    @property
    def refusal_type(self) -> str: ...

    @property
    def breaks_off(self) -> bool: ...

    def whole(self, answer: Answer) -> bytes:
        """The answer in one piece."""
        ...

    def event(self, event: Event) -> bytes:
        """What is said of one event of the stream; may be nothing."""
        ...

    def idle(self, before: int) -> bytes:
        """What is said while nothing happens; `before`: those that stand before it in the line for a local model."""
        ...

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        """The end of a stream that has begun and failed."""
        ...

    def refused(self, problem: Mapping[str, Any]) -> bytes:
        """An error instead of an answer."""
        ...

    def headers(self, problem: Mapping[str, Any] | None) -> Mapping[str, str]:
        """Headers of this dialect's own."""
        ...


@dataclass
class Plain:
    """`{"response", "backend", "state"}`, or the events `meta`, `delta`, `segment`, and one of `done` and `error`."""

    with_details: bool = False
    notes: tuple[str, ...] = ()
    has_begun: bool = False

    stream_type: ClassVar[str] = EVENT_STREAM
    refusal_type: ClassVar[str] = MEDIA_TYPE
    breaks_off: ClassVar[bool] = False

    def whole(self, answer: Answer) -> bytes:
        if self.notes and self.with_details:
            answer = replace(answer, notes=(*answer.notes, *self.notes))
        return dump(reply_of(answer, self.with_details))

    def event(self, event: Event) -> bytes:
        match event:
            case Delta():
                told = b'{"text":%b,"segment":%d,"seq":%d}' % (dump(event.text), event.segment, event.seq)
                return sse(b"delta", told)
            case Meta():
                return self._meta(event.id, event.backend, event.state)
            case SegmentStarted():
                told = dump(
                    {
                        "segment": event.segment,
                        "backend": event.backend,
                        "reason": event.reason,
                        "action": event.action,
                    }
                )
                return sse(b"segment", told)
            case Done():
                answer = event.answer  # an empty answer has had no first text, and so no first event
                meta = b"" if self.has_begun else self._meta(answer.id, answer.backend, answer.state)
                return meta + sse(b"done", self.whole(answer))

    def idle(self, before: int) -> bytes:
        return still_working(before)

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        return sse(b"error", dump({name: value for name, value in problem.items() if name != "partial"}))

    def refused(self, problem: Mapping[str, Any]) -> bytes:
        return dump(problem)

    def headers(self, problem: Mapping[str, Any] | None) -> Mapping[str, str]:
        return {}

    def _meta(self, id: str, backend: str, state: str) -> bytes:
        self.has_begun = True
        return sse(b"meta", dump({"id": id, "backend": backend, "state": state}))


def final(problem: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Every tier was tried: an SDK's own retries would only multiply the wait. Too many requests pass by themselves."""
    return {"x-should-retry": "false"} if problem and problem["status"] != 429 else {}
