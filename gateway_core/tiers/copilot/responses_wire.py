"""The responses wire: what OpenAI's newer models on Copilot are asked by.

Events are numbered: a number that comes twice is dropped, a number that is missing means that text is missing, and
the answer is cut there. It ends with `response.completed`, `response.incomplete`, `response.failed` or `error`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from ...errors import GatewayError, TierBroken, TierFailed, TierUnavailable
from ...types import Chunk, Message, Prompt, Reason, Usage
from ..complaints import complaint_in
from ..http import Reply
from ..openai_wire import OWN_FIELDS, TO_FAILURE, as_count, credits_in, wants_tokens
from ..parts import OTHER_PARTS, has_more_than_text, kind_of, parts_of
from ..wire import Joiner, ServerEvent, SseReader, as_object

INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
# Fields of chat completions that this wire knows by the same name.
SAME = frozenset({"parallel_tool_calls", "metadata", "user", "service_tier", "safety_identifier"})
TEXT_OF = {"assistant": "output_text"}  # what a text part is called; for everybody else it is input


def responses_body(
    prompt: Prompt, model: str, *, efforts: tuple[str, ...] | None, without: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The JSON of a request. Sampling fields are not taken here.

    Raises `TierUnavailable` for content that this wire has no words for.
    """
    wants = {key: value for key, value in prompt.passthrough.items() if key not in OWN_FIELDS}
    system = "\n\n".join(_only_text(m) for m in prompt.messages if m.role == "system")
    body: dict[str, Any] = {"model": model, "stream": True, "store": False}
    if system:
        body["instructions"] = system
    body["input"] = [item for message in prompt.messages if message.role != "system" for item in _items(message)]
    effort = wants.get("reasoning_effort", "low")
    if efforts is None or effort in efforts:
        body["reasoning"] = {"effort": effort}
    max_tokens = prompt.max_tokens or wants_tokens(prompt)
    if max_tokens is not None:
        body["max_output_tokens"] = max_tokens
    if isinstance(wants.get("tools"), list):
        body["tools"] = [_tool(tool) for tool in wants["tools"]]
    if "tool_choice" in wants:
        body["tool_choice"] = _tool(wants["tool_choice"])
    form = wants.get("response_format")
    if isinstance(form, dict) and form.get("type", "text") != "text":
        body["text"] = {"format": {"type": form.get("type"), **(form.get("json_schema") or {})}}
    body |= {key: value for key, value in wants.items() if key in SAME}
    for name in without - {"model", "input", "stream"}:
        body.pop(name, None)
    return body


def not_taken(prompt: Prompt) -> list[str]:
    """What the caller asked for and this wire does not know."""
    known = SAME | OWN_FIELDS | {"tools", "tool_choice", "response_format", "reasoning_effort"}
    asked = set(prompt.passthrough) | ({"temperature"} if prompt.temperature is not None else set())
    return sorted(asked - known)


def _items(message: Message) -> Iterator[dict[str, Any]]:
    extra, parts = message.extra, parts_of(message)
    if message.role == "tool":
        output = [_part(part, "tool") for part in parts] if has_more_than_text(message) else message.text
        yield {"type": "function_call_output", "call_id": extra.get("tool_call_id", ""), "output": output}
        return
    content: Any = [_part(part, message.role) for part in parts] if parts else extra.get("content", message.content)
    if content or not extra.get("tool_calls"):
        yield {"role": message.role, "content": content}
    for call in extra.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "function_call",
            "call_id": call.get("id", ""),
            "name": function.get("name", ""),
            "arguments": function.get("arguments", ""),
        }


