"""`POST /v1/messages`: the Anthropic surface, text and tool calls, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from gateway_core import Answer, Delta, Done, Event, Message, Meta, Reason, SegmentStarted

from ..bodies import MOST_TOKENS, Sent
from ..dialects import EVENT_STREAM, final
from ..documentation import ASKED_IN_OTHER_WORDS, body_of
from ..problems import RequestRefused
from ..wire import dump, sse, still_working
from .models import Wanted, wanted
from .surface import Mapped, a_text, an_object, answer, extension, message, trouble
from .tool_calls import arguments_of, joined

router = APIRouter()

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}
# Fields of this API that have the same meaning under another name in the one that tiers speak.
PASSED_ON = {"stop_sequences": "stop", "top_p": "top_p"}
TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class AnthropicMessage(Sent):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class MessagesBody(Sent):
    """A request of the Messages API."""

    model: str | None = Field(None, max_length=300)
    messages: list[AnthropicMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None


@router.post("/v1/messages", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(MessagesBody))
async def messages(request: Request) -> Response:
    """The ladder for clients that speak Anthropic's messages."""
    return await answer(request, MessagesBody, AnthropicAnswer(Wanted("auto")), _mapped)


def _mapped(body: MessagesBody) -> Mapped:
    model = wanted(body.model)
    turns = [Message("system", _text(body.system, "system"))] if body.system else []
    for number, sent in enumerate(body.messages):
        turns += _turns(sent, f"messages[{number}]")
    passed = {theirs: getattr(body, ours) for ours, theirs in PASSED_ON.items() if getattr(body, ours) is not None}
    if body.tools:
        passed["tools"] = [_tool(tool) for tool in body.tools]
        if body.tool_choice is not None:
            passed["tool_choice"] = _choice(body.tool_choice)
    options = {
        **model.options,
        "messages": turns,
        "max_tokens": body.max_tokens,
        "temperature": body.temperature,
        "passthrough": passed,
    }
    return AnthropicAnswer(model), options, bool(body.stream)


def _turns(sent: AnthropicMessage, where: str) -> Iterator[Message]:
    """One turn here may be several there: the results of tools are turns of their own."""
    if isinstance(sent.content, str):
        yield Message(sent.role, sent.content)
        return
    parts, calls = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, block in enumerate(sent.content):
        here = f"{where}.content[{number}]"
        match block.get("type"):
            case "tool_use":
                name = a_text(block.get("name"), f"{here}.name")
                function = {"name": name, "arguments": dump(an_object(block.get("input"), f"{here}.input")).decode()}
                calls.append({"id": a_text(block.get("id"), f"{here}.id"), "type": "function", "function": function})
            case "tool_result":
                id = a_text(block.get("tool_use_id"), f"{here}.tool_use_id")
                yield Message("tool", _text(block.get("content"), f"{here}.content"), {"tool_call_id": id})
            case "image":
                source = an_object(block.get("source"), f"{here}.source")
                parts.append({"type": "image_url", "image_url": {"url": _picture(source)}})
            case "text":
                parts.append({"type": "text", "text": a_text(block.get("text"), f"{here}.text")})
            case "thinking" | "redacted_thinking":
                continue  # another model's thoughts help nobody
            case _:
                raise RequestRefused(Reason.INVALID_REQUEST, f"{here}.type is not served", field=f"{here}.type")
    only_text = all(part["type"] == "text" for part in parts)
    content: Any = "".join(part["text"] for part in parts) if only_text else parts
    if parts or calls:
        yield Message(sent.role, content, {"tool_calls": calls} if calls else {})


def _text(content: Any, where: str) -> str:
    if isinstance(content, list):
        blocks = [an_object(block, f"{where}[{number}]") for number, block in enumerate(content)]
        return "".join(a_text(block.get("text"), f"{where}[{number}].text") for number, block in enumerate(blocks))
    return a_text(content, where)


def _picture(source: Mapping[str, Any]) -> str:
    if source.get("type") == "url":
        return str(source.get("url", ""))
    return f"data:{source.get('media_type', 'image/png')};base64,{source.get('data', '')}"


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    described = {"name": tool.get("name", ""), "parameters": tool.get("input_schema") or {"type": "object"}}
    if tool.get("description"):
        described["description"] = tool["description"]
    return {"type": "function", "function": described}


