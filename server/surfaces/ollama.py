"""The Ollama surface: `/api/version`, `/api/tags`, `/api/ps`, `/api/show`, `/api/chat` and `/api/generate`, streamed as
lines of JSON unless told otherwise. Nothing here touches the models of a real Ollama: no pull, create or delete.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from gateway_core import Answer, Delta, Done, Event, Message, Meta, SegmentStarted

from ..bodies import MOST_TOKENS, Sent, Tool
from ..documentation import ACCESS_IN_OTHER_WORDS, ASKED_IN_OTHER_WORDS, NOT_FOUND_IN_OTHER_WORDS, body_of
from ..intake import PLAIN_LIMIT, parse, read_body, shown
from ..problems import JSON_HEADERS
from ..service import service_of
from ..wire import dump
from .models import AUTO, LATEST, Wanted, is_offered, offered, wanted
from .surface import Mapped, a_text, an_object, answer, extension, message, trouble
from .tool_calls import arguments_of, joined

router = APIRouter()

VERSION = "0.13.0"  # of the API that is spoken here; clients ask for a least one
DONE_REASONS = {"length": "length"}
# Options that every tier understands; the others are about a model's place in this machine's memory.
PASSED_ON = ("top_p", "seed", "stop", "frequency_penalty", "presence_penalty")
DETAILS = {
    "parent_model": "", "format": "gateway", "family": "ai-gateway", "families": ["ai-gateway"], "parameter_size": "",
    "quantization_level": "",
}  # fmt: skip
PICTURES = {"/9j/": "jpeg", "R0lG": "gif", "UklG": "webp", "iVBO": "png"}  # by the first bytes, in base64
_EPOCH = "1970-01-01T00:00:00Z"


class OllamaMessage(Sent):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    images: list[str] | None = Field(None, fail_fast=True)
    tool_calls: list[dict[str, Any]] | None = Field(None, fail_fast=True)
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaOptions(Sent):
    num_predict: int | None = Field(None, le=MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)


class _OllamaBody(Sent):
    model: str | None = Field(None, max_length=300)
    stream: bool | None = None
    format: Any = None
    options: OllamaOptions | None = None


class OllamaChatBody(_OllamaBody):
    """A request of Ollama's chat API."""

    messages: list[OllamaMessage] | None = Field(None, fail_fast=True)
    tools: list[Tool] | None = Field(None, fail_fast=True)


class OllamaGenerateBody(_OllamaBody):
    """A request of Ollama's generate API."""

    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = Field(None, fail_fast=True)


class OllamaShowBody(Sent):
    model: str | None = Field(None, max_length=300)
    name: str | None = Field(None, max_length=300)


@router.get("/api/version", response_model=None, responses=ACCESS_IN_OTHER_WORDS)
async def version(request: Request) -> Response:
    """Ollama: the version of the API that is spoken."""
    return _json({"version": VERSION})


@router.get("/api/tags", response_model=None, responses=ACCESS_IN_OTHER_WORDS)
async def tags(request: Request) -> Response:
    """Ollama: the names that `model` may have."""
    names = [_tagged(name) for name in await offered(service_of(request).gateway)]
    listed = [
        {"name": n, "model": n, "modified_at": _EPOCH, "size": 0, "digest": "", "details": DETAILS} for n in names
    ]
    return _json({"models": listed})


def _tagged(name: str) -> str:
    """Ollama lists every model with a tag; Open WebUI adds `:latest` where none is and then looks for that name."""
    return name if ":" in name else name + LATEST


@router.get("/api/ps", response_model=None, responses=ACCESS_IN_OTHER_WORDS)
async def loaded(request: Request) -> Response:
    """Ollama: the models in memory. None is this gateway's to unload."""
    return _json({"models": []})


