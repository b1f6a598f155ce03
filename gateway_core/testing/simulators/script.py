"""The words of a script, and the tables that say what each fault does.

A script entry is `name`, `name:value`, `name:option=x,option=y` or several joined by `+` (`repeat:5+crlf`), and may
end in `@/path` to wait for that path instead of the next paid call. A fault acts at one of five places:

    connection   before anything is sent         hang, close_reused, reset_after_request ...
    reply        instead of the answer           status_503, html_200, huge_body, named errors ...
    answer       what the model says             repeat:5, finish:length, tool_call, thinking:2 ...
    stream       the order and end of frames     cut_after:40, stall_after:3, gap_sequence:5 ...
    bytes        how frames are written          crlf, split_bytes, bom ...
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from .answers import Plan, Question
from .dialects import Dialect
from .wire import Connection, Outgoing, Reply, Step


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a script: `status_429:retry_after=60` has the name `status_429` and one option."""

    name: str
    value: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def number(self, default: float) -> float:
        return float(self.value) if self.value else default

    def count(self, default: int) -> int:
        return int(self.number(default))


class Provider(Protocol):
    """What a fault needs to know of the simulator it acts in."""

    named_errors: Mapping[str, Reply]

    def error_reply(self, status: int, **words: str) -> Reply: ...

    def stream_error(self, **words: str) -> dict[str, Any]: ...


ConnectionFault = Callable[[Fault, Connection], Awaitable[bool]]  # True: nothing more is to be sent
ReplyFault = Callable[[Fault, Provider, str], Outgoing]  # the content type that the caller expects
PlanFault = Callable[[Fault, Plan, Question], Plan]
StreamFault = Callable[[Fault, Iterator[Step], Dialect, Provider], Iterator[Step]]
BytesFault = Callable[[Fault, Outgoing], None]
Act = TypeVar("Act")

CONNECTION: dict[str, ConnectionFault] = {}
REPLY: dict[str, ReplyFault] = {}
PLAN: dict[str, PlanFault] = {}
STREAM: dict[str, StreamFault] = {}
BYTES: dict[str, BytesFault] = {}

# What each fault does, in a line. A line that begins with a word in capitals and a colon takes a value.
LINES: dict[str, str] = {
    "ok": "no fault",
    "status_NNN": "that HTTP status; options retry_after (seconds, date60 or a date), retry_after_ms, code, message",
    "tool_call_cut": "N: answer by a tool call and reset after N parts of its arguments (2)",
}
# One name for a pair that is often wanted; {} is the value.
TOGETHER = {"tool_call_cut": "tool_call+cut_after:{}"}
_NUMBERS = ("N:", "SECONDS:", "MB:", "BYTES:")


def enter(table: dict[str, Act], *rows: tuple[str, Act, str]) -> None:
    """Enter faults (name, act, line) into the table of the place where they act."""
    for name, act, line in rows:
        table[name] = act
        LINES[name] = line


def parse(script: str, named: Iterable[str] = ()) -> tuple[tuple[Fault, ...], str]:
    """The faults of one script entry, and the path it waits for ("" = the next paid call)."""
    entry, at, path = script.rpartition("@/")
    if not at:
        entry, path = script, ""
    words = [entry] if entry.startswith("redirect") else entry.split("+")  # an address may hold a plus
    faults: list[Fault] = []
    for word in words:
        name, _, rest = word.partition(":")
        if name in TOGETHER:
            faults += parse(TOGETHER[name].format(rest or "2"))[0]
        elif name != "ok":
            faults.append(_fault(name, rest, named))
    return tuple(faults), f"/{path}" if path else ""


def _fault(name: str, rest: str, named: Iterable[str]) -> Fault:
    known = [*LINES, *named]
    if name not in known and not re.fullmatch(r"status_[2-5]\d\d", name):
        near = difflib.get_close_matches(name, known, 3)
        raise ValueError(f"unknown fault {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    if name.startswith("redirect"):
        return Fault(name, rest)
    value, options = "", {}
    for part in re.split(r",(?=[a-z_]+=)", rest) if rest else []:
        key, equals, text = part.partition("=")
        if equals:
            options[key] = text
        else:
            value = part
    if value and LINES.get(name, "").startswith(_NUMBERS) and not re.fullmatch(r"\d+(\.\d+)?", value):
        raise ValueError(f"{name} takes a number, not {value!r}")
    return Fault(name, value, options)
