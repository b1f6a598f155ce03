"""Faults of the connection, of the reply and of the answer itself; `stream_faults` has those on the wire."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from .answers import Plan, Question, as_text, instance_of, tokens_of
from .fault_types import ConnectionFault, Entry, Fault, PlanFault, Provider, ReplyFault, Table
from .wire import Connection, Outgoing, Reply, Send, Step, json_reply, text_reply

LOGIN_PAGE = "<!doctype html><html><head><title>Guest Wi-Fi</title></head><body>Please log in</body></html>"


# --- connection -----------------------------------------------------------------------------------------------------


def _ending(how: Callable[[Connection], None], only_reused: bool = False) -> ConnectionFault:
    """Ends the connection without a word."""

    async def act(fault: Fault, connection: Connection) -> bool:
        if only_reused and connection.requests < 2:
            return False
        how(connection)
        return True

    return act


async def _hang(fault: Fault, connection: Connection) -> bool:
    await connection.hang()
    return True


async def _slow_first(fault: Fault, connection: Connection) -> bool:
    await connection.pause(fault.number(1))
    return False


CONNECTION: Table[ConnectionFault] = {
    "close_before_reply": Entry(_ending(Connection.close), "close the connection without a reply"),
    "close_reused": Entry(_ending(Connection.close, True), "close a re-used connection without a reply"),
    "reset_after_request": Entry(_ending(Connection.reset), "reset the connection (RST) once the request is read"),
    "reset_reused": Entry(_ending(Connection.reset, True), "reset a re-used connection"),
    "hang": Entry(_hang, "read the request, never answer"),
    "slow_first": Entry(_slow_first, "SECONDS: send nothing for so long, then answer (1)"),
}


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


def _page(status: int) -> ReplyFault:
    def act(fault: Fault, provider: Provider, kind: str) -> Outgoing:
        where = (("location", fault.value),) if fault.value else ()
        return replace(text_reply(LOGIN_PAGE, status, "text/html; charset=utf-8"), headers=where).outgoing()

    return act


def _error_page(fault: Fault, provider: Provider, kind: str) -> Outgoing:
    return text_reply(LOGIN_PAGE, fault.count(401), "text/html; charset=utf-8").outgoing()


def _bad_schema(fault: Fault, provider: Provider, kind: str) -> Outgoing:
    """One JSON object, even where a stream of events was asked for."""
    reply = json_reply({"unexpected": True, "items": [1, 2, 3]})
    return replace(reply, content_type="application/json" if "event-stream" in kind else kind).outgoing()


def _bad_json(fault: Fault, provider: Provider, kind: str) -> Outgoing:
    half = b'{"choices": [{"message"'
    return Reply(200, b"data: %b\n\n" % half if "event-stream" in kind else half + b"\n", kind).outgoing()


def _empty_body(fault: Fault, provider: Provider, kind: str) -> Outgoing:
    return Reply(200, b"", kind).outgoing()


def _filling(fault: Fault) -> bytes:
    """64 KB of one endless line, or of short comment lines with the option lines=1."""
    return (b": %b\n" % (b"x" * 61)) * 1024 if "lines" in fault.options else b" " * 65536


def _huge_body(fault: Fault, provider: Provider, kind: str) -> Outgoing:
    block = Send(_filling(fault))
    return Outgoing(200, [("content-type", kind)], (block for _ in range(fault.count(200) * 16)), "chunked")


def _gzip_bomb(fault: Fault, provider: Provider, kind: str) -> Outgoing:
    headers = [("content-type", kind), ("content-encoding", "gzip")]
    return Outgoing(200, headers, _bomb(_filling(fault) * 16, fault.count(200)), "chunked")


def _bomb(block: bytes, times: int) -> Iterator[Step]:
    """gzip by hand: the same flushed block over and over, so that making it costs next to nothing."""
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = raw.compress(block) + raw.flush(zlib.Z_FULL_FLUSH)
    yield Send(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    check = 0
    for _ in range(times):
        check = zlib.crc32(block, check)
        yield Send(packed)
    size = (len(block) * times) & 0xFFFFFFFF
    yield Send(raw.flush() + check.to_bytes(4, "little") + size.to_bytes(4, "little"))


REPLY: Table[ReplyFault] = {
    "html_200": Entry(_page(200), "200 with a log-in page, as a captive portal sends it"),
    "html_error": Entry(_error_page, "STATUS: a log-in page with that status, as a proxy sends it (401)"),
    "redirect": Entry(_page(302), "URL: 302 to URL"),
    "redirect_307": Entry(_page(307), "URL: 307 to URL (a client that follows sends its body and key again)"),
    "status_511": Entry(_page(511), "511 network authentication required, with a log-in page"),
    "bad_schema": Entry(_bad_schema, "200 with JSON that is not the provider's schema"),
    "bad_json": Entry(_bad_json, "200 with a body, or an event, that is not JSON"),
    "empty_body": Entry(_empty_body, "200 with no body at all"),
    "huge_body": Entry(_huge_body, "MB: 200 with a body of so many megabytes (200); option lines=1"),
    "gzip_bomb": Entry(_gzip_bomb, "MB: a few kilobytes that unpack to so many megabytes (200); option lines=1"),
}


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


PLAN: Table[PlanFault] = {
    "repeat": Entry(_says(_repeat), "N: carry on, but say the last N words again first (5)"),
    "preamble": Entry(_says(_preamble), "carry on after a polite sentence, or after the given TEXT"),
    "restart_whole": Entry(_says(lambda fault, plan: plan.whole), "asked to carry on, start from the beginning"),
    "bare_start": Entry(_says(lambda fault, plan: plan.text.lstrip()), "carry on without the space that is due"),
    "empty_text": Entry(_says(lambda fault, plan: ""), "a valid answer without any text"),
    "u2028": Entry(_says(_line_separators), "raw U+2028, U+0085 and U+2029 after five words"),
    "thinking": Entry(_with(thinking=lambda fault: fault.number(1)), "SECONDS: events without visible text first"),
    "comments": Entry(_with(comments=lambda fault: fault.number(1)), "SECONDS: only keep-alive comments first"),
    "hang_after_headers": Entry(_with(quiet=lambda fault: fault.number(86400)), "SECONDS: head, opening, then silence"),
    "tool_call": Entry(_tool_call, "answer by a call of the first tool offered, or of NAME"),
    "finish": Entry(_finish, "REASON: end with stop, length, content_filter ...; option after=N tokens"),
    "usage_separate": Entry(_usage("separate"), "usage in its own last frame with empty choices"),
    "usage_last": Entry(_usage("last"), "usage in the frame that carries the finish reason"),
    "usage_every": Entry(_usage("every"), "a zero usage in every frame, the true one in the last"),
    "usage_none": Entry(_usage("none"), "no usage, no counters"),
    "whole_reply": Entry(_with(streamed=lambda fault: False), "one JSON body although a stream was asked for"),
    "stream_reply": Entry(_with(streamed=lambda fault: True), "a stream although one JSON body was asked for"),
}
