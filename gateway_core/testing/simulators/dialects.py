"""How an answer is written on the wire: chat completions, responses, Ollama's lines.

A dialect lives for one call. It writes single frames; `stream_of` and `whole_of` put them in order as steps,
which stream faults then rearrange.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from .answers import Plan
from .wire import Pause, Send, Step, as_json

THOUGHTS = ("Let", " me", " think", " about", " this", ".")


def sse(data: Any, event: str = "") -> bytes:
    return (b"event: %b\n" % event.encode() if event else b"") + b"data: %b\n\n" % as_json(data)


def stream_of(plan: Plan, dialect: Dialect) -> Iterator[Step]:
    """The answer as a stream of frames."""
    for data in dialect.opening():
        yield Send(data, "opening")
    yield from _waits(plan.comments, Send(dialect.comment(), "noise"))
    thoughts = plan.thoughts or max(len(THOUGHTS), round(plan.thinking / 0.25)) if plan.thinking else 0
    for n in range(thoughts):
        yield Send(dialect.thought(THOUGHTS[n % len(THOUGHTS)]), "thought")
        yield Pause(plan.thinking / thoughts)
    if plan.quiet:
        yield Pause(plan.quiet)
    for data in dialect.preface():
        yield Send(data, "opening")
    for n, piece in enumerate(plan.pieces):
        if plan.pace:
            yield Pause(plan.pace)
        yield Send(dialect.tool(piece, n) if plan.tool else dialect.token(piece), "token")
    for data in dialect.ending():
        yield Send(data, "ending")
    for data in dialect.done():
        yield Send(data, "done")


def whole_of(plan: Plan, body: bytes) -> Iterator[Step]:
    """The answer as one JSON body, sent in as many slices as it has tokens, so that it can break off after any."""
    waiting = plan.comments + plan.thinking + plan.quiet + plan.pace * plan.output_tokens
    if waiting:
        yield Pause(waiting)
    slices = plan.output_tokens
    at = 0
    for n in range(slices):
        until = len(body) * (n + 1) // (slices + 1)
        yield Send(body[at:until], "token")
        at = until
    yield Send(body[at:], "ending")


def _waits(seconds: float, frame: Send) -> Iterator[Step]:
    beat = min(0.5, seconds / 6)
    for _ in range(round(seconds / beat) if seconds else 0):
        yield frame
        yield Pause(beat)


@dataclass
class Dialect(ABC):
    """Frames of one call."""

    plan: Plan
    content_type: ClassVar[str] = "text/event-stream"
    numbered: ClassVar[bool] = False  # frames carry sequence numbers

    def opening(self) -> list[bytes]:
        return []

    def preface(self) -> list[bytes]:
        """Frames right before the first text."""
        return []

    def role_only(self) -> list[bytes]:
        """A frame that says somebody is about to speak, where no earlier one has."""
        return []

    def comment(self) -> bytes:
        return b": keep-alive\n\n"

    def done(self) -> list[bytes]:
        return []

    def bad_line(self) -> bytes:
        return b'data: {"choices":[{"delta":{"content":"half a li\n\n'

    def bad_event(self) -> bytes:
        """Sound JSON in which nothing is where it should be."""
        return sse({"choices": [{"index": "first", "delta": 7}]})

    @abstractmethod
    def token(self, text: str) -> bytes: ...

    @abstractmethod
    def thought(self, text: str) -> bytes: ...

    @abstractmethod
    def tool(self, piece: str, n: int) -> bytes: ...

    @abstractmethod
    def ending(self) -> list[bytes]: ...

    @abstractmethod
    def error(self, error: Mapping[str, Any]) -> list[bytes]: ...

    @abstractmethod
    def whole(self) -> Any: ...

    def long_line(self, size: int) -> Iterator[bytes]:
        """One frame of at least `size` bytes, in pieces."""
        frame = self.token("~")
        before, after = frame.split(b"~")
        yield before
        block = b"x" * 65536
        for _ in range(size // len(block)):
            yield block
        yield b"x" * (size % len(block)) + after


@dataclass(frozen=True, slots=True)
class ChatTraits:
    """Where one provider's chat completions differ from another's."""

    prologue: tuple[bytes, ...] = ()
    role_first: bool = True  # a first chunk with the role and no text; else the role is in every chunk
    named: bool = True  # chunks say `object`
    usage: str = "separate"
    usage_everywhere: bool = False  # `usage: null` in all other chunks, as asked by include_usage
    reasoning: str = "reasoning_content"
    error_in_choice: bool = False
    split_choices: bool = False  # text and tool call apart, in a reply that is not streamed


@dataclass
class ChatCompletions(Dialect):
    traits: ChatTraits = ChatTraits()
    id: str = "chatcmpl-sim"
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def usage(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "prompt_tokens": plan.input_tokens,
            "completion_tokens": plan.output_tokens,
            "total_tokens": plan.input_tokens + plan.output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    @property
    def usage_style(self) -> str:
        return self.plan.usage or self.traits.usage

    def chunk(self, choices: list[Any], **more: Any) -> bytes:
        kind = {"object": "chat.completion.chunk"} if self.traits.named else {}
        head = {"id": self.id, **kind, "created": self.created, "model": self.plan.model}
        if self.usage_style == "every":
            more = {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, **more}
        elif self.traits.usage_everywhere:
            more = {"usage": None, **more}
        return sse({**head, "choices": choices, **more})

    def delta(self, delta: Any, finish: str | None = None, **more: Any) -> bytes:
        return self.chunk([{"index": 0, "delta": delta, "finish_reason": finish}], **more)

    def opening(self) -> list[bytes]:
        return [*self.traits.prologue, *([self._speaker] if self.traits.role_first else [])]

    def role_only(self) -> list[bytes]:
        return [] if self.traits.role_first else [self._speaker]

    @property
    def _speaker(self) -> bytes:
        return self.delta({"role": "assistant", "content": ""})

    def thought(self, text: str) -> bytes:
        return self.delta({self.traits.reasoning: text, **self._role})

    def token(self, text: str) -> bytes:
        return self.delta({"content": text, **self._role})

    @property
    def _role(self) -> dict[str, str]:
        return {} if self.traits.role_first else {"role": "assistant"}

    def tool(self, piece: str, n: int) -> bytes:
        call: dict[str, Any] = {"index": 0, "function": {"arguments": piece}}
        if n == 0 and self.plan.tool:
            name = {"name": self.plan.tool[0], "arguments": piece}
            call = {"index": 0, "id": "call_sim_1", "type": "function", "function": name}
        return self.delta({"tool_calls": [call]})

    def ending(self) -> list[bytes]:
        in_last = {"usage": self.usage, **self.plan.extra} if self.usage_style in ("last", "every") else {}
        frames = [self.delta({"content": None} if in_last else {}, self.plan.finish_reason, **in_last)]
        if self.usage_style == "separate":
            frames.append(self.chunk([], usage=self.usage, **self.plan.extra))
        return frames

    def done(self) -> list[bytes]:
        return [b"data: [DONE]\n\n"]

    def error(self, error: Mapping[str, Any]) -> list[bytes]:
        if not self.traits.error_in_choice:
            return [sse({"error": error})]
        return [self.chunk([{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}], error=error)]

    def whole(self) -> Any:
        plan = self.plan
        message: dict[str, Any] = {"role": "assistant", "content": None if plan.tool else "".join(plan.pieces)}
        messages = [message]
        if plan.tool:
            function = {"name": plan.tool[0], "arguments": plan.tool[1]}
            call = {"id": "call_sim_1", "type": "function", "function": function}
            if self.traits.split_choices:
                message["content"] = "Let me look that up."
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            else:
                message["tool_calls"] = [call]
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": plan.model,
            "choices": [{"index": 0, "message": row, "finish_reason": plan.finish_reason} for row in messages],
            **({} if plan.usage == "none" else {"usage": self.usage}),
            **plan.extra,
        }


@dataclass
class Responses(Dialect):
    numbered: ClassVar[bool] = True
    id: str = "resp_sim"
    full_output: bool = True  # the last event holds the whole output again
    sequence: int = 0
    item: int = 0

    def event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self.sequence, **fields}
        self.sequence += 1
        return sse(data, kind)

    def bad_line(self) -> bytes:
        self.sequence += 1
        return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"half a li\n\n'

    def bad_event(self) -> bytes:
        return self.event("response.output_text.delta", delta={"text": ["not", "a", "string"]})

    @property
    def _item_id(self) -> str:
        self.item += 1  # another id in every event of one item, as the real service does
        return f"item_{self.item:02x}"

    def _response(self, status: str, **more: Any) -> dict[str, Any]:
        return {"id": self.id, "object": "response", "status": status, "model": self.plan.model, "output": [], **more}

    def opening(self) -> list[bytes]:
        return [
            self.event("response.created", response=self._response("in_progress")),
            self.event("response.in_progress", response=self._response("in_progress")),
        ]

    def preface(self) -> list[bytes]:
        if self.plan.tool:
            return []
        item = {"id": self._item_id, "type": "message", "role": "assistant", "content": []}
        return [self.event("response.output_item.added", output_index=0, item=item)]

    def thought(self, text: str) -> bytes:
        where = {"output_index": 0, "summary_index": 0, "item_id": self._item_id}
        return self.event("response.reasoning_summary_text.delta", **where, delta=text)

    def token(self, text: str) -> bytes:
        where = {"output_index": 0, "content_index": 0, "item_id": self._item_id}
        return self.event("response.output_text.delta", **where, delta=text)

    def tool(self, piece: str, n: int) -> bytes:
        where = {"output_index": 0, "item_id": self._item_id}
        frames = b""
        if n == 0 and self.plan.tool:
            item = {"id": self._item_id, "type": "function_call", "call_id": "call_sim_1", "name": self.plan.tool[0]}
            frames = self.event("response.output_item.added", output_index=0, item={**item, "arguments": ""})
        return frames + self.event("response.function_call_arguments.delta", **where, delta=piece)

    @property
    def usage(self) -> dict[str, Any]:
        used, made = self.plan.input_tokens, self.plan.output_tokens
        return {"input_tokens": used, "output_tokens": made, "total_tokens": used + made}

    @property
    def output(self) -> list[Any]:
        plan = self.plan
        if plan.tool:
            call = {"type": "function_call", "id": "fc_1", "call_id": "call_sim_1", "status": "completed"}
            return [{**call, "name": plan.tool[0], "arguments": plan.tool[1]}]
        text = {"type": "output_text", "text": "".join(plan.pieces), "annotations": []}
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
        return [{"type": "reasoning", "id": "rs_1", "summary": []}, message]

    def _final(self) -> tuple[str, dict[str, Any]]:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        reason = reasons.get(self.plan.finish_reason)
        usage = {} if self.plan.usage == "none" else {"usage": self.usage}
        status = "incomplete" if reason else "completed"
        return status, {**usage, "incomplete_details": {"reason": reason} if reason else None}

    def ending(self) -> list[bytes]:
        done = {**self.output[-1], "id": self._item_id}
        frames = [self.event("response.output_item.done", output_index=0, item=done)]
        status, more = self._final()
        last = self._response(status, **more)
        if self.full_output:
            last["output"] = self.output
        return [*frames, self.event(f"response.{status}", response=last, **self.plan.extra)]

    def error(self, error: Mapping[str, Any]) -> list[bytes]:
        if "failed" in error:
            what = {k: v for k, v in error.items() if k != "failed"}
            return [self.event("response.failed", response=self._response("failed", error=what))]
        code, message = error.get("code"), error.get("message")
        return [self.event("error", code=code, message=message, param=None)]

    def whole(self) -> Any:
        status, more = self._final()
        created = int(time.time())
        return {**self._response(status, error=None, created_at=created, **more), "output": self.output} | {
            **self.plan.extra
        }


@dataclass
class OllamaLines(Dialect):
    """NDJSON of `/api/chat`, and of `/api/generate` when `generate` is set."""

    content_type: ClassVar[str] = "application/x-ndjson"
    generate: bool = False
    load_ns: int = 1_334_875
    started: float = field(default_factory=time.monotonic)
    counters: bool = True

    def line(self, text: str = "", done: bool = False, thinking: str = "", **more: Any) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
        thought = {"thinking": thinking} if thinking else {}
        body: dict[str, Any]
        if self.generate:
            body = {"response": text, **thought}
        else:
            calls = {"tool_calls": more.pop("tool_calls")} if "tool_calls" in more else {}
            body = {"message": {"role": "assistant", "content": text, **thought, **calls}}
        return {"model": self.plan.model, "created_at": now, **body, "done": done, **more}

    def _line(self, *args: Any, **kwargs: Any) -> bytes:
        return as_json(self.line(*args, **kwargs)) + b"\n"

    def comment(self) -> bytes:
        return b"\n"

    def role_only(self) -> list[bytes]:
        return [self._line("")]

    def thought(self, text: str) -> bytes:
        return self._line("", thinking=text)

    def token(self, text: str) -> bytes:
        return self._line(text)

    @property
    def _calls(self) -> list[Any]:
        assert self.plan.tool
        return [{"function": {"name": self.plan.tool[0], "arguments": json.loads(self.plan.tool[1])}}]

    def tool(self, piece: str, n: int) -> bytes:
        return self._line("", tool_calls=self._calls) if n == 0 else self._line("")  # calls come whole, never in parts

    def bad_line(self) -> bytes:
        return b'{"model":"sim","message":{"role":"assistant","content":"half a li\n'

    def bad_event(self) -> bytes:
        return as_json({"model": self.plan.model, "message": "not an object", "done": "perhaps"}) + b"\n"

    @property
    def final(self) -> dict[str, Any]:
        plan = self.plan
        reason = plan.finish_reason if plan.finish_reason in ("length", "load", "unload") else "stop"
        total = int((time.monotonic() - self.started) * 1e9) + self.load_ns
        counters = {
            "total_duration": total,
            "load_duration": self.load_ns,
            "prompt_eval_count": plan.input_tokens,
            "prompt_eval_duration": 342_546_000,
            "eval_count": plan.output_tokens,
            "eval_duration": max(1, total - self.load_ns),
        }
        return {"done_reason": reason, **(counters if self.counters and plan.usage != "none" else {})}

    def ending(self) -> list[bytes]:
        return [self._line("", True, **self.final)]

    def error(self, error: Mapping[str, Any]) -> list[bytes]:
        return [as_json({"error": error.get("message", "")}) + b"\n"]

    def whole(self) -> Any:
        tools = {"tool_calls": self._calls} if self.plan.tool else {}
        thinking = "".join(THOUGHTS) if self.plan.thinking else ""
        text = "" if self.plan.tool else "".join(self.plan.pieces)
        return self.line(text, True, thinking, **tools, **self.final)
