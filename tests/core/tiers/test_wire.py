from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_core.errors import TierBroken
from gateway_core.tiers.wire import Joiner, NdjsonReader, ServerEvent, SseReader, as_object
from gateway_core.types import Reason

STREAM = (
    "\ufeff: keep-alive\r\n\r\ndata: {\"a\":1}\n\ndata:no blank\r\rdata: two\ndata: lines\r\n\r\n"
    "event: error\ndata: {\"u\":\"a\u2028b\u0085c\"}\nid: 7\nretry: 1\nunknown\n\ndata\n\ndata: é€𝄞\n\n"
    ": end\ndata: [DONE]\n\n"
).encode()  # fmt: skip
EXPECTED = [
    ServerEvent("keep-alive", is_comment=True),
    ServerEvent('{"a":1}'),
    ServerEvent("no blank"),
    ServerEvent("two\nlines"),
    ServerEvent('{"u":"a\u2028b\u0085c"}', "error"),
    ServerEvent(""),
    ServerEvent("é€𝄞"),
    ServerEvent("end", is_comment=True),
    ServerEvent("[DONE]"),
]


def events(*parts: bytes, **limits: int) -> list[ServerEvent]:
    reader = SseReader("cloud", **limits)
    found = [event for part in parts for event in reader.feed(part)]
    return [*found, *reader.finish()]


def lines(*parts: bytes) -> list[dict]:
    reader = NdjsonReader("local")
    return [*(found for part in parts for found in reader.feed(part)), *reader.finish()]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("place", range(len(STREAM) + 1))
def test_f50_one_cut_anywhere_changes_nothing(place):
    assert events(STREAM[:place], STREAM[place:]) == EXPECTED


def test_f50_byte_by_byte_changes_nothing():
    assert events(*(bytes([byte]) for byte in STREAM)) == EXPECTED


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=300)
def test_any_bytes_cut_anywhere_give_the_same_events(body, places):
    assert events(*cut(body, places)) == events(body)


pieces = st.sampled_from(
    [b"data:", b"data: x", b"\n", b"\r", b"\r\n", b":", b" ", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"e"]
)


@given(st.lists(pieces, max_size=40), st.lists(st.integers(0, 200), max_size=8))
@settings(max_examples=300)
def test_mixed_line_ends_cut_anywhere_give_the_same_events(found, places):
    body = b"".join(found)
    assert events(*cut(body, places)) == events(body)


@given(st.binary(max_size=200))
def test_nothing_but_our_error_comes_out_of_a_reader(body):
    for reader in (NdjsonReader("x", line_limit=50), SseReader("x", line_limit=50, event_limit=60)):
        try:
            list(reader.feed(body))
            list(reader.finish())
        except TierBroken as failure:
            assert failure.reason in (Reason.TOO_LARGE, Reason.BAD_PAYLOAD)  # noqa: PT017


def test_bytes_that_are_no_utf8_are_replaced():
    assert events(b"data: a\xffb\n\n") == [ServerEvent("a\ufffdb")]


def test_an_event_cut_off_by_the_end_is_dropped_and_a_whole_one_counts():
    assert events(b'data: {"a":1}\n') == [ServerEvent('{"a":1}')]
    assert events(b"data: [DONE]") == [ServerEvent("[DONE]")]
    assert events(b'data: {"a":') == []


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_f51_an_endless_line_is_refused_before_it_fills_the_memory(end):
    reader = SseReader("cloud", line_limit=1000)
    with pytest.raises(TierBroken) as raised:
        [list(reader.feed(part)) for part in (*[b"x" * 100] * 100, end)]
    assert raised.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("line", [b"data: xxxxxxxx\n", b": xxxxxxxx\n", b"what: xxxxxxxx\n\n"])
def test_f28_an_endless_event_or_endless_comments_are_refused(line):
    with pytest.raises(TierBroken) as raised:
        events(*[line] * 200, event_limit=1000)
    assert raised.value.reason is Reason.TOO_LARGE


def test_lines_of_json_keep_what_looks_like_a_line_end_inside_a_string():
    body = '{"t":"a\u2028b"}\r\n\n{"t":"é"}\n{"done":true}'.encode()
    expected = [{"t": "a\u2028b"}, {"t": "é"}, {"done": True}]
    for place in range(len(body) + 1):
        assert lines(body[:place], body[place:]) == expected


def test_a_last_line_cut_in_the_middle_is_left_to_the_missing_end_marker():
    assert lines(b'{"a":1}\n{"b":') == [{"a": 1}]


@pytest.mark.parametrize("line", ["nope", "[1]", "7", '"x"', "[" * 100_000])
def test_f49_a_line_that_is_no_object_is_a_bad_payload(line):
    with pytest.raises(TierBroken) as raised:
        as_object(line, "cloud")
    assert raised.value.reason is Reason.BAD_PAYLOAD


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.lists(st.integers(0, 60), max_size=5))
def test_characters_escaped_in_halves_are_joined(text, places):
    units = text.encode("utf-16-le")
    halves = [units[n : n + 2].decode("utf-16-le", "surrogatepass") for n in range(0, len(units), 2)]
    edges = [0, *sorted(place for place in places if place <= len(halves)), len(halves)]
    joiner = Joiner()
    said = [joiner.feed("".join(halves[a:b])) for a, b in itertools.pairwise(edges)]
    assert "".join(said) + joiner.finish() == text


def test_half_a_character_left_alone_is_replaced():
    joiner = Joiner()
    assert [joiner.feed("a\ud83d"), joiner.feed("b\udc00"), joiner.finish()] == ["a", "\ufffdb\ufffd", ""]
    assert json.dumps("a\ufffd").isascii()
