"""Faults of a stream under way: where it ends or breaks, and how its bytes are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from .dialects import Dialect
from .fault_types import BytesFault, Entry, Fault, Provider, StreamFault, Table
from .wire import Drop, Hang, Outgoing, Pause, Send, Step

# --- stream ---------------------------------------------------------------------------------------------------------


def _after(n: int, steps: Iterator[Step], then: Callable[[], Iterable[Step]], go_on: bool = False) -> Iterator[Step]:
    """The steps up to the n-th token (none: up to the first), then `then`; with `go_on` the rest, less a token."""
    seen = 0
    for step in steps:
        if isinstance(step, Send) and step.role in ("token", "ending", "done"):
            if seen == n:
                yield from then()
                if not go_on:
                    return
                seen += 1
                if step.role == "token":
                    continue
            seen += step.role == "token"
        yield step


def _cut(*, reset: bool) -> StreamFault:
    return lambda fault, steps, dialect, provider: _after(fault.count(10), steps, lambda: [Drop(reset)])


def _end_after(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    return _after(fault.count(10), steps, lambda: [])


def _error_after(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    def error() -> list[Step]:
        return [Send(data, "noise") for data in dialect.error(provider.stream_error(**fault.options))]

    return _after(fault.count(10), steps, error)


def _error_first(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    for data in dialect.error(provider.stream_error(**fault.options)):
        yield Send(data, "noise")


def _stall_after(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    wait: Step = Pause(float(fault.options["seconds"])) if "seconds" in fault.options else Hang()
    return _insert(fault.count(3), steps, lambda: [wait])


def _bad_line_after(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    return _after(fault.count(10), steps, lambda: [Send(dialect.bad_line(), "noise")], go_on=True)


def _bad_event_after(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    return _after(fault.count(10), steps, lambda: [Send(dialect.bad_event(), "noise")], go_on=True)


def _insert(n: int, steps: Iterator[Step], what: Callable[[], Iterable[Step]]) -> Iterator[Step]:
    """`what` between the n-th token and the next; nothing is lost."""
    seen = 0
    for step in steps:
        if isinstance(step, Send) and step.role in ("token", "ending"):
            if seen == n:
                yield from what()
            seen += 1
        yield step


def _role_only(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    return _after(0, steps, lambda: [*(Send(data, "opening") for data in dialect.role_only()), Drop()])


def _long_line(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    size = fault.count(2_000_000)
    line = (Send(piece, "noise") for piece in dialect.long_line(size))
    return _insert(int(fault.options.get("after", 0)), steps, lambda: line)


def _bad_utf8(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    before, after = dialect.token("~").split(b"~")
    return _insert(fault.count(10), steps, lambda: [Send(before + b"\xff" + after, "noise")])


def _repeat_sequence(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    return _at_token(fault.count(5), steps, 2 if dialect.numbered else 1)


def _gap_sequence(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    return _at_token(fault.count(5), steps, 0 if dialect.numbered else 1)


def _at_token(n: int, steps: Iterator[Step], times: int) -> Iterator[Step]:
    seen = 0
    for step in steps:
        token = isinstance(step, Send) and step.role == "token"
        seen += token
        yield from [step] * (times if token and seen == n else 1)


def _data_after_done(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
    yield from steps
    yield Send(dialect.token(" (words after the end)"), "noise")


def _without(role: str) -> StreamFault:
    def act(fault: Fault, steps: Iterator[Step], dialect: Dialect, provider: Provider) -> Iterator[Step]:
        return (step for step in steps if not (isinstance(step, Send) and step.role == role))

    return act


STREAM: Table[StreamFault] = {
    "cut_after": Entry(_cut(reset=True), "N: reset the connection after N tokens"),
    "close_after": Entry(_cut(reset=False), "N: close after N tokens, without the last chunk"),
    "end_after": Entry(_end_after, "N: end in good order after N tokens, without the end marker"),
    "error_after": Entry(_error_after, "N: an error event after N tokens; options code, message"),
    "error_first": Entry(_error_first, "200, and the first event is an error"),
    "stall_after": Entry(_stall_after, "N: silence after N tokens, for good or for the option seconds=S"),
    "bad_line_after": Entry(_bad_line_after, "N: a broken line instead of the token after N"),
    "bad_event_after": Entry(_bad_event_after, "N: JSON of a wrong shape instead of the token after N"),
    "role_only_then_drop": Entry(_role_only, "the role, no text, then a reset"),
    "long_line": Entry(_long_line, "BYTES: a line of that length (2000000); option after=N tokens"),
    "bad_utf8": Entry(_bad_utf8, "N: one byte that is not UTF-8 after N tokens"),
    "repeat_sequence": Entry(_repeat_sequence, "N: send the N-th numbered event twice (responses only)"),
    "gap_sequence": Entry(_gap_sequence, "N: lose the N-th numbered event (responses only)"),
    "data_after_done": Entry(_data_after_done, "more text after the end marker"),
    "no_done": Entry(_without("done"), "a finish reason, but no [DONE]"),
    "no_finish": Entry(_without("ending"), "[DONE], but no finish reason"),
}


# --- bytes ----------------------------------------------------------------------------------------------------------

Recode = Callable[[bytes], Iterable[bytes]]


def _recoding(make: Callable[[Fault, bool], Recode]) -> BytesFault:
    """A fault that rewrites payload bytes; several are applied one after the other."""

    def act(fault: Fault, out: Outgoing) -> None:
        earlier = out.recode
        mine = make(fault, any("event-stream" in value for _, value in out.headers))
        out.recode = mine if earlier is None else lambda data: (b for piece in earlier(data) for b in mine(piece))

    return act


def _line_ends(end: bytes) -> Callable[[Fault, bool], Recode]:
    # A lone CR ends a line of server-sent events, but not of NDJSON.
    return lambda fault, events: lambda data: [data.replace(b"\n", end) if events or end != b"\r" else data]


def _split(fault: Fault, events: bool) -> Recode:
    size = fault.count(1)
    return lambda data: (data[at : at + size] for at in range(0, len(data), size))


def _bom(fault: Fault, events: bool) -> Recode:
    first = [b"\xef\xbb\xbf"]
    return lambda data: [(first.pop() if first else b"") + data]


def _bare_colon(fault: Fault, events: bool) -> Recode:
    return lambda data: [data.replace(b"data: ", b"data:").replace(b"event: ", b"event:") if events else data]


def _short_body(fault: Fault, out: Outgoing) -> None:
    out.framing, out.length = "length", out.length + 100_000
    out.steps = _first_bytes(fault.count(60), out.steps)


def _first_bytes(left: int, steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        if not isinstance(step, Send):
            yield step
        elif left > len(step.data):
            left -= len(step.data)
            yield step
        else:
            yield Send(step.data[:left], "noise")
            return


def _blank_lines(fault: Fault, out: Outgoing) -> None:
    blank = b"\n" * fault.count(5)
    out.length += len(blank)
    out.steps = chain([Send(blank, "noise")], out.steps)


def _drip_headers(fault: Fault, out: Outgoing) -> None:
    out.head_pace = fault.number(1)


def _close_delimited(fault: Fault, out: Outgoing) -> None:
    out.framing = "close"


def _wrong_type(fault: Fault, out: Outgoing) -> None:
    kept = [header for header in out.headers if header[0] != "content-type"]
    out.headers = [("content-type", fault.value or "text/plain"), *kept]


BYTES: Table[BytesFault] = {
    "split_bytes": Entry(_recoding(_split), "N: at most N bytes a write and chunk (1), also inside characters"),
    "crlf": Entry(_recoding(_line_ends(b"\r\n")), "lines end with CRLF"),
    "cr_only": Entry(_recoding(_line_ends(b"\r")), "lines end with CR alone (server-sent events only)"),
    "bom": Entry(_recoding(_bom), "a byte order mark first"),
    "bare_colon": Entry(_recoding(_bare_colon), "`data:` without the blank"),
    "short_body": Entry(_short_body, "N: only N bytes of a body (60), though its Content-Length says more"),
    "drip_headers": Entry(_drip_headers, "SECONDS: the head one byte at a time, so many seconds apart (1)"),
    "blank_lines": Entry(_blank_lines, "N: empty lines before the body (5)"),
    "close_delimited": Entry(_close_delimited, "no length, no chunks: the body ends with the connection"),
    "wrong_type": Entry(_wrong_type, "TYPE: a right body under a wrong content type (text/plain)"),
}
