"""Events from bytes: server-sent events and lines of JSON, however the network cuts them.

Only LF, CRLF and CR end a line here. Readers that ask for "lines of text" also split at U+2028 and its kin, which
are legal inside a JSON string, and lose an answer that contains one. What cannot be UTF-8 is replaced, not refused.
A line or an event without end is `TierBroken(too_large)` before it fills the memory, and so are comments without one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import TierBroken
from ..types import Reason

LINE_LIMIT = 1024 * 1024
EVENT_LIMIT = 8 * 1024 * 1024
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `is_comment`: a line that began with a colon, in `data`; often a keep-alive."""

    data: str
    event: str = ""
    is_comment: bool = False


class _Lines:
    """Complete lines out of pieces; the end marks are not part of them."""

    def __init__(self, tier: str, limit: int) -> None:
        self._tier = tier
        self._limit = limit
        self._rest = bytearray()
        self._searched = 0
        self._skip_lf = False  # the last line ended with a CR: an LF that follows belongs to it
        self._at_start = True

    def feed(self, part: bytes) -> Iterator[bytes]:
        rest = self._rest
        rest += part
        if self._at_start:
            if len(rest) < len(BOM) and BOM.startswith(rest):
                return
            if rest.startswith(BOM):
                del rest[: len(BOM)]
            self._at_start = False
        if self._skip_lf and rest:
            self._skip_lf = False
            if rest[0] == 0x0A:
                del rest[0]
        start = 0
        look_from = self._searched
        while True:
            end, width = _line_end(rest, look_from)
            if end < 0:
                break
            if end - start > self._limit:
                raise too_large(self._tier, self._limit)
            if rest[end] == 0x0D and end + 1 == len(rest):
                self._skip_lf = True
            line = bytes(rest[start:end])
            start = look_from = end + width
            yield line
        if start:
            del rest[:start]
        self._searched = len(rest)
        if len(rest) > self._limit:
            raise too_large(self._tier, self._limit)

    def last(self) -> bytes:
        """What came after the last end of a line."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest


def _line_end(text: bytearray, start: int) -> tuple[int, int]:
    lf = text.find(b"\n", start)
    cr = text.find(b"\r", start, lf if lf >= 0 else len(text))
    if cr < 0:
        return lf, 1
    return cr, 2 if text[cr + 1 : cr + 2] == b"\n" else 1


def too_large(tier: str, limit: int) -> TierBroken:
    return TierBroken(tier, f"a line or event longer than {limit} bytes", reason=Reason.TOO_LARGE, may_have_billed=True)


class SseReader:
    """`feed` bytes as they come, take events as they are complete. An event cut off by the end is dropped."""

    def __init__(self, tier: str, *, line_limit: int = LINE_LIMIT, event_limit: int = EVENT_LIMIT) -> None:
        self._tier = tier
        self._lines = _Lines(tier, line_limit)
        self._event_limit = event_limit
        self._data: list[str] = []
        self._size = 0  # bytes since the last event, comments and unknown fields too
        self._event = ""

    def feed(self, part: bytes) -> Iterator[ServerEvent]:
        for raw in self._lines.feed(part):
            if not raw:
                if self._data:
                    self._size = 0
                    yield ServerEvent("\n".join(self._data), self._event)
                self._data, self._event = [], ""
                continue
            self._size += len(raw)
            if self._size > self._event_limit:
                raise too_large(self._tier, self._event_limit)
            line = raw.decode("utf-8", "replace")
            if line[0] == ":":
                yield ServerEvent(line[1:].strip(), is_comment=True)
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "event":
                self._event = value

    def finish(self) -> Iterator[ServerEvent]:
        """At the end of the body: an event whose blank line is missing counts when it is whole."""
        name, _, value = self._lines.last().decode("utf-8", "replace").partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        data, self._data = "\n".join(self._data), []
        if data.strip() == "[DONE]" or _is_json(data):
            yield ServerEvent(data, self._event)


class NdjsonReader:
    """One JSON object a line; a last line without its end counts when it is whole JSON."""

    def __init__(self, tier: str, *, line_limit: int = LINE_LIMIT) -> None:
        self._tier = tier
        self._lines = _Lines(tier, line_limit)

    def feed(self, part: bytes) -> Iterator[dict[str, Any]]:
        for raw in self._lines.feed(part):
            if raw.strip():
                yield as_object(raw, self._tier)

    def finish(self) -> Iterator[dict[str, Any]]:
        rest = self._lines.last()
        if rest.strip():
            try:
                yield as_object(rest, self._tier)
            except TierBroken:
                return  # cut in the middle of a line: the missing end marker says so


class Joiner:
    """Joins the halves of a character that a provider escaped in two pieces; a half left alone is replaced."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        if not self._half and text.isascii():
            return text
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text

    def finish(self) -> str:
        half, self._half = self._half, ""
        return "\ufffd" if half else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def as_json(raw: bytes | str, tier: str) -> Any:
    """Any JSON, or `TierBroken(bad_payload)`."""
    try:
        return json.loads(raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw)
    except (ValueError, RecursionError):
        told = "an event is not JSON"
    raise TierBroken(tier, told, reason=Reason.BAD_PAYLOAD, may_have_billed=True)


def as_object(raw: bytes | str, tier: str) -> dict[str, Any]:
    """A JSON object, or `TierBroken(bad_payload)`."""
    found = as_json(raw, tier)
    if not isinstance(found, dict):
        raise TierBroken(tier, "an event is not a JSON object", reason=Reason.BAD_PAYLOAD, may_have_billed=True)
    return found


async def server_events(parts: AsyncIterator[bytes], tier: str) -> AsyncGenerator[ServerEvent, None]:
    """The events of a body."""
    reader = SseReader(tier)
    async for part in parts:
        for event in reader.feed(part):
            yield event
    for event in reader.finish():
        yield event


async def json_lines(parts: AsyncIterator[bytes], tier: str) -> AsyncGenerator[dict[str, Any], None]:
    """The objects of a body that holds one a line."""
    reader = NdjsonReader(tier)
    async for part in parts:
        for found in reader.feed(part):
            yield found
    for found in reader.finish():
        yield found
