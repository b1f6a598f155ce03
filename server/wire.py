"""Values as bytes."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

_LINE_BREAKS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8; numbers that JSON cannot hold become null. Never raises for text of any kind.

    Half a surrogate pair from a model becomes the replacement character. Unicode's own line breaks are escaped,
    because many readers of event streams split lines there.
    """
    try:
        told = to_json(value, inf_nan_mode="null", fallback=str)
    except PydanticSerializationError:
        told = to_json(json.loads(_mended(json.dumps(value, default=str))), inf_nan_mode="null")
    for char, escaped in _LINE_BREAKS:
        if char in told:
            told = told.replace(char, escaped)
    return told


def _mended(text: str) -> str:
    """JSON whose `\\udXXX` escapes without a partner are replaced."""
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace").decode()


def still_working(before: int) -> bytes:
    """A comment of an event stream; `before`: those that stand before it in the line for a local model."""
    return b": waiting for the local model, %d before this one\n\n" % before if before else b": still working\n\n"


def sse(event: bytes, data: bytes) -> bytes:
    """One server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (event, data)