@router.post(
    "/api/show",
    response_model=None,
    responses={**ASKED_IN_OTHER_WORDS, 404: NOT_FOUND_IN_OTHER_WORDS},
    openapi_extra=body_of(OllamaShowBody),
)
async def show(request: Request) -> Response:
    """Ollama: what a model can do."""
    body = parse(OllamaShowBody, await read_body(request, PLAIN_LIMIT))
    asked = body.model or body.name or AUTO
    if not await is_offered(asked, service_of(request).gateway):
        return _json({"error": f"model '{shown(asked)}' not found"}, 404)
    name = wanted(asked).name
    return _json(
        {
            "modelfile": "", "parameters": "", "template": "{{ .Prompt }}", "license": "", "modified_at": _EPOCH,
            "details": DETAILS, "capabilities": ["completion", "tools"],
            "model_info": {
                "general.architecture": "gateway", "general.basename": name, "gateway.context_length": 128_000
            },
        }
    )  # fmt: skip


@router.post("/api/chat", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(OllamaChatBody))
async def chat(request: Request) -> Response:
    """The ladder for clients that speak Ollama's chat."""
    return await answer(request, OllamaChatBody, OllamaAnswer(Wanted("auto")), _chat, any_type=True)


@router.post(
    "/api/generate", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(OllamaGenerateBody)
)
async def generate(request: Request) -> Response:
    """The ladder for clients that speak Ollama's generate."""
    return await answer(request, OllamaGenerateBody, OllamaAnswer(Wanted("auto"), False), _generate, any_type=True)


def _chat(body: OllamaChatBody) -> Mapped | Response:
    model = wanted(body.model)
    if not body.messages:
        return _json(OllamaAnswer(model).loaded())
    calls = _Calls()
    turns = [_turn(sent, f"messages[{number}]", calls) for number, sent in enumerate(body.messages)]
    return OllamaAnswer(model), {**_options(body, model, body.tools), "messages": turns}, body.stream is not False


def _generate(body: OllamaGenerateBody) -> Mapped | Response:
    model = wanted(body.model)
    if not body.prompt:
        return _json(OllamaAnswer(model, False).loaded())
    turns = [Message("system", body.system)] if body.system else []
    turns.append(_turn(OllamaMessage(role="user", content=body.prompt, images=body.images), "prompt", _Calls()))
    return OllamaAnswer(model, False), {**_options(body, model, None), "messages": turns}, body.stream is not False


