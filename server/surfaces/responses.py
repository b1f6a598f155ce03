"""`POST /v1/responses` in its plain-text form: nothing is stored, and tools are refused rather than ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from gateway_core import Answer, Delta, Done, Event, Message, Meta, Reason, SegmentStarted

from ..bodies import MOST_TOKENS, Sent
from ..dialects import EVENT_STREAM, final
from ..documentation import ASKED_IN_OTHER_WORDS, body_of
from ..problems import RequestRefused
from ..wire import dump, sse, still_working
from .chat_completions import ERROR_TYPES
from .models import Wanted, wanted
from .surface import Mapped, a_text, an_object, answer, extension, message, seconds, trouble

router = APIRouter()

REFUSED = {
    "tools": "tools are not served here; use /v1/chat/completions",
    "previous_response_id": "nothing is stored; send the earlier turns in input",
    "conversation": "nothing is stored; send the earlier turns in input",
    "background": "nothing runs in the background",
    "prompt": "there are no stored prompts",
}
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
ROLES = {"developer": "system"}
PARTS = {"input_text": "text", "output_text": "text", "input_image": "image_url"}
PASSED_ON = ("top_p", "user", "metadata")


class ResponsesBody(Sent):
    """A request of the Responses API, as far as it is about text."""

    model: str | None = Field(None, max_length=300)
    input: Any
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    text: dict[str, Any] | None = None


@router.post("/v1/responses", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(ResponsesBody))
async def responses(request: Request) -> Response:
    """The ladder for clients that speak OpenAI's responses, text only."""
    return await answer(request, ResponsesBody, ResponsesAnswer(Wanted("auto")), _mapped)


