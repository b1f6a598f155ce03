"""Each fault does on the wire what its name says."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from raw_client import GUARD, WIRES, Heard, ask, connect, listen, request, send, wait_for

from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of
from gateway_core.testing.simulators.script import LINES

WORDS = tokens_of(DEFAULT_ANSWER)
STREAMS = ("openai", "copilot", "responses", "ollama", "generate")
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}]


def first(n: int) -> str:
    return "".join(WORDS[:n])


def has_end(heard: Heard) -> bool:
    """Whether the stream says that the answer is over."""
    events = heard.events
    finish = any(choice.get("finish_reason") for event in events for choice in event.get("choices", []))
    return finish or any(event.get("done") or event.get("type") == "response.completed" for event in events)


@pytest.fixture(params=STREAMS)
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def simulator(wire: str, request: pytest.FixtureRequest) -> Any:
    home = {"responses": "copilot", "generate": "ollama"}.get(wire, wire)
    return request.getfixturevalue(home)


# --- streams, on every wire


def test_without_a_fault_the_whole_answer_comes_with_its_end(simulator, wire):
    heard = ask(simulator, wire)

    assert (heard.end, heard.text, has_end(heard)) == ("clean", DEFAULT_ANSWER, True)


# fault: text, how the connection ended, end marker seen
STREAM_FAULTS = {
    "cut_after:40": (first(40), "reset", False),
    "cut_after:0": ("", "reset", False),
    "close_after:7": (first(7), "short", False),
    "end_after:7": (first(7), "clean", False),
    "end_after:60": (DEFAULT_ANSWER, "clean", False),
    "error_after:5": (first(5), "clean", False),
    "error_first": ("", "clean", False),
    "bad_line_after:5": (first(5) + "".join(WORDS[6:]), "clean", True),
    "bad_event_after:5": (first(5) + "".join(WORDS[6:]), "clean", True),
    "role_only_then_drop": ("", "reset", False),
    "empty_text": ("", "clean", True),
    "data_after_done": (DEFAULT_ANSWER + " (words after the end)", "clean", True),
    "no_finish": (DEFAULT_ANSWER, "clean", False),
    "no_done": (DEFAULT_ANSWER, "clean", True),
    "thinking:0.02": (DEFAULT_ANSWER, "clean", True),
    "comments:0.02": (DEFAULT_ANSWER, "clean", True),
    "usage_none": (DEFAULT_ANSWER, "clean", True),
    "split_bytes:200": (DEFAULT_ANSWER, "clean", True),
    "crlf": (DEFAULT_ANSWER, "clean", True),
    "bom": (DEFAULT_ANSWER, "clean", True),
    "close_delimited": (DEFAULT_ANSWER, "clean", True),
    "slow_first:0.01": (DEFAULT_ANSWER, "clean", True),
    "blank_lines:3": (DEFAULT_ANSWER, "clean", True),
    "short_body": ("", "short", False),
    "cut_after:3+crlf": (first(3), "reset", False),
}


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_a_stream_ends_as_its_fault_says(simulator, wire, fault):
    simulator.script(fault)

    heard = ask(simulator, wire)

    assert (heard.text, heard.end, has_end(heard)) == STREAM_FAULTS[fault]


@pytest.mark.parametrize("fault", ["hang_after_headers", "stall_after:3"])
def test_silence_keeps_the_connection_open(simulator, wire, fault):
    tokens = 3 if "3" in fault else 0
    simulator.script(fault)
    path, headers, body = WIRES[wire]
    with connect(simulator) as sock:
        send(sock, "POST", path, headers, {**body, "stream": True})
        wait_for(lambda: simulator.calls and simulator.calls[0].tokens_sent == tokens)
        wait_for(lambda: simulator.calls[0].status)
        begun = sock.recv(1)
        heard = listen(sock, timeout=0.06)

    assert (heard.end, begun + heard.head[:11]) == ("silent", b"HTTP/1.1 200")
    simulator.wait_idle()
    assert simulator.calls[0].disconnected
    assert heard.text == first(tokens)


def test_a_stall_may_end_again(openai):
    openai.script("stall_after:3,seconds=0.02")

    assert ask(openai).text == DEFAULT_ANSWER


def test_an_error_event_is_in_the_words_of_its_wire(simulator, wire):
    simulator.script("error_after:2,message=lost")

    last = ask(simulator, wire).events[-1]

    assert "lost" in json.dumps(last.get("error") or last)


@pytest.mark.parametrize("fault", ["repeat_sequence:4", "gap_sequence:4"])
def test_sequence_faults_touch_numbered_events_only(simulator, wire, fault):
    simulator.script(fault)

    heard = ask(simulator, wire)
    numbers = [event["sequence_number"] for event in heard.events if "sequence_number" in event]

    if wire != "responses":
        assert heard.text == DEFAULT_ANSWER
    elif fault.startswith("gap"):
        assert heard.text == first(3) + "".join(WORDS[4:])
        assert numbers != list(range(len(numbers)))
        assert sorted(set(numbers)) == numbers
    else:
        assert len(numbers) - len(set(numbers)) == 1
        assert heard.text == first(4) + WORDS[3] + "".join(WORDS[4:])


def test_events_are_numbered_without_a_gap(copilot):
    numbers = [event["sequence_number"] for event in ask(copilot, "responses").events]

    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_long_line_is_that_long(simulator, wire, size):
    simulator.script(f"long_line:{size},after=2")

    heard = ask(simulator, wire)

    assert heard.text == first(2) + "x" * size + "".join(WORDS[2:])


def test_bad_utf8_is_one_byte_between_two_words(simulator, wire):
    simulator.script("bad_utf8:4")

    heard = ask(simulator, wire)

    assert heard.text == first(4) + "\ufffd" + "".join(WORDS[4:])
    assert heard.payload.count(b"\xff") == 1


def test_line_separators_come_raw(simulator, wire):
    simulator.script("u2028")

    heard = ask(simulator, wire)

    assert "\u2028".encode() in heard.payload
    assert heard.text == first(5) + "\u2028\u0085\u2029" + "".join(WORDS[5:])


def test_every_byte_can_come_alone_even_inside_a_character(simulator, wire):
    simulator.answer = "Grüße, 世界"
    simulator.script("split_bytes")

    heard = ask(simulator, wire)

    assert {len(piece) for piece in heard.pieces} == {1}
    assert heard.text == "Grüße, 世界"


@pytest.mark.parametrize("fault", ["crlf", "cr_only", "bom", "bare_colon"])
def test_line_ends_and_marks_are_what_the_fault_says(openai, fault):
    openai.script(fault)

    heard = ask(openai)

    assert heard.text == DEFAULT_ANSWER
    assert {
        "crlf": b"\n" in heard.payload and heard.payload.count(b"\n") == heard.payload.count(b"\r\n"),
        "cr_only": b"\n" not in heard.payload and b"\r" in heard.payload,
        "bom": heard.payload.startswith(b"\xef\xbb\xbf") and heard.payload.count(b"\xef\xbb\xbf") == 1,
        "bare_colon": b"data: " not in heard.payload and b"data:" in heard.payload,
    }[fault]


def test_thinking_is_events_without_visible_text(simulator, wire):
    simulator.script("thinking:0.05")

    heard = ask(simulator, wire)
    silent = [event for event in heard.events if "think" in json.dumps(event) or "reasoning" in json.dumps(event)]

    assert len(silent) >= 6
    assert heard.text == DEFAULT_ANSWER


def test_comments_are_no_events(openai):
    openai.script("comments:0.05")

    heard = ask(openai)

    assert heard.payload.count(b": keep-alive\n\n") == 6
    assert heard.text == DEFAULT_ANSWER


# --- usage, finish, tools


@pytest.mark.parametrize("wire", ["openai", "copilot"])
@pytest.mark.parametrize(
    ("fault", "frames_with_usage", "separate"),
    [("usage_separate", 1, True), ("usage_last", 1, False), ("usage_none", 0, False), ("usage_every", 61, False)],
)
def test_usage_comes_in_the_frame_that_the_fault_says(simulator, wire, fault, frames_with_usage, separate):
    simulator.script(fault)

    chunks = [event for event in ask(simulator, wire).events if event.get("usage")]

    wanted = frames_with_usage + (fault == "usage_every" and wire == "openai")  # the role has a frame of its own there
    assert len(chunks) == wanted
    if chunks:
        assert (chunks[-1]["choices"] == []) is separate
        assert chunks[-1]["usage"]["completion_tokens"] == 60


@pytest.mark.parametrize(
    ("fault", "reason"), [("finish:length", "length"), ("finish:content_filter", "content_filter")]
)
def test_finish_reasons_reach_every_wire(simulator, wire, fault, reason):
    simulator.script(fault + ",after=4")

    heard = ask(simulator, wire)
    last = [event for event in heard.events if not event.get("usage") or event.get("choices")][-1]

    assert heard.text == first(4)
    said = {
        "responses": lambda: last["response"]["incomplete_details"]["reason"],
        "ollama": lambda: last["done_reason"],
        "generate": lambda: last["done_reason"],
    }.get(wire, lambda: last["choices"][0]["finish_reason"])()
    expected = {"responses": {"length": "max_output_tokens"}}.get(wire, {}).get(reason, reason)
    assert said == ("stop" if wire in ("ollama", "generate") and reason == "content_filter" else expected)


@pytest.mark.parametrize("wire", ["openai", "copilot", "responses"])
def test_a_tool_call_comes_in_parts_and_can_be_cut(simulator, wire):
    simulator.script("tool_call", "tool_call_cut:2")

    whole, cut = (ask(simulator, wire, tools=TOOLS) for _ in range(2))

    def arguments(heard: Heard) -> str:
        parts = [event["delta"] for event in heard.events if event.get("type", "").endswith("arguments.delta")]
        for event in heard.events:
            for choice in event.get("choices", []):
                parts += [call["function"]["arguments"] for call in choice["delta"].get("tool_calls", [])]
        return "".join(parts)

    assert json.loads(arguments(whole)) == {"city": "Paris"}
    assert cut.end == "reset"
    assert arguments(whole).startswith(arguments(cut))
    assert 0 < len(arguments(cut)) < len(arguments(whole))
    assert b"weather" in cut.payload


def test_ollama_sends_a_tool_call_in_one_piece(ollama):
    ollama.script("tool_call")

    calls = [e["message"]["tool_calls"] for e in ask(ollama, "ollama", model="qwen3.5:2b", tools=TOOLS).events
             if "tool_calls" in e["message"]]  # fmt: skip

    assert calls == [[{"function": {"name": "weather", "arguments": {"city": "Paris"}}}]]


# --- answers in one piece


def test_a_whole_reply_holds_the_whole_answer(simulator, wire):
    heard = ask(simulator, wire, stream=False)

    assert heard.headers["content-type"] == "application/json"
    text = heard.json["output"][-1]["content"][0]["text"] if wire == "responses" else _text(heard.json)
    assert text == DEFAULT_ANSWER


def _text(reply: dict[str, Any]) -> str:
    message = reply["choices"][0]["message"] if "choices" in reply else reply.get("message") or {}
    return message.get("content") or reply.get("response", "")


@pytest.mark.parametrize(
    ("fault", "end"), [("cut_after:30", "reset"), ("short_body", "short"), ("end_after:9", "short")]
)
def test_a_whole_reply_can_break_off(simulator, wire, fault, end):
    simulator.script(fault)

    heard = ask(simulator, wire, stream=False)

    assert heard.end == end
    with pytest.raises(json.JSONDecodeError):
        json.loads(heard.payload)


def test_a_reply_may_come_in_the_form_that_was_not_asked_for(openai):
    openai.script("whole_reply", "stream_reply")

    assert _text(ask(openai, stream=True).json) == DEFAULT_ANSWER
    assert ask(openai, stream=False).text == DEFAULT_ANSWER


# --- replies that are no answers


def _unpacked(heard: Heard) -> int:
    return len(zlib.decompress(heard.payload, wbits=31))


Check = Callable[[Heard], bool]
REPLIES: dict[str, tuple[int, Check]] = {
    "status_500": (500, lambda heard: "error" in heard.json),
    "status_503:retry_after=1": (503, lambda heard: heard.headers["retry-after"] == "1"),
    "status_429:retry_after_ms=1500": (429, lambda heard: heard.headers["retry-after-ms"] == "1500"),
    "status_429:code=odd,message=no way": (429, lambda heard: b"no way" in heard.payload),
    "status_599": (599, lambda heard: True),
    "html_200": (200, lambda heard: b"<html>" in heard.payload and "html" in heard.headers["content-type"]),
    "html_error:403": (403, lambda heard: b"<html>" in heard.payload and "html" in heard.headers["content-type"]),
    "redirect:http://127.0.0.1:9/a+b": (302, lambda heard: heard.headers["location"] == "http://127.0.0.1:9/a+b"),
    "redirect_307:http://127.0.0.1:9/": (307, lambda heard: heard.headers["location"] == "http://127.0.0.1:9/"),
    "status_511": (511, lambda heard: "html" in heard.headers["content-type"]),
    "bad_schema": (200, lambda heard: heard.events[0]["unexpected"] is True and heard.text == ""),
    "bad_json": (200, lambda heard: heard.frames == [None]),
    "empty_body": (200, lambda heard: heard.payload == b"" and heard.headers["content-length"] == "0"),
    "huge_body:1": (200, lambda heard: len(heard.payload) == 2**20),
    "huge_body:1,lines=1": (200, lambda heard: heard.payload.count(b"\n") == 2**20 // 64),
    "gzip_bomb:2": (200, lambda heard: len(heard.payload) < 9_000 and _unpacked(heard) == 2 * 2**20),
    "wrong_type": (200, lambda heard: heard.headers["content-type"] == "text/plain"),
}


@pytest.mark.parametrize("fault", REPLIES)
def test_a_reply_is_what_its_fault_says(simulator, wire, fault):
    status, check = REPLIES[fault]
    simulator.script(fault)

    heard = ask(simulator, wire)

    assert heard.status == status
    assert check(heard)
    assert heard.end == "clean"


def test_retry_after_can_be_a_date(openai):
    openai.script("status_429:retry_after=date60", "status_429:retry_after=Tue, 01 Dec 2026 00:00:00 GMT")

    soon, fixed = (ask(openai).headers["retry-after"] for _ in range(2))

    assert 50 < parsedate_to_datetime(soon).timestamp() - time.time() <= 61
    assert fixed == "Tue, 01 Dec 2026 00:00:00 GMT"


def test_a_gzip_bomb_is_sound_gzip(openai):
    openai.script("gzip_bomb:1")

    assert gzip.decompress(ask(openai).payload) == b" " * 2**20


ALIKE = ("unauthorized", "rate_limited", "model_gone", "context_too_long")


@pytest.mark.parametrize("wire", ["openai", "copilot", "ollama"])
def test_the_commonest_errors_have_one_name_everywhere(simulator, wire):
    simulator.script(*ALIKE)

    assert all(ask(simulator, wire).status >= 400 for _ in ALIKE)


# --- connections


@pytest.mark.parametrize(
    ("fault", "end"), [("close_before_reply", "short"), ("reset_after_request", "reset"), ("hang", "silent")]
)
def test_a_connection_ends_without_a_word(simulator, wire, fault, end):
    simulator.script(fault)

    heard = ask(simulator, wire, timeout=0.06 if end == "silent" else GUARD)

    assert (heard.raw, heard.end) == (b"", end)


@pytest.mark.parametrize(("fault", "end"), [("close_reused", "short"), ("reset_reused", "reset")])
def test_only_a_connection_used_before_is_closed(openai, fault, end):
    openai.script(then=fault)
    path, headers, body = WIRES["openai"]
    with connect(openai) as sock:
        send(sock, "POST", path, headers, body)
        fresh = listen(sock)
        send(sock, "POST", path, headers, body)
        reused = listen(sock)

    assert (fresh.end, fresh.status) == ("clean", 200)
    assert (reused.raw, reused.end) == (b"", end)
    assert [(call.connection, call.outcome) for call in openai.calls] == [(1, "answered"), (1, "cut")]


def test_a_head_drips_byte_by_byte(openai):
    openai.script("drip_headers:0.00001", "drip_headers:30")
    assert ask(openai).text == DEFAULT_ANSWER
    path, headers, body = WIRES["openai"]
    with connect(openai) as sock:
        send(sock, "POST", path, headers, body)
        begun = sock.recv(100)
        heard = listen(sock, timeout=0.06)

    assert (begun, heard.raw, heard.end) == (b"H", b"", "silent")


def test_a_free_call_may_meet_a_fault_of_its_own(openai):
    openai.script("status_500@/v1/models", "html_200@/models", then="ok")

    statuses = [request(openai, "GET", "/v1/models", authorization="Bearer sk-x").status for _ in range(3)]

    assert statuses == [500, 200, 200]
    assert ask(openai).text == DEFAULT_ANSWER


def test_all_free_calls_may_meet_a_login_page(copilot):
    copilot.script(then="html_200", free="html_200")

    heard = request(copilot, "GET", "/copilot_internal/user", authorization="token gho_x")

    assert b"<html>" in heard.payload


# --- the list is complete

TRIED_ELSEWHERE = {
    "ok", "status_NNN", "tool_call_cut", "tool_call", "finish", "usage_separate", "usage_last", "usage_every",
    "whole_reply", "stream_reply", "hang_after_headers", "stall_after", "repeat_sequence", "gap_sequence", "long_line",
    "drip_headers", "bad_utf8", "u2028", "cr_only", "bare_colon", "close_before_reply", "reset_after_request",
    "hang", "close_reused",
    "reset_reused",
    "repeat", "preamble", "restart_whole", "bare_start",  # with the answers that are carried on
}  # fmt: skip


def test_every_fault_has_a_test():
    tried = {name.partition(":")[0] for name in (*STREAM_FAULTS, *REPLIES)} | TRIED_ELSEWHERE

    assert LINES.keys() - tried == set()
