"""Text files as documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .variables import Refused

if TYPE_CHECKING:
    from gateway_core import Document

LARGEST = 25_000_000  # bytes
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def load(path: Path) -> list[Document]:
    """The document a file is. Raises `Refused` with the reason, which never holds more of the path than was given."""
    from gateway_core import Document

    name = path.name if path.is_absolute() else path.as_posix()
    try:
        if path.is_dir():
            raise Refused(f"{name} is a folder: name its files, as {path.as_posix().rstrip('/')}/*")
        if path.stat().st_size > LARGEST:
            raise Refused(f"{name} is larger than {LARGEST // 1_000_000} MB")
        content = path.read_bytes()
    except OSError as exc:
        raise Refused(f"{name} cannot be read: {exc.strerror or type(exc).__name__}") from None
    text = decoded(content, name)
    if path.suffix == ".ipynb":
        text = _cells(text, name)
    return [Document(text, name=name, kind=path.suffix[1:].lower() or "text")]


def decoded(content: bytes, name: str) -> str:
    """The text of bytes; `Refused` for what is no text."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    head = content[:4096]
    if b"\0" in head or content.startswith((b"%PDF", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8")):
        raise Refused(f"{name} is not a text file")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _cells(text: str, name: str) -> str:
    try:
        cells = json.loads(text)["cells"]
        return "\n\n".join("".join(cell.get("source", "")) for cell in cells)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused(f"{name} is not a notebook") from None