def _mapped(body: ResponsesBody) -> Mapped:
    extra = body.model_extra or {}
    for name, why in REFUSED.items():
        if extra.get(name):
            raise RequestRefused(Reason.INVALID_REQUEST, why, field=name, cure=f"leave {name} out")
    model = wanted(body.model)
    turns = [Message("system", body.instructions)] if body.instructions else []
    turns += [Message("user", body.input)] if isinstance(body.input, str) else _turns(body.input)
    passed = {name: extra[name] for name in PASSED_ON if extra.get(name) is not None}
    form = an_object((body.text or {}).get("format"), "text.format")
    if form.get("type") == "json_schema":
        schema = {key: value for key, value in form.items() if key != "type"}
        passed["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form.get("type") == "json_object":
        passed["response_format"] = {"type": "json_object"}
    options = {
        **model.options,
        "messages": turns,
        "max_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "passthrough": passed,
    }
    return ResponsesAnswer(model, body.instructions), options, bool(body.stream)


def _turns(items: Any) -> list[Message]:
    if not isinstance(items, list) or not items:
        raise RequestRefused(Reason.INVALID_REQUEST, "input must be a text or a list of messages", field="input")
    return [_turn(item, f"input[{number}]") for number, item in enumerate(items)]


def _turn(item: Any, where: str) -> Message:
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if kind != "message":
        raise RequestRefused(Reason.INVALID_REQUEST, f"{where} is not a message: only text is served", field=where)
    role, content = ROLES.get(str(item.get("role")), str(item.get("role"))), item.get("content")
    if role not in ("system", "user", "assistant"):
        raise RequestRefused(Reason.INVALID_REQUEST, f"{where}.role is unknown", field=f"{where}.role")
    if isinstance(content, str):
        return Message(role, content)  # type: ignore[arg-type]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise RequestRefused(Reason.INVALID_REQUEST, f"{where}.content must be a text", field=f"{where}.content")
    parts = [_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts):
        return Message(role, "".join(str(part["text"]) for part in parts))  # type: ignore[arg-type]
    return Message(role, parts)  # type: ignore[arg-type]


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = PARTS.get(str(part.get("type")))
    if kind is None:
        raise RequestRefused(Reason.INVALID_REQUEST, f"{where}.type is not served", field=f"{where}.type")
    if kind == "text":
        return {"type": "text", "text": a_text(part.get("text"), f"{where}.text")}
    return {"type": "image_url", "image_url": {"url": a_text(part.get("image_url"), f"{where}.image_url")}}


@dataclass
class ResponsesAnswer:
    """One answer as `response`, or as its numbered events."""

    wanted: Wanted
    instructions: str | None = None
    created: int = field(default_factory=seconds)
    id: str = "0"
    has_begun: bool = False
    said: int = 0  # events
    text: list[str] = field(default_factory=list)

    stream_type = EVENT_STREAM
    refusal_type = "application/json"
    breaks_off = True

    def whole(self, answer: Answer) -> bytes:
        self.id = answer.id
        return dump(self._finished(answer))

    def event(self, event: Event) -> bytes:
        match event:
            case Delta():
                self.text.append(event.text)
                return self._event("response.output_text.delta", **self._place(), delta=event.text, logprobs=[])
            case Meta():
                return self._begin(event.id)
            case SegmentStarted():
                return b""
            case Done():
                return self._end(event.answer)

    def idle(self, before: int) -> bytes:
        return still_working(before)

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        error = self._error(problem)
        return self._event("error", error=error, code=error["code"], message=error["message"], param=error["param"])

    def refused(self, problem: Mapping[str, Any]) -> bytes:
        return dump({"error": self._error(problem)})

    def headers(self, problem: Mapping[str, Any] | None) -> Mapping[str, str]:
        return final(problem)

    def _error(self, problem: Mapping[str, Any]) -> dict[str, Any]:
        kind = ERROR_TYPES.get(problem["status"], "invalid_request_error")
        told = {"message": message(problem), "type": kind, "param": problem.get("field"), "code": problem["code"]}
        return {**told, "ai_gateway": trouble(problem)}

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self.id}", "output_index": 0, "content_index": 0}

    def _event(self, name: str, **fields: Any) -> bytes:
        told = dump({"type": name, "sequence_number": self.said, **fields})
        self.said += 1
        return sse(name.encode(), told)

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        return {
            "id": f"resp_{self.id}", "object": "response", "created_at": self.created, "status": status, "error": None,
            "incomplete_details": None, "instructions": self.instructions, "metadata": {}, "model": self.wanted.name,
            "output": [], "parallel_tool_calls": False, "temperature": None, "tool_choice": "none", "tools": [],
            "top_p": None, "store": False, "usage": None, **fields,
        }  # fmt: skip

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        told = {"id": f"msg_{self.id}", "type": "message", "status": status, "role": "assistant"}
        return {**told, "content": content}

    def _begin(self, id: str) -> bytes:
        self.has_begun, self.id = True, id
        item = self._item("in_progress", [])
        return (
            self._event("response.created", response=self._response("in_progress"))
            + self._event("response.in_progress", response=self._response("in_progress"))
            + self._event("response.output_item.added", output_index=0, item=item)
            + self._event("response.content_part.added", **self._place(), part=_said(""))
        )

    def _end(self, answer: Answer) -> bytes:
        first = b"" if self.has_begun else self._begin(answer.id)
        finished = self._finished(answer)
        return (
            first
            + self._event("response.output_text.done", **self._place(), text=answer.text, logprobs=[])
            + self._event("response.content_part.done", **self._place(), part=_said(answer.text))
            + self._event("response.output_item.done", output_index=0, item=finished["output"][0])
            + self._event(f"response.{finished['status']}", response=finished)
        )

    def _finished(self, answer: Answer) -> dict[str, Any]:
        reason = INCOMPLETE.get(answer.finish_reason)
        status = "incomplete" if reason else "completed"
        used = answer.usage
        read, written = used.input_tokens or 0, used.output_tokens or 0
        usage = {
            "input_tokens": read, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + written,
        }  # fmt: skip
        return self._response(
            status,
            incomplete_details={"reason": reason} if reason else None,
            model=answer.model or self.wanted.name,
            output=[self._item(status, [_said(answer.text)])],
            usage=usage,
            ai_gateway=extension(answer, self.wanted.notes),
        )


def _said(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