def _part(part: Mapping[str, Any], role: str) -> dict[str, Any]:
    kind, is_input = kind_of(part), role != "assistant"
    held = part.get(kind)
    match kind:
        case "text":
            return {"type": TEXT_OF.get(role, "input_text"), "text": part.get("text", "")}
        case "refusal" if not is_input:
            return {"type": "refusal", "refusal": str(held)}
        case "image_url" if is_input:
            image = held if isinstance(held, dict) else {"url": held}
            detail = {"detail": image["detail"]} if image.get("detail") else {}
            return {"type": "input_image", "image_url": image.get("url"), **detail}
        case "file" if is_input and isinstance(held, dict):
            return {"type": "input_file", **{k: held[k] for k in ("file_id", "filename", "file_data") if held.get(k)}}
    raise _not_understood(kind, role)


def _only_text(message: Message) -> str:
    for part in parts_of(message):
        if kind_of(part) != "text":
            raise _not_understood(kind_of(part), message.role)
    return message.text


def _not_understood(kind: str, role: str) -> TierUnavailable:
    told = f"this model cannot take {kind} in a turn of the role {role}"
    return TierUnavailable("copilot", told, reason=Reason.UNSUPPORTED, cure=OTHER_PARTS)


def _tool(tool: Any) -> Any:
    """`{"type": "function", "function": {...}}` is flat on this wire."""
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {"type": "function", **tool["function"]}
    return tool


