"""Request bodies: counted while they arrive, JSON only, and every fault named by its field."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

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
# In one body that is not read in no time. A million of them take a gigabyte, and seconds in which nobody is answered.
MOST_PARTS = 100_000
_SLICE = 1_000_000  # bytes that are counted at a time, between which others may be answered
_STRUCTURE = (b"{", b"[", b",", b":")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_LARGE = ThreadPoolExecutor(1, thread_name_prefix="large-body")  # one of them at a time: each takes memory
DEEPEST = 200  # levels of JSON that the reader follows, about
CURES_OF_LACKS = {"documents": "send at least one text, or use /ai/query", "prompt": "send the question as a text"}
_MOST_NAMES = 10
_LONGEST_NAME = 60

_Where: TypeAlias = "tuple[_Where, int | str] | None"  # the way to a value, from its end
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
    if len(body) <= QUICK:
        return work()
    if len(body) <= PLAIN_LIMIT:
        return await asyncio.to_thread(work)
    return await asyncio.get_running_loop().run_in_executor(_LARGE, work)


def parse(model: type[Body], body: bytes) -> Body:
    """The body as `model`; raises `RequestRefused` naming the field, and never repeats what was sent."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    if len(body) > QUICK and has_many_parts(body):
        raise RequestRefused(
            Reason.TOO_LARGE, f"the body holds more than {MOST_PARTS:,} objects, lists and members", field="body",
            cure="join short texts to longer ones, or send several requests",
        )  # fmt: skip
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
    raise _refusal(errors[0], body)


def has_many_parts(body: bytes, most: int = MOST_PARTS, at_a_time: int = _SLICE) -> bool:
    """More than `most` braces, brackets, commas and colons stand outside of texts."""
    if sum(map(body.count, _STRUCTURE)) <= most:  # pictures: base64 holds none of them
        return False
    found, in_text, rest = 0, False, b""
    for start in range(0, len(body), at_a_time):
        piece = rest + body[start : start + at_a_time]
        whole = len(piece) - (len(piece) - len(piece.rstrip(b"\\"))) % 2  # no escape is cut in two
        piece, rest = piece[:whole].replace(b"\\\\", b"").replace(b'\\"', b""), piece[whole:]
        quotes = piece.count(b'"')
        if quotes > 2 * most + 2:  # between two texts there is a comma or a colon
            return True
        outside = b"".join(piece.split(b'"')[in_text::2])
        found += sum(map(outside.count, _STRUCTURE))
        if found > most:
            return True
        in_text ^= quotes % 2 == 1
    return False


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
    if not _HALF.search(body):
        return None
    try:
        waiting: list[tuple[Any, _Where]] = [(json.loads(body), None)]
    except (ValueError, RecursionError):
        return None
    while waiting:
        value, where = waiting.pop()
        if isinstance(value, str) and _is_broken(value):
            return path(_steps(where)) or "body"
        if isinstance(value, dict):
            if any(map(_is_broken, value)):
                return "a field's name"
            waiting.extend((item, (where, name)) for name, item in reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend((value[n], (where, n)) for n in reversed(range(len(value))))
    return None


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _steps(where: _Where) -> list[int | str]:
    steps: list[int | str] = []
    while where is not None:
        where, step = where
        steps.append(step)
    return steps[::-1]
