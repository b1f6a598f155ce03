"""The chat-completions wire, as OpenAI, its many relatives, Copilot and local servers speak it.

What goes out: `chat_body`. What comes back: `read_chat`, whole or streamed. An answer has an end only when the
provider named a `finish_reason`: a stream that just stops, or says `[DONE]` without one, is cut.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import GatewayError, TierBroken, TierFailed
from ..types import Chunk, Message, Prompt, Reason, Usage
from .complaints import Complaint, complaint_in
from .http import Reply
from .wire import Joiner, ServerEvent, SseReader, as_json, as_object

AFTERGLOW = 1.0  # how long the usage that follows the end marker is waited for
FINISH_REASONS: Mapping[str, str] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
FAILED_REASONS = frozenset({"error", "insufficient_system_resource"})
# Ours, whatever a compatible surface was sent.
OWN_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"})
OUR_ADDITIONS = frozenset(
    {"stream_options", "reasoning_effort", "max_tokens", "max_completion_tokens"}
    | {"reasoning", "store", "max_output_tokens"}
)
# Never dropped: without them the answer would be another one.
MEANT = frozenset(
    {"model", "messages", "input", "instructions", "stream", "tools", "tool_choice", "functions"}
    | {"response_format", "text"}
)
LARGEST_COUNT = 10**12  # tokens; what claims more was not counted
TO_FAILURE = Callable[[Complaint], GatewayError]


@dataclass(frozen=True, slots=True)
class Flavour:
    """How one provider differs. `keep_alive`: comments of this kind come from the model's side, not from a proxy."""

    max_tokens_field: str = "max_completion_tokens"
    stream_usage: bool = True
    top_temperature: float | None = None
    keep_alive: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def chat_body(prompt: Prompt, model: str, flavour: Flavour, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON of a request, less the fields that this model has refused before."""
    body: dict[str, Any] = {"model": model, "messages": [as_turn(message) for message in prompt.messages]}
    body["stream"] = True
    if flavour.stream_usage:
        body["stream_options"] = {"include_usage": True}
    wants = {key: value for key, value in prompt.passthrough.items() if key not in OWN_FIELDS}
    body |= {key: value for key, value in flavour.defaults.items() if key not in wants}
    if model.rpartition("/")[2].startswith("gpt-6") and "reasoning_effort" not in wants:
        # low for latency; functions are called at this path only without reasoning
        body["reasoning_effort"] = "none" if wants.get("tools") else "low"
    body |= wants
    max_tokens = prompt.max_tokens or wants_tokens(prompt)
    if max_tokens is not None:
        name = flavour.max_tokens_field
        if name in without:
            name = "max_tokens" if name == "max_completion_tokens" else "max_completion_tokens"
        body[name] = max_tokens
    if prompt.temperature is not None:
        body["temperature"] = prompt.temperature
    if flavour.top_temperature is not None and isinstance(body.get("temperature"), int | float):
        body["temperature"] = min(body["temperature"], flavour.top_temperature)
    for name in without - {"model", "messages", "stream"}:
        body.pop(name, None)
    return body


def wants_tokens(prompt: Prompt) -> int | None:
    """The limit that a compatible surface passed on under either of its names."""
    wanted = prompt.passthrough.get("max_completion_tokens", prompt.passthrough.get("max_tokens"))
    return wanted if isinstance(wanted, int) and wanted > 0 else None


def as_turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content, **message.extra}


def droppable(complaint: Complaint, body: Mapping[str, Any], *, outspoken: bool) -> str | None:
    """The field to leave out next time; `None` when it is not ours to leave out.

    `outspoken`: the provider's code says that it does not know the field. Without that, only fields that we added
    are dropped: what the caller asked for in vain is theirs to know.
    """
    optional = [name for name in body if name in OUR_ADDITIONS or (outspoken and name not in MEANT)]
    param = complaint.param.partition(".")[0].partition("[")[0]
    if param:
        return param if param in optional else None
    words = re.findall(r"[\w]+", complaint.message)
    return next((name for name in optional if name in words), None)


def wishes(prompt: Prompt) -> frozenset[str]:
    """The optional fields that the caller asked for."""
    asked = set(prompt.passthrough) | ({"temperature"} if prompt.temperature is not None else set())
    return frozenset(asked) - OWN_FIELDS


class ChatAnswer:
    """Understands the events of one answer, in the order they come."""

    def __init__(self, tier: str, flavour: Flavour, to_failure: TO_FAILURE) -> None:
        self._tier = tier
        self._flavour = flavour
        self._to_failure = to_failure
        self._joiner = Joiner()
        self._model: str | None = None
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.has_events = False
        self.has_choices = False
        self.is_done = False

    def take(self, event: ServerEvent) -> Chunk | None:
        """What an event adds: text, a sign of life, or nothing. Raises what the provider complains about."""
        if event.is_comment:
            alive = self._flavour.keep_alive and event.data.startswith(self._flavour.keep_alive)
            return Chunk() if alive else None
        if not event.data.strip():
            return None
        self.has_events = True
        if event.data.strip() == "[DONE]":
            self.is_done = True
            return None
        found = as_object(event.data, self._tier)
        if found.get("error") or (event.event == "error" and "choices" not in found):
            raise self._to_failure(complaint_in(found))
        return self.understand(found)

    def understand(self, found: Mapping[str, Any]) -> Chunk:
        """A chunk of a stream, or a whole completion: the schema differs in one word."""
        self._count(found)
        choices = found.get("choices") or []
        if not isinstance(choices, list):
            raise self._bad("choices is no list")
        self.has_choices |= "choices" in found
        text, calls = "", []
        for choice in choices:
            if not isinstance(choice, dict):
                raise self._bad("a choice is no object")
            delta = choice.get("delta") or choice.get("message") or {}
            if not isinstance(delta, dict):
                raise self._bad("a delta is no object")
            if choice.get("error"):
                raise self._to_failure(complaint_in(choice))
            text += self._text_of(delta.get("content")) + self._text_of(delta.get("refusal"))
            found_calls = delta.get("tool_calls") or []
            calls += [call for call in found_calls if isinstance(call, dict)] if isinstance(found_calls, list) else []
            self._end(choice.get("finish_reason"))
        model = found.get("model")
        if isinstance(model, str) and model and model != self._model:
            self._model = model
        else:
            model = None
        return Chunk(text=self._joiner.feed(text), model=model or None, tool_calls=tuple(calls))

    def end(self) -> Chunk:
        """The last chunk, or `TierBroken` for an answer that has no end."""
        if self.finish_reason is None:
            told, reason = "it ended without its end mark", Reason.TRUNCATED
            if not self.has_events:
                told, reason = "the reply is empty", Reason.EMPTY_BODY
            elif not self.has_choices:
                told, reason = "the stream speaks of something else", Reason.BAD_PAYLOAD
            raise TierBroken(self._tier, told, reason=reason, may_have_billed=True)
        return Chunk(text=self._joiner.finish(), finish_reason=self.finish_reason, usage=self.usage)

    def _text_of(self, content: Any) -> str:
        if content is None:
            return ""
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            parts = [part.get("text") if isinstance(part, dict) else part for part in content]
            return "".join(part for part in parts if isinstance(part, str))
        raise self._bad("the content is no text")

    def _end(self, reason: Any) -> None:
        if not isinstance(reason, str) or not reason:
            return
        reason = reason.lower()
        if reason in FAILED_REASONS:
            raise TierBroken(self._tier, f"the model failed ({reason})", may_have_billed=True)
        if self.finish_reason is None or reason != "stop":  # text and tool calls may come as two choices
            self.finish_reason = FINISH_REASONS.get(reason, "stop")

    def _count(self, found: Mapping[str, Any]) -> None:
        used = found.get("usage")
        if isinstance(used, dict):
            counted = Usage(as_count(used.get("prompt_tokens")), as_count(used.get("completion_tokens")))
            if counted.input_tokens or counted.output_tokens or self.usage is None:  # some send zeros in every chunk
                credits = self.usage.credits if self.usage else None
                self.usage = replace(counted, credits=credits, cost=_dollars(used.get("cost")))
        credits = credits_in(found)
        if credits is not None:
            self.usage = replace(self.usage or Usage(), credits=credits)

    def _bad(self, told: str) -> TierBroken:
        return TierBroken(self._tier, told, reason=Reason.BAD_PAYLOAD, may_have_billed=True)


def as_count(found: Any) -> int | None:
    return found if type(found) is int and 0 <= found < LARGEST_COUNT else None


def _dollars(found: Any) -> float | None:
    """What the answer cost, where the provider itself says so (OpenRouter)."""
    return float(found) if type(found) in (int, float) and 0 <= found < 1e6 else None


def credits_in(found: Mapping[str, Any]) -> float | None:
    """Copilot names what an answer cost, in thousand-millionths of a credit."""
    used = found.get("copilot_usage")
    nano = used.get("total_nano_aiu") if isinstance(used, dict) else None
    return nano / 1e9 if isinstance(nano, int | float) and 0 <= nano < 1e18 else None


async def read_chat(reply: Reply, tier: str, flavour: Flavour, to_failure: TO_FAILURE) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer, streamed or whole. The last one has a `finish_reason`; else it raises."""
    answer = ChatAnswer(tier, flavour, to_failure)
    if reply.content_type == "application/json":
        for chunk in whole(await reply.json(), answer, tier, to_failure):
            yield chunk
        return
    reader = SseReader(tier)
    first = b""
    while not answer.is_done:
        part = await next_part(reply, patience=AFTERGLOW if answer.finish_reason else None)
        events = reader.finish() if part is None else reader.feed(part)
        if not answer.has_events and reply.content_type != "text/event-stream" and len(first) < 64:
            first += part or b""
            if first.lstrip()[:1] in (b"{", b"["):  # JSON under the wrong name
                rest = await reply.read()
                for chunk in whole(as_json(first + rest, tier), answer, tier, to_failure):
                    yield chunk
                return
        try:
            for event in events:
                if (said := answer.take(event)) is not None:
                    yield said
                if answer.is_done:
                    break
        except GatewayError:
            if answer.finish_reason is None:
                raise
            break  # the answer is whole: what goes wrong after its end is nobody's loss
        if part is None:
            break
    last = answer.end()
    reply.is_complete = answer.is_done
    yield last


async def next_part(reply: Reply, patience: float | None) -> bytes | None:
    """More bytes; `None` at the end. With patience the answer is complete and any failure is an end, too."""
    if patience is None:
        return await anext(reply.parts(), None)
    try:
        async with asyncio.timeout(patience):
            return await anext(reply.parts(), None)
    except (TierFailed, TimeoutError):
        return None


def whole(found: Any, answer: ChatAnswer, tier: str, to_failure: TO_FAILURE) -> Iterator[Chunk]:
    """An answer that came in one piece, though a stream was asked for."""
    if (isinstance(found, dict) and found.get("error")) or isinstance(found, list):
        raise to_failure(complaint_in(found))
    if not isinstance(found, dict) or not isinstance(found.get("choices"), list) or not found["choices"]:
        raise TierBroken(tier, "the reply is not an answer", reason=Reason.BAD_PAYLOAD, may_have_billed=True)
    answer.has_events = True
    chunk = answer.understand(found)
    yield chunk
    yield answer.end()


def as_bytes(body: Mapping[str, Any]) -> bytes:
    """Compact JSON; a lone surrogate cannot be sent and is replaced."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
