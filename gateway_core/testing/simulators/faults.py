"""Every way a provider can misbehave, by name.

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
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any, Protocol

from .answers import Plan, Question, as_text, instance_of, tokens_of
from .dialects import Dialect
from .wire import Connection, Drop, Hang, Outgoing, Pause, Reply, Send, Step, json_reply, text_reply

LOGIN_PAGE = "<!doctype html><html><head><title>Guest Wi-Fi</title></head><body>Please log in</body></html>"


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
ReplyFault = Callable[[Fault, Provider], Outgoing]
PlanFault = Callable[[Fault, Plan, Question], Plan]
StreamFault = Callable[[Fault, Iterator[Step], Dialect, Provider], Iterator[Step]]
BytesFault = Callable[[Fault, Outgoing], None]

CONNECTION: dict[str, ConnectionFault] = {}
REPLY: dict[str, ReplyFault] = {}
PLAN: dict[str, PlanFault] = {}
STREAM: dict[str, StreamFault] = {}
BYTES: dict[str, BytesFault] = {}
LINES: dict[str, str] = {"ok": "no fault", "status_NNN": "that HTTP status; options retry_after, code, message, type"}

# One name for a pair that is often wanted; {} is the value.
TOGETHER = {"tool_call_cut": "tool_call+cut_after:{}"}
LINES["tool_call_cut"] = "N: reset after N parts of a tool call's arguments"


def parse(script: str, named: Iterable[str] = ()) -> tuple[tuple[Fault, ...], str]:
    """The faults of one script entry, and the path it waits for ("" = the next paid call)."""
    entry, _, path = script.partition("@/")
    faults: list[Fault] = []
    for word in entry.split("+"):
        name, _, rest = word.strip().partition(":")
        if name in TOGETHER:
            faults += parse(TOGETHER[name].format(rest or "2"))[0]
            continue
        if name != "ok":
            _known(name, named)
            faults.append(_fault(name, rest))
    return tuple(faults), f"/{path}" if path else ""


def _fault(name: str, rest: str) -> Fault:
    if name == "redirect":
        return Fault(name, rest)
    value, options = "", {}
    for part in re.split(r",(?=[a-z_]+=)", rest) if rest else []:
        key, equals, text = part.partition("=")
        if equals:
            options[key] = text
        else:
            value = part
    return Fault(name, value, options)


def _known(name: str, named: Iterable[str]) -> None:
    names = [*LINES, *named]
    if name in names or re.fullmatch(r"status_\d{3}", name):
        return
    near = difflib.get_close_matches(name, names, 3)
    raise ValueError(f"unknown fault {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))


def _register(table: dict[str, Any], name: str, line: str) -> Callable[[Any], Any]:
    def add(act: Any) -> Any:
        table[name] = act
        LINES[name] = line
        return act

    return add


# --- connection -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ending:
    """Ends a connection without a word."""

    how: Callable[[Connection], None]
    only_reused: bool = False

    async def __call__(self, fault: Fault, connection: Connection) -> bool:
        if self.only_reused and connection.requests < 2:
            return False
        self.how(connection)
        return True


for _name, _ending, _line in (
    ("close_before_reply", Ending(Connection.close), "close the connection without a reply"),
    ("close_reused", Ending(Connection.close, True), "close a re-used connection without a reply; fresh ones work"),
    ("reset_after_request", Ending(Connection.reset), "reset the connection (RST) once the request is read"),
    ("reset_reused", Ending(Connection.reset, True), "reset a re-used connection; fresh ones work"),
):
    CONNECTION[_name] = _ending
    LINES[_name] = _line


async def _hang(fault: Fault, connection: Connection) -> bool:
    await connection.hang()
    return True


async def _slow_first(fault: Fault, connection: Connection) -> bool:
    await connection.pause(fault.number(1))
    return False


CONNECTION["hang"] = _hang
LINES["hang"] = "read the request, never answer"
CONNECTION["slow_first"] = _slow_first
LINES["slow_first"] = "SECONDS: send nothing for so long, then answer"


# --- reply ----------------------------------------------------------------------------------------------------------


def retry_headers(options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`retry_after` as seconds, as `date60` (an HTTP date in 60 s) or as it stands; `retry_after_ms`."""
    after = options.get("retry_after", "")
    if found := re.fullmatch(r"date([\d.]+)", after):
        after = formatdate(time.time() + float(found[1]), usegmt=True)
    named = {"retry-after": after, "retry-after-ms": options.get("retry_after_ms", "")}
    named["x-should-retry"] = options.get("should_retry", "")
    return tuple((name, value) for name, value in named.items() if value)


