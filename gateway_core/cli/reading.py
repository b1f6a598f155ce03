"""What is asked: the prompt and the documents, from arguments, files and standard input."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from ..errors import PromptRefused
from ..types import Document, Reason
from .terminal import Terminal, in_one_line

LONGEST_PROMPT = 8_000_000  # bytes: two million characters, each at its widest
LONGEST_DOCUMENT = 32_000_000  # bytes
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


def documents_from(names: Sequence[str], stdin: TextIO | None) -> list[Document | Path]:
    """One document for each name, in order. Raises `PromptRefused` naming the file."""
    if names.count(STANDARD_INPUT) > 1:
        raise PromptRefused(
            "standard input can be only one document", field="documents", cure="name the others as files"
        )
    return [_from_standard_input(stdin) if name == STANDARD_INPUT else _existing(name) for name in names]


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
    return Document(_decoded(raw, "standard input", "documents"), name="standard input")


def _existing(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    told = "it is no file" if path.exists() else "no such file"
    raise PromptRefused(f"{name}: cannot be read ({told})", field="documents")


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