class ResponsesAnswer:
    """Understands the events of one answer, in the order they come."""

    def __init__(self, tier: str, to_failure: TO_FAILURE) -> None:
        self._tier = tier
        self._to_failure = to_failure
        self._joiner = Joiner()
        self._last_number: int | None = None
        self._model: str | None = None
        self._has_text = False
        self._calls: dict[int, int] = {}  # their place in the output → ours among the tool calls
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.has_events = False
        self._is_ours = False  # an event of this schema has come

    def take(self, event: ServerEvent) -> Chunk | None:
        if event.is_comment or not event.data.strip() or event.data.strip() == "[DONE]":
            return Chunk() if event.is_comment and event.data.startswith("keep-alive") else None
        found = as_object(event.data, self._tier)
        self.has_events = True
        kind = str(found.get("type") or event.event)
        self._is_ours |= kind.startswith("response.")
        if kind == "error" or (found.get("error") and "response" not in found):
            raise self._to_failure(complaint_in(found.get("error") or found))
        if not self._is_next(found.get("sequence_number")):
            return None
        return self._understand(kind, found)

    def end(self) -> Chunk:
        """The last chunk, or `TierBroken` for an answer that has no end."""
        if self.finish_reason is None:
            told, reason = ("it ended without its end mark", Reason.TRUNCATED)
            if not self.has_events:
                told, reason = "the reply is empty", Reason.EMPTY_BODY
            elif not self._is_ours:
                told, reason = "the stream speaks of something else", Reason.BAD_PAYLOAD
            raise TierBroken(self._tier, told, reason=reason, may_have_billed=True)
        return Chunk(text=self._joiner.finish(), finish_reason=self.finish_reason, usage=self.usage)

    def whole(self, found: Any) -> Iterator[Chunk]:
        """An answer that came in one piece."""
        self.has_events = True
        if not isinstance(found, dict) or "output" not in found:
            if isinstance(found, dict | list) and complaint_in(found).message:
                raise self._to_failure(complaint_in(found))
            raise TierBroken(self._tier, "the reply is not an answer", reason=Reason.BAD_PAYLOAD, may_have_billed=True)
        self._count(found)
        yield self._close(str(found.get("status")), found)
        yield self.end()

    def _is_next(self, number: Any) -> bool:
        if not isinstance(number, int) or isinstance(number, bool):
            return True
        last, self._last_number = self._last_number, number
        if last is None or number == last + 1:
            return True
        if number <= last:
            self._last_number = last
            return False
        raise TierBroken(self._tier, "a piece of the answer is missing", reason=Reason.TRUNCATED, may_have_billed=True)

    def _understand(self, kind: str, found: Mapping[str, Any]) -> Chunk:
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                delta = found.get("delta")
                if not isinstance(delta, str):
                    raise self._bad("a delta is no text")
                self._has_text = self._has_text or bool(delta)
                return Chunk(text=self._joiner.feed(delta))
            case "response.output_item.added":
                item = found.get("item")
                if isinstance(item, dict) and item.get("type") == "function_call":
                    return Chunk(tool_calls=(self._call(found.get("output_index"), item),))
            case "response.function_call_arguments.delta":
                place = self._calls.get(_place(found.get("output_index")), 0)
                return Chunk(tool_calls=({"index": place, "function": {"arguments": str(found.get("delta") or "")}},))
            case "response.created":
                response = found.get("response")
                name = response.get("model") if isinstance(response, dict) else None
                if isinstance(name, str) and name:
                    return Chunk(model=name)
            case "response.completed" | "response.incomplete" | "response.failed":
                response = found.get("response")
                if not isinstance(response, dict):
                    raise self._bad("the end holds no response")
                self._count({**response, **{k: v for k, v in found.items() if k == "copilot_usage"}})
                return self._close(str(response.get("status") or kind.rpartition(".")[2]), response)
        return Chunk()

    def _close(self, status: str, response: Mapping[str, Any]) -> Chunk:
        if status == "failed" or response.get("error"):
            raise self._to_failure(complaint_in(response.get("error") or {}))
        text, calls = self._output(response.get("output")) if not (self._has_text or self._calls) else ("", ())
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            self.finish_reason = INCOMPLETE.get(str(reason), "length")
        elif status == "completed":
            self.finish_reason = "tool_calls" if self._calls else "stop"
        else:
            raise TierBroken(self._tier, "the answer is not complete", reason=Reason.TRUNCATED, may_have_billed=True)
        model = response.get("model")
        return Chunk(text=self._joiner.feed(text), tool_calls=calls, model=model if isinstance(model, str) else None)

    def _output(self, output: Any) -> tuple[str, tuple[Mapping[str, Any], ...]]:
        """Text and calls of a response that came without deltas."""
        text, calls = "", []
        for place, item in enumerate(output if isinstance(output, list) else ()):
            if not isinstance(item, dict):
                continue
            if item.get("type") == "function_call":
                calls.append(self._call(place, item))
            parts = item.get("content") if item.get("type") == "message" else None
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict) and part.get("type") in ("output_text", "refusal"):
                    text += str(part.get("text") or part.get("refusal") or "")
        return text, tuple(calls)

    def _call(self, place: Any, item: Mapping[str, Any]) -> Mapping[str, Any]:
        index = self._calls.setdefault(_place(place), len(self._calls))
        function = {"name": str(item.get("name") or ""), "arguments": str(item.get("arguments") or "")}
        return {"index": index, "id": str(item.get("call_id") or ""), "type": "function", "function": function}

    def _count(self, found: Mapping[str, Any]) -> None:
        used = found.get("usage")
        used = used if isinstance(used, dict) else {}
        self.usage = Usage(as_count(used.get("input_tokens")), as_count(used.get("output_tokens")), credits_in(found))

    def _bad(self, told: str) -> TierBroken:
        return TierBroken(self._tier, told, reason=Reason.BAD_PAYLOAD, may_have_billed=True)


def _place(found: Any) -> int:
    return found if isinstance(found, int) else 0


async def read_responses(reply: Reply, tier: str, to_failure: TO_FAILURE) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer, streamed or whole. The last one has a `finish_reason`; else it raises."""
    answer = ResponsesAnswer(tier, to_failure)
    if reply.content_type == "application/json":
        for chunk in answer.whole(await reply.json()):
            yield chunk
        return
    reader = SseReader(tier)
    while answer.finish_reason is None:
        part = await anext(reply.parts(), None)
        for event in reader.finish() if part is None else reader.feed(part):
            if (said := answer.take(event)) is not None:
                yield said
            if answer.finish_reason is not None:
                break
        if part is None:
            break
    last = answer.end()
    reply.is_complete = True
    yield last


__all__ = ["GatewayError", "ResponsesAnswer", "TierFailed", "not_taken", "read_responses", "responses_body"]
