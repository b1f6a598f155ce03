"""`POST /v1/chat/completions`, `GET /v1/models` and each of them: the OpenAI surface, for official SDKs unchanged.

Fields the gateway does not know are passed on to the tier. Tool calls and JSON schemas are passed through. After the
first visible text a failure is one `data: {"error": ...}`, and the connection is cut: no reader takes it for a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from gateway_core import Answer, Delta, Done, Event, Message, Meta, Reason, SegmentStarted, Usage

from ..bodies import MOST_TOKENS, Content, ResponseFormat, Sent, Tool, ToolCall
from ..dialects import EVENT_STREAM, final
from ..documentation import ACCESS_IN_OTHER_WORDS, ASKED_IN_OTHER_WORDS, NOT_FOUND_IN_OTHER_WORDS, body_of
from ..intake import shown
from ..problems import JSON_HEADERS, RequestRefused
from ..service import service_of
from ..wire import dump, still_working
from .models import Wanted, offered, wanted
from .surface import Mapped, answer, extension, message, seconds, trouble
from .tool_calls import joined

router = APIRouter()

ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
READ_HERE = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "n",
    "on_interrupt",
}
ROLES = {"developer": "system", "function": "tool"}


class StreamOptions(Sent):
    include_usage: bool | None = None


class ChatMessage(Sent):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    tool_calls: list[ToolCall] | None = Field(None, fail_fast=True)
    tool_call_id: str | None = None
    name: str | None = None


class ChatBody(Sent):
    """A request of the chat-completions API. Fields that are not listed are passed on."""

    model: str | None = Field(None, max_length=300)
    messages: list[ChatMessage] = Field(min_length=1, fail_fast=True)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    n: int | None = None
    tools: list[Tool] | None = Field(None, fail_fast=True)
    tool_choice: str | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None


@router.post(
    "/v1/chat/completions", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(ChatBody)
)
async def chat_completions(request: Request) -> Response:
    """The ladder for clients that speak OpenAI's chat completions."""
    return await answer(request, ChatBody, ChatCompletion(Wanted("auto")), _mapped)


@router.get("/v1/models", response_model=None, responses=ACCESS_IN_OTHER_WORDS)
async def models(request: Request) -> Response:
    """The names that `model` may have."""
    names = await offered(service_of(request).gateway)
    return _json({"object": "list", "data": [_row(name) for name in names]})


@router.get(
    "/v1/models/{name:path}",
    response_model=None,
    responses={**ACCESS_IN_OTHER_WORDS, 404: NOT_FOUND_IN_OTHER_WORDS},
)
async def model(request: Request, name: str) -> Response:
    """One of them; clients of Anthropic's API are told an unknown one in its words."""
    if name in await offered(service_of(request).gateway):
        return _json(_row(name))
    told = f"the model {shown(name)} is not known here; GET /v1/models lists those that are"
    if "anthropic-version" in request.headers:
        return _json({"type": "error", "error": {"type": "not_found_error", "message": told}}, 404)
    error = {"message": told, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    return _json({"error": error}, 404)


def _row(name: str) -> dict[str, Any]:
    """A model in the words of OpenAI and of Anthropic, who ask at the same path."""
    backend = name.partition("/")[0]
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "ai-gateway" if backend == "auto" else backend,
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    }


def _json(value: object, status: int = 200) -> Response:
    return Response(dump(value), status, JSON_HEADERS, "application/json")


def _mapped(body: ChatBody) -> Mapped:
    if body.n not in (None, 1):
        told = "n must be 1: one answer is given"
        raise RequestRefused(Reason.INVALID_REQUEST, told, field="n", cure="leave n out")
    model = wanted(body.model)
    if (body.model_extra or {}).get("on_interrupt") is not None:
        told = "on_interrupt is a field of /ai/query: here an answer that breaks off ends in an error"
        model = replace(model, notes=(*model.notes, told))
    options = {
        **model.options,
        "messages": [_turn(sent) for sent in body.messages],
        "max_tokens": body.max_completion_tokens or body.max_tokens,
        "temperature": body.temperature,
        "passthrough": body.model_dump(exclude=READ_HERE, exclude_none=True, exclude_unset=True),
    }
    wants_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    return ChatCompletion(model, wants_usage), options, bool(body.stream)


def _turn(sent: ChatMessage) -> Message:
    """A turn as the tiers take it; content parts and tool calls are passed on as they came."""
    extra = sent.model_dump(exclude={"role", "content"}, exclude_none=True, exclude_unset=True)
    content = sent.content
    if content is None:
        content, extra["content"] = "", None
    return Message(ROLES.get(sent.role, sent.role), content, extra)  # type: ignore[arg-type]


@dataclass
class ChatCompletion:
    """One answer as `chat.completion`, or as `chat.completion.chunk`s and `[DONE]`."""

    wanted: Wanted
    wants_usage: bool = False
    created: int = field(default_factory=seconds)
    id: str = "chatcmpl-0"
    has_begun: bool = False

    stream_type = EVENT_STREAM
    refusal_type = "application/json"
    breaks_off = True

    def whole(self, answer: Answer) -> bytes:
        calls = joined(answer.tool_calls)
        told: dict[str, Any] = {"role": "assistant", "content": answer.text or (None if calls else ""), "refusal": None}
        if calls:
            told["tool_calls"] = calls
        choice = {"index": 0, "message": told, "logprobs": None, "finish_reason": answer.finish_reason}
        completion = {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion",
            "created": self.created,
            "model": answer.model or self.wanted.name,
            "choices": [choice],
            "usage": usage_of(answer.usage),
            "ai_gateway": extension(answer, self.wanted.notes),
        }
        return dump({name: value for name, value in completion.items() if value is not None})

    def event(self, event: Event) -> bytes:
        match event:
            case Delta():
                delta: dict[str, Any] = {"content": event.text} if event.text else {}
                if event.tool_calls:
                    delta["tool_calls"] = list(event.tool_calls)
                return self._chunk([_choice(delta)])
            case Meta():
                return self._begin(event.id, event.backend)
            case SegmentStarted():
                return b""
            case Done():
                return self._end(event.answer)

    def idle(self, before: int) -> bytes:
        return still_working(before)

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        return b"data: " + self.refused(problem) + b"\n\n"

    def refused(self, problem: Mapping[str, Any]) -> bytes:
        error = {
            "message": message(problem),
            "type": ERROR_TYPES.get(problem["status"], "invalid_request_error"),
            "param": problem.get("field"),
            "code": problem["code"],
            "ai_gateway": trouble(problem),
        }
        return dump({"error": error})

    def headers(self, problem: Mapping[str, Any] | None) -> Mapping[str, str]:
        return final(problem)

    def _begin(self, id: str, backend: str) -> bytes:
        self.has_begun, self.id = True, f"chatcmpl-{id}"
        return self._chunk([_choice({"role": "assistant", "content": ""})], ai_gateway={"backend": backend})

    def _end(self, answer: Answer) -> bytes:
        first = b"" if self.has_begun else self._begin(answer.id, answer.backend)
        last = self._chunk([_choice({}, answer.finish_reason)], ai_gateway=extension(answer, self.wanted.notes))
        usage = self._chunk([], usage=usage_of(answer.usage) or _NO_USAGE) if self.wants_usage else b""
        return first + last + usage + b"data: [DONE]\n\n"

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        chunk = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.wanted.name,
            "choices": choices,
            **more,
        }
        return b"data: %b\n\n" % dump(chunk)


_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def usage_of(usage: Usage) -> dict[str, Any] | None:
    """Tokens as the provider counted them; nothing where it did not."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