def error_of(fault: Fault, provider: Provider) -> Reply | None:
    """The error reply that `fault` names, in the provider's own words; `None` when it names none."""
    if fault.name in provider.named_errors:
        reply = provider.named_errors[fault.name]
    elif found := re.fullmatch(r"status_(\d{3})", fault.name):
        words = {key: fault.options[key] for key in ("code", "message", "type") if key in fault.options}
        reply = provider.error_reply(int(found[1]), **words)
    else:
        return None
    extra = retry_headers(fault.options)
    kept = tuple(header for header in reply.headers if header[0] not in dict(extra))
    return replace(reply, headers=(*kept, *extra))


def _page(status: int, *headers: tuple[str, str]) -> ReplyFault:
    def act(fault: Fault, provider: Provider) -> Outgoing:
        reply = text_reply(LOGIN_PAGE, status, "text/html; charset=utf-8")
        where = [("location", fault.value)] if fault.value else []
        return replace(reply, headers=(*headers, *where)).outgoing()

    return act


_register(REPLY, "html_200", "200 with a log-in page, as a captive portal sends it")(_page(200))
_register(REPLY, "redirect", "URL: 302 to URL")(_page(302))
_register(REPLY, "redirect_307", "URL: 307 to URL (a client that follows sends its body and key again)")(_page(307))
_register(REPLY, "status_511", "511 network authentication required, with a log-in page")(_page(511))


@_register(REPLY, "bad_schema", "200 with JSON that is not the provider's schema")
def _bad_schema(fault: Fault, provider: Provider) -> Outgoing:
    return json_reply({"unexpected": True, "items": [1, 2, 3]}).outgoing()


@_register(REPLY, "bad_json", "200 with a body that is not JSON")
def _bad_json(fault: Fault, provider: Provider) -> Outgoing:
    return replace(text_reply('{"choices": [{"message"'), content_type="application/json").outgoing()


@_register(REPLY, "empty_body", "200 with no body at all")
def _empty_body(fault: Fault, provider: Provider) -> Outgoing:
    return Reply(200).outgoing()