class _Calls:
    """Pairs tools' results with the calls they answer: here often by order or name alone, for other APIs by an id."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._open: list[tuple[str, str, str]] = []  # not answered yet: the id as it was sent, the name, our id

    def made(self, calls: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
        """The calls of one turn, each with an id that no other turn has."""
        self._open, told = [], []
        for number, call in enumerate(calls):
            here = f"{where}[{number}]"
            function = an_object(call.get("function"), f"{here}.function")
            name = a_text(function.get("name"), f"{here}.function.name")
            arguments = dump(an_object(function.get("arguments"), f"{here}.function.arguments")).decode()
            sent = a_text(call.get("id"), f"{here}.id")
            id = self._new(sent)
            self._open.append((sent, name, id))
            told.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        return told

    def answered(self, sent: OllamaMessage) -> dict[str, Any]:
        """Which call a result answers. One that answers none is passed on all the same: Ollama takes it."""
        found = (
            next((call for call in self._open if sent.tool_call_id and call[0] == sent.tool_call_id), None)
            or next((call for call in self._open if call[1] == sent.tool_name), None)
            or next(iter(self._open), None)
        )
        if found is None:
            found = ("", sent.tool_name or "", sent.tool_call_id or self._new(""))
        else:
            self._open.remove(found)
        name = sent.tool_name or found[1]
        return {**({"name": name} if name else {}), "tool_call_id": found[2]}

    def _new(self, sent: str) -> str:
        id = sent if sent and sent not in self._ids else f"call_{len(self._ids)}"
        while id in self._ids:
            id += "_"
        self._ids.add(id)
        return id


def _turn(sent: OllamaMessage, where: str, calls: _Calls) -> Message:
    extra: dict[str, Any] = {}
    if sent.tool_calls:
        extra["tool_calls"] = calls.made(sent.tool_calls, f"{where}.tool_calls")
    if sent.role == "tool":
        extra |= calls.answered(sent)
    if not sent.images:
        return Message(sent.role, sent.content or "", extra)
    pictures = [{"type": "image_url", "image_url": {"url": _picture(image)}} for image in sent.images]
    return Message(sent.role, [{"type": "text", "text": sent.content or ""}, *pictures], extra)  # type: ignore[arg-type]


def _picture(image: str) -> str:
    return f"data:image/{PICTURES.get(image[:4], 'png')};base64,{image}"


def _options(body: _OllamaBody, model: Wanted, tools: Any) -> dict[str, Any]:
    limits = body.options or OllamaOptions()
    asked = limits.model_extra or {}
    passed = {name: asked[name] for name in PASSED_ON if asked.get(name) is not None}
    if tools:
        passed["tools"] = [tool.model_dump(exclude_unset=True) for tool in tools]
    if body.format == "json":
        passed["response_format"] = {"type": "json_object"}
    elif isinstance(body.format, dict):
        schema = {"name": "answer", "schema": body.format}
        passed["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {
        **model.options,
        "max_tokens": limits.num_predict if limits.num_predict and limits.num_predict > 0 else None,
        "temperature": limits.temperature,
        "passthrough": passed,
    }


@dataclass
class OllamaAnswer:
    """One answer as an object, or as one line of JSON for each piece."""

    wanted: Wanted
    is_chat: bool = True
    started: float = field(default_factory=time.monotonic)
    calls: list[Mapping[str, Any]] = field(default_factory=list)

    stream_type = "application/x-ndjson"
    refusal_type = "application/json"
    breaks_off = True

    def idle(self, before: int) -> bytes:
        return self._line("")  # these lines know no comments

    def whole(self, answer: Answer) -> bytes:
        return dump(self._last(answer, answer.text))

    def loaded(self) -> dict[str, Any]:
        """What an empty request is answered: it only asks for the model to be in memory."""
        return {**self._told(""), "done": True, "done_reason": "load"}

    def event(self, event: Event) -> bytes:
        match event:
            case Delta():
                self.calls.extend(event.tool_calls)  # they are told whole, as Ollama does
                return self._line(event.text) if event.text else b""
            case Meta() | SegmentStarted():
                return b""
            case Done():
                return dump(self._last(event.answer, "")) + b"\n"

    def broken(self, problem: Mapping[str, Any]) -> bytes:
        return self.refused(problem) + b"\n"

    def refused(self, problem: Mapping[str, Any]) -> bytes:
        return dump({"error": message(problem), "ai_gateway": trouble(problem)})

    def headers(self, problem: Mapping[str, Any] | None) -> Mapping[str, str]:
        return {}

    def _line(self, text: str) -> bytes:
        return dump({**self._told(text), "done": False}) + b"\n"

    def _told(self, text: str, calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        said: dict[str, Any] = {"response": text}
        if self.is_chat:
            said = {"message": {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}}
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {"model": self.wanted.name, "created_at": now, **said}

    def _last(self, answer: Answer, text: str) -> dict[str, Any]:
        calls = [
            {"id": call["id"], "function": {"name": call["function"]["name"], "arguments": arguments_of(call)}}
            for call in joined(answer.tool_calls)
        ]
        return {
            **self._told(text, calls),
            "done": True,
            "done_reason": DONE_REASONS.get(answer.finish_reason, "stop"),
            "total_duration": int((time.monotonic() - self.started) * 1e9),
            "load_duration": 0,
            "prompt_eval_count": answer.usage.input_tokens or 0,
            "prompt_eval_duration": int((answer.first_token_ms or 0.0) * 1e6),
            "eval_count": answer.usage.output_tokens or 0,
            "eval_duration": int(max(0.0, answer.total_ms - (answer.first_token_ms or 0.0)) * 1e6),
            "ai_gateway": extension(answer, self.wanted.notes),
        }


def _json(value: object, status: int = 200) -> Response:
    return Response(dump(value), status, JSON_HEADERS, "application/json")
