"""Files and bytes as documents, by the core's own loader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway_core import Document


class Refused(Exception):
    """The value is no document, for the reason given."""


def load(path: Path) -> list[Document]:
    """The document a file is. Its name is the path as the user wrote it, or the file's own if that was absolute."""
    name = path.name if path.is_absolute() else path.as_posix()
    if path.is_dir():
        raise Refused(f"{name} is a folder: name its files, as {name.rstrip('/')}/**/*.md")
    return [_read(path, name)]


def read_bytes(content: bytes, name: str) -> list[Document]:
    return [_read(content, name)]


def _read(source: Path | bytes, name: str) -> Document:
    from gateway_core import DocumentUnreadable, load_document

    try:
        return load_document(source, name=name)
    except DocumentUnreadable as exc:
        raise Refused(str(exc)) from None