@_register(REPLY, "huge_body", "MB: 200 with a body of so many megabytes (200)")
def _huge_body(fault: Fault, provider: Provider) -> Outgoing:
    size = fault.count(200) * 2**20
    block = Send(b" " * 65536)
    kind = [("content-type", fault.options.get("type", "application/json"))]
    return Outgoing(200, kind, (block for _ in range(size // 65536)), "chunked")


@_register(REPLY, "gzip_bomb", "MB: a few kilobytes that unpack to so many megabytes (200)")
def _gzip_bomb(fault: Fault, provider: Provider) -> Outgoing:
    kind = fault.options.get("type", "application/json")
    headers = [("content-type", kind), ("content-encoding", "gzip")]
    return Outgoing(200, headers, _bomb(fault.count(200)), "chunked")


def _bomb(megabytes: int) -> Iterator[Step]:
    """gzip by hand: the same flushed megabyte over and over, so that making it costs next to nothing."""
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = b" " * 2**20
    packed = raw.compress(block) + raw.flush(zlib.Z_FULL_FLUSH)
    yield Send(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    check = 0
    for _ in range(megabytes):
        check = zlib.crc32(block, check)
        yield Send(packed)
    size = (megabytes * 2**20) & 0xFFFFFFFF
    yield Send(raw.flush() + check.to_bytes(4, "little") + size.to_bytes(4, "little"))


# --- answer ---------------------------------------------------------------------------------------------------------


def _says(change: Callable[[Fault, Plan], str]) -> PlanFault:
    return lambda fault, plan, question: replace(plan, text=change(fault, plan))


def _with(**change: Callable[[Fault], Any]) -> PlanFault:
    return lambda fault, plan, question: replace(plan, **{name: value(fault) for name, value in change.items()})


def _repeat(fault: Fault, plan: Plan) -> str:
    return "".join(tokens_of(plan.said)[-fault.count(5) :]) + plan.text


def _preamble(fault: Fault, plan: Plan) -> str:
    return (fault.value or "Sure, here is the continuation:\n") + plan.text if plan.said else plan.text


def _line_separators(fault: Fault, plan: Plan) -> str:
    pieces = tokens_of(plan.text)
    return "".join([*pieces[:5], "\u2028\u0085\u2029", *pieces[5:]])


def _tool_call(fault: Fault, plan: Plan, question: Question) -> Plan:
    function: Mapping[str, Any] = next((t.get("function", t) for t in question.tools), {})
    schema = function.get("parameters") or {"properties": {"city": {"type": "string"}}}
    arguments = as_text(instance_of(schema, "Paris"))
    return replace(plan, tool=(fault.value or function.get("name", "look_up"), arguments))


def _finish(fault: Fault, plan: Plan, question: Question) -> Plan:
    kept = tokens_of(plan.text)[: int(fault.options.get("after", len(plan.pieces)))]
    return replace(plan, text="".join(kept), finish=fault.value or "length")


def _usage(style: str) -> PlanFault:
    return _with(usage=lambda fault: style)


for _name, _plan, _line in (
    ("repeat", _says(_repeat), "N: carry on, but say the last N words again first (5)"),
    ("preamble", _says(_preamble), "carry on after a polite sentence, or after the given TEXT"),
    ("restart_whole", _says(lambda fault, plan: plan.whole), "asked to carry on, start from the beginning"),
    ("bare_start", _says(lambda fault, plan: plan.text.lstrip()), "carry on without the space before the first word"),
    ("empty_text", _says(lambda fault, plan: ""), "a valid answer without any text"),
    ("u2028", _says(_line_separators), "raw U+2028, U+0085 and U+2029 after five words"),
    ("thinking", _with(thinking=lambda fault: fault.number(1)), "SECONDS: events without visible text first"),
    ("comments", _with(comments=lambda fault: fault.number(1)), "SECONDS: only keep-alive comments first"),
    ("hang_after_headers", _with(quiet=lambda fault: fault.number(86400)), "SECONDS: head and opening, then silence"),
    ("tool_call", _tool_call, "answer by a call of the first tool offered, or of NAME"),
    ("finish", _finish, "REASON: end with stop, length, content_filter ...; option after=N tokens"),
    ("usage_separate", _usage("separate"), "usage in its own last frame with empty choices"),
    ("usage_last", _usage("last"), "usage in the frame that carries the finish reason"),
    ("usage_every", _usage("every"), "a zero usage in every frame, the true one in the last"),
    ("usage_none", _usage("none"), "no usage, no counters"),
    ("whole_reply", _with(streamed=lambda fault: False), "one JSON body although a stream was asked for"),
    ("stream_reply", _with(streamed=lambda fault: True), "a stream although one JSON body was asked for"),
):
    PLAN[_name] = _plan
    LINES[_name] = _line


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
    return _after(0, steps, lambda: [Send(dialect.begun(), "opening"), Drop()])


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


for _name, _stream, _line in (
    ("cut_after", _cut(reset=True), "N: reset the connection after N tokens"),
    ("close_after", _cut(reset=False), "N: close after N tokens, without the last chunk"),
    ("end_after", _end_after, "N: end in good order after N tokens, without the end marker"),
    ("error_after", _error_after, "N: an error event after N tokens; options code, message"),
    ("error_first", _error_first, "200, and the first event is an error"),
    ("stall_after", _stall_after, "N: silence after N tokens, for good or for the option seconds=S"),
    ("bad_line_after", _bad_line_after, "N: a broken line instead of the token after N"),
    ("role_only_then_drop", _role_only, "the role, no text, then a reset"),
    ("long_line", _long_line, "BYTES: a line of that length (2000000); option after=N tokens"),
    ("bad_utf8", _bad_utf8, "N: one byte that is not UTF-8 after N tokens"),
    ("repeat_sequence", _repeat_sequence, "N: send the N-th numbered event twice (responses only)"),
    ("gap_sequence", _gap_sequence, "N: lose the N-th numbered event (responses only)"),
    ("data_after_done", _data_after_done, "more text after the end marker"),
    ("no_done", _without("done"), "a finish reason, but no [DONE]"),
    ("no_finish", _without("ending"), "[DONE], but no finish reason"),
):
    STREAM[_name] = _stream
    LINES[_name] = _line


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


def _drip_headers(fault: Fault, out: Outgoing) -> None:
    out.head_pace = fault.number(1)


def _close_delimited(fault: Fault, out: Outgoing) -> None:
    out.framing = "close"


def _wrong_type(fault: Fault, out: Outgoing) -> None:
    kept = [header for header in out.headers if header[0] != "content-type"]
    out.headers = [("content-type", fault.value or "text/plain"), *kept]


for _name, _bytes, _line in (
    ("split_bytes", _recoding(_split), "N: at most N bytes a write and chunk (1), also inside characters"),
    ("crlf", _recoding(_line_ends(b"\r\n")), "lines end with CRLF"),
    ("cr_only", _recoding(_line_ends(b"\r")), "lines end with CR alone (server-sent events only)"),
    ("bom", _recoding(_bom), "a byte order mark first"),
    ("bare_colon", _recoding(_bare_colon), "`data:` without the blank"),
    ("short_body", _short_body, "a body shorter than its Content-Length"),
    ("drip_headers", _drip_headers, "SECONDS: the head one byte at a time, so many seconds apart (1)"),
    ("close_delimited", _close_delimited, "no length, no chunks: the body ends with the connection"),
    ("wrong_type", _wrong_type, "TYPE: a right body under a wrong content type (text/plain)"),
):
    BYTES[_name] = _bytes
    LINES[_name] = _line
