"""Request bodies: counted while they arrive, JSON only, and every fault named by its field."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request

from gateway_core import Reason

from .problems import ClientLeft, RequestRefused

PLAIN_LIMIT = 2_000_000
PICTURES_LIMIT = 20_000_000  # where pictures travel in base64; the words among them have the plain limit
DOCUMENTS_LIMIT = 32_000_000
SECONDS_FOR_A_BODY = 60.0
QUICK = 200_000  # bytes of JSON that are read and checked in some milliseconds
CURES_OF_SIZE = {
    PLAIN_LIMIT: "send long texts as documents to /ai/query/rag",
    PICTURES_LIMIT: "send smaller pictures, and long texts as documents to /ai/query/rag",
    DOCUMENTS_LIMIT: "send fewer documents",
}
DEEPEST = 200  # levels of JSON that the reader follows, about
CURES_OF_LACKS = {"documents": "send at least one text, or use /ai/query", "prompt": "send the question as a text"}
_MOST_NAMES = 10
_LONGEST_NAME = 60

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


async def read_json(request: Request, limit: int) -> bytes:
    """The body, if it says that it is JSON and has at most `limit` bytes, whatever its declared length."""
    _must_be_json(request.headers)
    return await read_body(request, limit)


async def read_body(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large(limit)
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(SECONDS_FOR_A_BODY):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise too_large(limit)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestRefused(
            Reason.REQUEST_TIMEOUT, f"the body did not arrive within {SECONDS_FOR_A_BODY:.0f} s"
        ) from None


async def off_loop(body: bytes, work: Callable[[], Result]) -> Result:
    """What `work` makes of the body, in a thread if that may take long: others are answered meanwhile."""
    return work() if len(body) <= QUICK else await asyncio.to_thread(work)


def parse(model: type[Body], body: bytes) -> Body:
    """The body as `model`; raises `RequestRefused` naming the field, and never repeats what was sent."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
    raise _refusal(errors[0], body)


def ignored(body: BaseModel, where: str = "") -> tuple[str, ...]:
    """A note on fields that nobody asked for: they are ignored, but not in silence."""
    names = list(_unknown(body))
    if not names:
        return ()
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (f"unknown fields were ignored: {', '.join(where + shown(n) for n in names[:_MOST_NAMES])}{more}",)


def _unknown(body: BaseModel, where: str = "") -> Iterator[str]:
    yield from (where + name for name in body.model_extra or ())
    for name in type(body).model_fields:
        value = getattr(body, name)
        if isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _unknown(item, f"{where}{name}[{number}].")


def shown(name: str) -> str:
    """A name that a caller chose, as it may be repeated to them."""
    readable = "".join(c if c.isprintable() else "?" for c in name[:_LONGEST_NAME])
    return readable + ("..." if len(name) > _LONGEST_NAME else "")


def _must_be_json(headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise RequestRefused(
            Reason.UNSUPPORTED_MEDIA_TYPE,
            "the body's content type must be application/json",
            cure="send the header Content-Type: application/json",
        )
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestRefused(
            Reason.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not read", cure="send the body as plain JSON"
        )


def too_large(limit: int, what: str = "the body is") -> RequestRefused:
    told = f"{what} larger than {limit // 1_000_000} MB"
    return RequestRefused(Reason.TOO_LARGE, told, field="body", cure=CURES_OF_SIZE.get(limit, ""))


def _refusal(error: Any, body: bytes) -> RequestRefused:
    if error["type"] == "json_invalid":
        field = _half_a_pair(body)
        if field is not None:
            return RequestRefused(
                Reason.INVALID_REQUEST, f"{field} holds half a surrogate pair", field=field, cure="send valid Unicode"
            )
        told = str(error["msg"]).removeprefix("Invalid JSON: ")
        if told.startswith("recursion limit"):
            return RequestRefused(
                Reason.INVALID_REQUEST, "the body is nested too deeply", field="body",
                cure=f"nest lists and objects at most {DEEPEST} deep",
            )  # fmt: skip
        return RequestRefused(
            Reason.INVALID_REQUEST, f"the body is not valid JSON: {told}", field="body",
            cure="send one JSON object in UTF-8",
        )  # fmt: skip
    field = path(error["loc"]) or "body"
    is_lack = error["type"] in ("missing", "too_short", "list_type", "string_type")
    cure = CURES_OF_LACKS.get(field, "") if is_lack else ""
    return RequestRefused(Reason.INVALID_REQUEST, f"{field} {_fault(error)}", field=field, cure=cure)


def _fault(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "too_short":
        return "is empty"
    if error["type"] == "union_tag_not_found":
        return 'must be a text, {"text", "name"} or {"name", "content_base64"}'
    told = str(error["msg"]).removeprefix("Value error, ")
    return told.replace("Input should be", "must be", 1).replace("Input should", "must", 1)


def path(loc: Sequence[int | str]) -> str:
    """Where in the body: `documents[0].text`. Names of alternatives, which only we know, are left out."""
    told = ""
    for step in loc:
        if isinstance(step, int):
            told += f"[{step}]"
        elif not step.startswith(":"):
            told += f".{shown(step)}" if told else shown(step)
    return told


def _half_a_pair(body: bytes) -> str | None:
    r"""The field that holds a `\udXXX` escape without its partner; our JSON reader only tells the column."""
    if b"\\ud" not in body.lower():
        return None
    try:
        return next(_broken(json.loads(body), ""), None)
    except (ValueError, RecursionError):
        return None


def _broken(value: Any, where: str) -> Iterator[str]:
    match value:
        case str():
            if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
                yield where or "body"
        case dict():
            for name, item in value.items():
                yield from _broken(name, "a field's name")
                yield from _broken(item, path((*_steps(where), name)))
        case list():
            for number, item in enumerate(value):
                yield from _broken(item, f"{where}[{number}]")


def _steps(where: str) -> Iterable[str]:
    return (where,) if where else ()
