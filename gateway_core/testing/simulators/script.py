"""The words of a script.

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
from collections.abc import Iterable, Mapping

from .fault_types import Fault
from .faults import CONNECTION, PLAN, REPLY
from .stream_faults import BYTES, STREAM

LINES: Mapping[str, str] = {
    "ok": "no fault",
    "status_NNN": "that HTTP status; options retry_after (seconds, date60 or a date), retry_after_ms, code, message",
    "tool_call_cut": "N: answer by a tool call and reset after N parts of its arguments (2)",
    **{name: entry.line for name, entry in CONNECTION.items()},
    **{name: entry.line for name, entry in REPLY.items()},
    **{name: entry.line for name, entry in PLAN.items()},
    **{name: entry.line for name, entry in STREAM.items()},
    **{name: entry.line for name, entry in BYTES.items()},
}
# One name for a pair that is often wanted; {} is the value.
TOGETHER = {"tool_call_cut": "tool_call+cut_after:{}"}
_NUMBERS = ("N:", "SECONDS:", "MB:", "BYTES:")


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
