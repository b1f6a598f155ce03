"""What the compatible surfaces share: a request read and asked, and every error said in the client's own words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway_core import Answer, GatewayError, Message, OnInterrupt, Reason, attempts_of

from ..answering import Answering
from ..dialects import Dialect
from ..intake import PICTURES_LIMIT, PLAIN_LIMIT, off_loop, parse, read_body, read_json, too_large
from ..problems import RequestRefused, headers_of, problem
from ..service import service_of

Body = TypeVar("Body", bound=BaseModel)
Mapped = tuple[Dialect, dict[str, Any], bool]


async def answer(
    request: Request,
    model: type[Body],
    refusing: Dialect,
    ask: Callable[[Body], Mapped | Response],
    *,
    any_type: bool = False,
) -> Response:
    """`ask` maps a body to the dialect of its answer, the gateway's options, and whether it is streamed.

    A cut is never mended in mid-stream here: these clients know no seams. `any_type`: bodies without a JSON content
    type are read too, unless a web page sends them.
    """
    try:
        service = service_of(request)
        is_page = "origin" in request.headers or "sec-fetch-site" in request.headers
        body = await (read_body if any_type and not is_page else read_json)(request, PICTURES_LIMIT)
        mapped = await off_loop(body, lambda: _checked(_kept_here(parse(model, body), ask), len(body)))
        if isinstance(mapped, Response):
            return mapped
        dialect, options, stream = mapped
        if stream:
            options["on_interrupt"] = OnInterrupt.STOP
        answering = Answering(service.gateway, service.closing, dialect, None, options, stream=stream)
        return await service.repeats.once(request.scope, request.headers.get("idempotency-key"), body, answering)
    except GatewayError as error:
        told = problem(error)
        headers = {**headers_of(error, told), **refusing.headers(told)}
        return Response(refusing.refused(told), told["status"], headers, refusing.refusal_type)


def _kept_here(body: Body, ask: Callable[[Body], Mapped | Response]) -> Mapped | Response:
    """Maps the body. `local_only` means here what it means under `/ai`: it must not go to a provider as a field it
    ignores, together with the words that were not to leave this laptop."""
    mapped = ask(body)
    wish = (body.model_extra or {}).get("local_only")
    if wish is None or isinstance(mapped, Response):
        return mapped
    if not isinstance(wish, bool):
        raise RequestRefused(Reason.INVALID_REQUEST, "local_only must be true or false", field="local_only")
    options = mapped[1]
    options["local_only"] = wish
    options.get("passthrough", {}).pop("local_only", None)
    return mapped


def _checked(mapped: Mapped | Response, size: int) -> Mapped | Response:
    """The same, if its words are no larger than they may be where no pictures are sent."""
    if size <= PLAIN_LIMIT or isinstance(mapped, Response):
        return mapped
    if size - sum(map(_beside_words, mapped[1]["messages"])) > PLAIN_LIMIT:
        raise too_large(PLAIN_LIMIT, "without pictures and files, the request is")
    return mapped


def _beside_words(turn: Message) -> int:
    """Characters of pictures, sounds and files in a turn."""
    content: object = turn.content
    parts = content if isinstance(content, list) else []
    held = [part.get(part["type"]) for part in parts if part["type"] != "text"]
    texts = [text for one in held if isinstance(one, dict) for text in one.values()]
    return sum(len(text) for text in texts if isinstance(text, str))


def an_object(value: Any, where: str) -> dict[str, Any]:
    """The value, if it is an object; `None` is an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise RequestRefused(Reason.INVALID_REQUEST, f"{where} must be an object", field=where)


def a_text(value: Any, where: str) -> str:
    """The value, if it is a text; `None` is an empty one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise RequestRefused(Reason.INVALID_REQUEST, f"{where} must be a text", field=where)


def extension(answer: Answer, notes: tuple[str, ...]) -> dict[str, Any]:
    """What the other API has no words for: who answered, and who was asked."""
    return {
        "id": answer.id,
        "backend": answer.backend,
        "mode": answer.mode,
        "model": answer.model,
        "state": answer.state,
        "segments": [{"backend": s.backend, "start": s.start, "end": s.end} for s in answer.segments],
        "attempts": attempts_of(answer.attempts),
        "notes": [*answer.notes, *notes],
    }


def cure_of(problem: Mapping[str, Any]) -> str:
    """The cure as these clients can follow it: they have no field `tier` or `on_interrupt`."""
    if problem["code"] == Reason.STREAM_INTERRUPTED:
        return "ask again"
    return str(problem["cure"]).replace("leave out `tier`", "ask for the model auto")


def trouble(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a failure."""
    return {
        "code": problem["code"],
        "attempts": problem["attempts"],
        "cure": cure_of(problem),
        "retry_after": problem["retry_after"],
    }


def message(problem: Mapping[str, Any]) -> str:
    """For clients that show one line: what happened, and what to do."""
    cure = cure_of(problem)
    return f"{problem['detail']} ({cure})" if cure else str(problem["detail"])


def seconds() -> int:
    """For `created` fields."""
    return int(time.time())
