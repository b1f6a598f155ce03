"""Errors that tell where, and not what: a traceback shown with its locals would show prompts, documents and keys.

Debuggers, test runners, crash reporters and notebooks print the local variables of every frame. What leaves a public
method therefore keeps its frames, their lines and names, but the frames below that method are empty.
"""

from __future__ import annotations

import sys
import traceback
from types import TracebackType


class Discreet:
    """`with Discreet():` - what is raised inside goes on, its frames emptied of their locals; those of its causes too.

    An error that the caller was handling already is the caller's, and left alone.
    """

    def __init__(self) -> None:
        self._handled: BaseException | None = None

    def __enter__(self) -> None:
        self._handled = sys.exception()

    def __exit__(self, kind: object, exc: BaseException | None, at: TracebackType | None) -> None:
        waiting, seen = [exc], {id(None), id(self._handled)}
        while waiting:
            error = waiting.pop()
            if error is None or id(error) in seen:
                continue
            seen.add(id(error))
            traceback.clear_frames(error.__traceback__)  # frames that still run are left as they are
            waiting += [error.__cause__, error.__context__]
        self._handled = None


def places_of(error: BaseException) -> list[str]:
    """Where an error of our own came from, for a log: its type and its frames, none of its words.

    A foreign message may quote anything; a line of code does not.
    """
    return [
        *(line for part in traceback.format_tb(error.__traceback__) for line in part.splitlines()),
        type(error).__qualname__,
    ]


def place_of(error: BaseException) -> str:
    """The file and line that raised it."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else "?"


def in_one_line(value: object, longest: int = 200) -> str:
    """A foreign value in a log line: it ends no line and moves no cursor, whatever it holds."""
    text = str(value)
    return "".join(c if c.isprintable() else "?" for c in text[:longest]) + ("..." if len(text) > longest else "")
