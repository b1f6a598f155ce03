"""`POST /v1/messages`: the Anthropic surface, text and tool calls, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from gateway_core import Answer, Delta, Done, Event, Message, Meta, Reason, SegmentStarted

from ..bodies import MOST_TOKENS, Sent
from ..dialects import EVENT_STREAM, final
from ..documentation import ASKED_IN_OTHER_WORDS, body_of
from ..intake import shown
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
UNTOLD = {"metadata", "local_only"}  # no answer depends on it; heeded by us
_MOST_NAMES = 10


class AnthropicMessage(Sent):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class MessagesBody(Sent):
    """A request of the Messages API."""

    model: str | None = Field(None, max_length=300)
    messages: list[AnthropicMessage] = Field(min_length=1, fail_fast=True)
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    stop_sequences: list[str] | None = Field(None, fail_fast=True)
    tools: list[dict[str, Any]] | None = Field(None, fail_fast=True)
    tool_choice: dict[str, Any] | None = None


@router.post("/v1/messages", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(MessagesBody))
async def messages(request: Request) -> Response:
    """The ladder for clients that speak Anthropic's messages."""
    return await answer(request, MessagesBody, AnthropicAnswer(Wanted("auto")), _mapped)


def _mapped(body: MessagesBody) -> Mapped:
    model = wanted(body.model)
    model = replace(model, notes=(*model.notes, *_not_passed_on(body)))
    turns = [Message("system", _text(body.system, "system"))] if body.system else []
    for number, sent in enumerate(body.messages):
        turns += _turns(sent, f"messages[{number}]")
    passed = {theirs: getattr(body, ours) for ours, theirs in PASSED_ON.items() if getattr(body, ours) is not None}
    if body.tools:
        passed["tools"] = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(body.tools)]
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


def _not_passed_on(body: MessagesBody) -> tuple[str, ...]:
    """A note on what this API can be asked for and the tiers' cannot."""
    asked = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
    thinking = asked.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "disabled":
        del asked["thinking"]
    names = [shown(name) for name in asked if name not in UNTOLD][:_MOST_NAMES]
    return (f"not passed on to the tiers: {', '.join(names)}",) if names else ()


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
                text, pictures = _result(block, here)
                yield Message("tool", text, {"tool_call_id": id})
                if pictures:  # a tool's turn takes none there: they follow in the user's
                    parts += [{"type": "text", "text": f"Pictures of the tool result {id}:"}, *pictures]
            case "image":
                parts.append(_picture(block, here))
            case "text":
                parts.append({"type": "text", "text": a_text(block.get("text"), f"{here}.text")})
            case "thinking" | "redacted_thinking":
                continue  # another model's thoughts help nobody
            case _:
                raise _not_served(here)
    only_text = all(part["type"] == "text" for part in parts)
    content: Any = "".join(part["text"] for part in parts) if only_text else parts
    if parts or calls:
        yield Message(sent.role, content, {"tool_calls": calls} if calls else {})


def _result(block: Mapping[str, Any], where: str) -> tuple[str, list[dict[str, Any]]]:
    """What a tool gave: its words, and its pictures."""
    content, pictures = block.get("content"), list[dict[str, Any]]()
    if isinstance(content, list):
        for number, part in enumerate(content):
            if isinstance(part, dict) and part.get("type") == "image":
                pictures.append(_picture(part, f"{where}.content[{number}]"))
    text = _text(content, f"{where}.content", beside="image")
    return ("Error: " if block.get("is_error") is True else "") + text, pictures


def _text(content: Any, where: str, *, beside: str = "") -> str:
    """The words of a content; blocks of the type `beside` are somebody else's to read."""
    if not isinstance(content, list):
        return a_text(content, where)
    told = ""
    for number, sent in enumerate(content):
        here = f"{where}[{number}]"
        block = an_object(sent, here)
        if block.get("type", "text") == "text":
            told += a_text(block.get("text"), f"{here}.text")
        elif block["type"] != beside:
            raise _not_served(here)
    return told


def _not_served(where: str) -> RequestRefused:
    return RequestRefused(
        Reason.INVALID_REQUEST, f"{where}.type is not served", field=f"{where}.type",
        cure="send text, images, tool_use and tool_result; put the words of documents into text",
    )  # fmt: skip


def _picture(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    source = an_object(block.get("source"), f"{where}.source")
    match source.get("type", "base64"):
        case "url":
            url = a_text(source.get("url"), f"{where}.source.url")
        case "base64":
            data = a_text(source.get("data"), f"{where}.source.data")
            url = f"data:{a_text(source.get('media_type'), f'{where}.source.media_type') or 'image/png'};base64,{data}"
        case _:  # a file that was uploaded there
            raise RequestRefused(
                Reason.INVALID_REQUEST, f"{where}.source.type is not served", field=f"{where}.source.type",
                cure="send the picture itself (base64), or its url",
            )  # fmt: skip
    return {"type": "image_url", "image_url": {"url": url}}


def _tool(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):  # it runs on Anthropic's servers: as a function nobody would run it
        raise RequestRefused(
            Reason.INVALID_REQUEST, f"{where}.type is a tool of Anthropic's servers, which is not served here",
            field=f"{where}.type", cure="leave it out, or offer a tool of your own (name, input_schema)",
        )  # fmt: skip
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
    """One answer as `message`, or as the events from `message_start` to `message_stop`.

    Tool calls are told whole, at the end: fragments of several may come mixed, and here a block ends before the next.
    """

    wanted: Wanted
    has_begun: bool = False
    has_text: bool = False  # block 0 is open

    stream_type = EVENT_STREAM
    refusal_type = "application/json"
    breaks_off = True

    def whole(self, answer: Answer) -> bytes:
        content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
        content += [{**_used(call), "input": arguments_of(call)} for call in joined(answer.tool_calls)]
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
                return self._text_delta(event.text)
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
        opened = b"" if self.has_text else _event("content_block_start", index=0, content_block=_NO_TEXT)
        self.has_text = True
        return opened + _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def _calls(self, calls: Sequence[Mapping[str, Any]]) -> bytes:
        told = b""
        for index, call in enumerate(calls, int(self.has_text)):
            delta = {"type": "input_json_delta", "partial_json": call["function"]["arguments"]}
            told += _event("content_block_start", index=index, content_block={**_used(call), "input": {}})
            told += _event("content_block_delta", index=index, delta=delta)
            told += _event("content_block_stop", index=index)
        return told

    def _end(self, answer: Answer) -> bytes:
        first = b"" if self.has_begun else self._begin(answer.id)
        closed = _event("content_block_stop", index=0) if self.has_text else b""
        delta = {"stop_reason": STOP_REASONS.get(answer.finish_reason, "end_turn"), "stop_sequence": None}
        told = extension(answer, self.wanted.notes)
        last = _event("message_delta", delta=delta, usage=_usage(answer), ai_gateway=told)
        return first + closed + self._calls(joined(answer.tool_calls)) + last + _event("message_stop")


_NO_TEXT = {"type": "text", "text": ""}


def _used(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}


def _event(name: str, **fields: Any) -> bytes:
    return sse(name.encode(), dump({"type": name, **fields}))


def _usage(answer: Answer) -> dict[str, int]:
    return {"input_tokens": answer.usage.input_tokens or 0, "output_tokens": answer.usage.output_tokens or 0}
