"""What is asked: the prompt and the documents, from arguments, files and standard input."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from ..errors import PromptRefused
from ..types import Document, Reason
from .terminal import Terminal, in_one_line

LONGEST_PROMPT = 8_000_000  # bytes: two million characters, each at its widest
LONGEST_DOCUMENT = 32_000_000  # bytes
MOST_FILES, LARGEST_FOLDER = 1_000, 100_000_000  # files; bytes
STANDARD_INPUT = "-"
LONG = 0.5  # seconds of silence that nobody wonders about


def prompt_from(argument: str | None, stdin: TextIO | None, *, is_taken: bool) -> str:
    """The argument, or standard input when there is none. `is_taken`: standard input is a document."""
    if argument not in (None, STANDARD_INPUT):
        assert argument is not None
        return argument
    if is_taken:
        raise PromptRefused(
            "standard input cannot be both the prompt and a document", field="prompt", cure="give the prompt as text"
        )
    if argument is None and (stdin is None or stdin.isatty()):
        raise PromptRefused(
            "there is no prompt", field="prompt", cure='write it after "ask", or send it to standard input'
        )
    return _decoded(_from_stdin(stdin, LONGEST_PROMPT, "prompt"), "standard input", "prompt").rstrip("\r\n")


def documents_from(
    names: Sequence[str], stdin: TextIO | None, tell: Callable[[str], None] = lambda line: None
) -> list[Document | Path]:
    """One document for each name, in order, of a folder one for each file, which is told. Raises `PromptRefused`
    naming the file."""
    if names.count(STANDARD_INPUT) > 1:
        raise PromptRefused(
            "standard input can be only one document", field="documents", cure="name the others as files"
        )
    documents: list[Document | Path] = []
    for name in names:
        if name == STANDARD_INPUT:
            documents.append(_from_standard_input(stdin))
            continue
        paths = _existing(name)
        if Path(name).is_dir():
            tell(f"{in_one_line(name)}: {len(paths):,} file{'s' if len(paths) > 1 else ''} of this folder")
        documents += paths
    return documents


class Loading:
    """Says how far the reading of files has come, once it takes long: a progress callback."""

    def __init__(self, terminal: Terminal, now: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._now = now
        self._begun = now()

    def __call__(self, done: int, of: int, name: str) -> None:
        if done == of:
            self._terminal.pass_by()
        elif self._now() - self._begun >= LONG:
            self._terminal.pass_by(f"{done} of {of} files read: {in_one_line(name)}")


def _from_standard_input(stdin: TextIO | None) -> Document:
    raw = _from_stdin(stdin, LONGEST_DOCUMENT, "documents")
    from ..rag.places import lines_in

    text = _decoded(raw, "standard input", "documents")
    return Document(text, name="standard input", places=lines_in(text))


def _existing(name: str) -> list[Path]:
    path = Path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _files_in(path, name)
    told = "it is no file" if path.exists() else "no such file"
    raise PromptRefused(f"{name}: cannot be read ({told})", field="documents")


def _files_in(folder: Path, name: str) -> list[Path]:
    """The files in a folder and below it, in order; hidden ones, and links to elsewhere, are left alone."""
    found: list[Path] = []
    size = 0
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(below for below in folders if not below.startswith("."))
        paths = [Path(at, file) for file in sorted(files) if not file.startswith(".")]
        for path in paths:
            if path.is_file() and not path.is_symlink():
                found.append(path)
                size += path.stat().st_size
        if len(found) > MOST_FILES or size > LARGEST_FOLDER:
            raise PromptRefused(
                f"{name}: a folder of more than {MOST_FILES:,} files or {LARGEST_FOLDER // 1_000_000} MB",
                field="documents", cure="name a folder below it, or single files",
            )  # fmt: skip
    if not found:
        raise PromptRefused(f"{name}: cannot be read (a folder without a file)", field="documents")
    return found


def _from_stdin(stdin: TextIO | None, limit: int, field: str) -> bytes:
    if stdin is None:
        raise PromptRefused("standard input is closed", field=field)
    raw: bytes = stdin.buffer.read(limit + 1)
    if len(raw) > limit:
        raise _too_large("standard input", limit, field)
    return raw


def _decoded(raw: bytes, name: str, field: str) -> str:
    """Text as editors and shells write it: UTF-8, or UTF-16 with its mark, as PowerShell's `>` gives."""
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return raw.decode("utf-16")
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise PromptRefused(
            f"{name} is not UTF-8 text (byte {exc.start})", field=field, cure="save it as UTF-8 text"
        ) from None
    if "\0" in text:
        raise PromptRefused(f"{name} is not text: it holds a NUL", field=field, cure="save it as UTF-8 text")
    return text


def _too_large(name: str, limit: int, field: str) -> PromptRefused:
    refused = PromptRefused(f"{name} has more than {limit // 1_000_000} MB", field=field, cure="send a part of it")
    refused.reason = Reason.TOO_LARGE
    return refused
