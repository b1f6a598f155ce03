"""Marked secrets and marked contents, and where they must never turn up."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

from gateway_core import BlockingGateway, Gateway

COPILOT = "gho_CANARYcopilot0123456789abcdefghijkl"
CLOUD = "sk-CANARYcloud-0123456789abcdefghijklmn"
LOCAL = "local-CANARYkey-0123456789abcdefghijkl"
DOOR = "door-CANARYtoken-0123456789abcdefghijk"
PROXY = "proxyCANARYpassword0123456789"
TOKENS = (COPILOT, CLOUD, LOCAL, DOOR, PROXY)

PROMPT = "CANARYPROMPT why did the blue heron leave"
DOCUMENT = "CANARYDOCUMENT the heron left because the pond had frozen over. Herons leave when ponds freeze."
SYSTEM = "CANARYSYSTEM answer briefly"
ANSWER = "CANARYANSWER one two three four five six seven eight nine ten eleven twelve thirteen fourteen."
CONTENTS = ("CANARYPROMPT", "CANARYDOCUMENT", "CANARYSYSTEM", "CANARYANSWER")

# Waits long enough to be a fault, and no longer.
QUICK = {"first_token_timeout": 0.2, "local_first_token_timeout": 0.2, "stall_timeout": 0.2, "thinking_timeout": 0.3}

PUBLIC = frozenset(
    method.__code__
    for method in (
        Gateway.ask,
        Gateway.ask_documents,
        Gateway.stream,
        Gateway.status,
        Gateway.health,
        BlockingGateway.ask,
        BlockingGateway.ask_documents,
        BlockingGateway.stream,
        BlockingGateway.status,
    )
)


def found(marks: Iterable[str], text: str | bytes) -> list[str]:
    """The marks that stand in `text`."""
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return [mark for mark in marks if mark in shown]


@dataclass
class Leaks:
    """What was found, and where. Empty is good."""

    places: list[str] = field(default_factory=list)

    def look(self, where: str, text: str | bytes, *marks: str) -> None:
        self.places += [f"{mark} in {where}" for mark in found(marks, text)]

    def look_at_value(self, where: str, value: Any, *marks: str) -> None:
        """As a log line, a debugger or a pickle would show it."""
        self.look(f"repr of {where}", repr(value), *marks)
        self.look(f"str of {where}", str(value), *marks)
        try:
            pickled = pickle.dumps(value)
        except (TypeError, AttributeError, pickle.PicklingError) as refused:
            self.look(f"refused pickle of {where}", str(refused), *marks)
        else:
            self.look(f"pickle of {where}", pickled, *marks)

    def look_at_error(self, where: str, error: BaseException) -> None:
        """Its words, and every frame with its locals: those of its causes, too."""
        for exc in chain(error):
            self.look(f"{where}: {type(exc).__name__}", f"{exc} {exc!r} {exc.args}", *TOKENS, *CONTENTS[:3])
            below = below_the_test(exc.__traceback__)
            self.look(f"{where}: frames of {type(exc).__name__}", with_locals(exc, below), *TOKENS)
            below = below_the_public_method(below)
            self.look(
                f"{where}: frames of {type(exc).__name__} below the public method", with_locals(exc, below), *CONTENTS
            )


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and contexts, shown by default or not."""
    waiting, seen = [error], set[int]()
    while waiting:
        exc = waiting.pop()
        if id(exc) in seen:
            continue
        seen.add(id(exc))
        yield exc
        waiting += [other for other in (exc.__cause__, exc.__context__) if other is not None]


def with_locals(exc: BaseException, at: TracebackType | None) -> str:
    lines = traceback.TracebackException(type(exc), exc, at, capture_locals=True).format(chain=False)
    return "".join(lines)


def below_the_test(at: TracebackType | None) -> TracebackType | None:
    """Without the test's own frame, which holds the marks."""
    while at is not None and at.tb_frame.f_code.co_name.startswith("test_"):
        at = at.tb_next
    return at


def below_the_public_method(at: TracebackType | None) -> TracebackType | None:
    """The frames that the public method called; all of them where none is passed."""
    walker = at
    while walker is not None:
        if is_public(walker.tb_frame.f_code):
            return walker.tb_next
        walker = walker.tb_next
    return at


def is_public(code: CodeType) -> bool:
    return code in PUBLIC


class LogFile:
    """Every logger of the process, at DEBUG, written to a file as it comes: no filter of ours in between."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handler = logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self._levels: dict[logging.Logger, int] = {}

    def __enter__(self) -> LogFile:
        for name in ("", "ai_gateway", "gateway_core", "httpx", "httpcore", "asyncio"):
            log = logging.getLogger(name)
            self._levels[log] = log.level
            log.setLevel(logging.DEBUG)
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        for log, level in self._levels.items():
            log.setLevel(level)
        self._handler.close()

    def text(self) -> str:
        self._handler.flush()
        return self.path.read_text(encoding="utf-8")


def files_below(folder: Path) -> list[tuple[Path, bytes]]:
    """All files with their contents. SQLite may close a log meanwhile, whose rows are elsewhere then: look anew."""
    while True:
        try:
            return [(path, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
        except FileNotFoundError:
            continue


WORDS = f"cannot read {PROMPT} with {CLOUD}"


class Blunder(Exception):
    """A bug of ours, or of a library below us, that quotes what it was given."""