def _choice(choice: Mapping[str, Any]) -> Any:
    if choice.get("type") == "tool":
        return {"type": "function", "function": {"name": choice.get("name", "")}}
    return TOOL_CHOICES.get(str(choice.get("type")), "auto")


@dataclass
class AnthropicAnswer:
    """One answer as `message`, or as the events from `message_start` to `message_stop`."""

    wanted: Wanted
    has_begun: bool = False
    block: int = -1  # the content block that is open
    call: Any = field(default=None)  # the tool call it holds; None: text

    stream_type = EVENT_STREAM
    refusal_type = "application/json"
    breaks_off = True

    def whole(self, answer: Answer) -> bytes:
        content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
        for call in joined(answer.tool_calls):
            name = call["function"]["name"]
            content.append({"type": "tool_use", "id": call["id"], "name": name, "input": arguments_of(call)})
        told = self._message(answer.id, answer.model)
        told |= {
            "content": content,
            "stop_reason": STOP_REASONS.get(answer.finish_reason, "end_turn"),
            "usage": _usage(answer),
            "ai_gateway": extension(answer, self.wanted.notes),
        }
        return dump(told)

    def event(self, event: Event) -> bytes:
        match event:
            case Delta():
                return self._text_delta(event.text) + b"".join(map(self._call_delta, event.tool_calls))
            case Meta():
                return self._begin(event.id)
            case SegmentStarted():
                return b""
            case Done():
                return self._end(event.answer)

    def idle(self, before: int) -> bytes:
        return still_working(before)

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        return sse(b"error", self.refused(problem))

    def refused(self, problem: Mapping[str, Any]) -> bytes:
        kind = ERROR_TYPES.get(problem["status"], "invalid_request_error")
        error = {"type": kind, "message": message(problem), "ai_gateway": trouble(problem)}
        return dump({"type": "error", "error": error})

    def headers(self, problem: Mapping[str, Any] | None) -> Mapping[str, str]:
        return final(problem)

    def _message(self, id: str, model: str | None) -> dict[str, Any]:
        return {
            "id": f"msg_{id}", "type": "message", "role": "assistant", "model": model or self.wanted.name,
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 0},
        }  # fmt: skip

    def _begin(self, id: str) -> bytes:
        self.has_begun = True
        return _event("message_start", message=self._message(id, None))

    def _text_delta(self, text: str) -> bytes:
        if not text:
            return b""
        opened = self._open(None, {"type": "text", "text": ""})
        return opened + _event("content_block_delta", index=self.block, delta={"type": "text_delta", "text": text})

    def _call_delta(self, fragment: Mapping[str, Any]) -> bytes:
        function = fragment.get("function") or {}
        described = {"type": "tool_use", "id": fragment.get("id", ""), "name": function.get("name", ""), "input": {}}
        opened = self._open(("call", fragment.get("index", 0)), described)
        delta = {"type": "input_json_delta", "partial_json": function.get("arguments") or ""}
        return opened + _event("content_block_delta", index=self.block, delta=delta)

    def _open(self, call: Any, described: dict[str, Any]) -> bytes:
        if self.block >= 0 and self.call == call:
            return b""
        closed = self._close()
        self.block, self.call = self.block + 1, call
        return closed + _event("content_block_start", index=self.block, content_block=described)

    def _close(self) -> bytes:
        return _event("content_block_stop", index=self.block) if self.block >= 0 else b""

    def _end(self, answer: Answer) -> bytes:
        first = b"" if self.has_begun else self._begin(answer.id)
        delta = {"stop_reason": STOP_REASONS.get(answer.finish_reason, "end_turn"), "stop_sequence": None}
        told = extension(answer, self.wanted.notes)
        last = _event("message_delta", delta=delta, usage=_usage(answer), ai_gateway=told)
        return first + self._close() + last + _event("message_stop")


def _event(name: str, **fields: Any) -> bytes:
    return sse(name.encode(), dump({"type": name, **fields}))


def _usage(answer: Answer) -> dict[str, int]:
    return {"input_tokens": answer.usage.input_tokens or 0, "output_tokens": answer.usage.output_tokens or 0}
