"""Both wires of an answer, cut at every byte, and fed with nonsense."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_core.errors import GatewayError, TierBroken, TierFailed
from gateway_core.tiers.complaints import Cures, complaint_in, complaint_of, failure_from
from gateway_core.tiers.copilot.responses_wire import ResponsesAnswer, responses_body
from gateway_core.tiers.openai_wire import ChatAnswer, Flavour, as_bytes, chat_body
from gateway_core.tiers.wire import SseReader
from gateway_core.types import Message, Prompt, Reason, Usage


def to_failure(complaint: Any) -> GatewayError:
    return failure_from("copilot", complaint, Cures(), billed=True)


def chat() -> ChatAnswer:
    return ChatAnswer("copilot", Flavour(keep_alive=("keep-alive",)), to_failure)


def responses() -> ResponsesAnswer:
    return ResponsesAnswer("copilot", to_failure)


def said(answer: Any, *parts: bytes) -> tuple[str, str | None, Usage | None, int]:
    """Text, finish reason, usage, and the number of chunks."""
    reader = SseReader("copilot")
    events = itertools.chain(*(reader.feed(part) for part in parts), reader.finish())
    chunks = [chunk for event in events if (chunk := answer.take(event)) is not None]
    chunks.append(answer.end())
    return "".join(c.text for c in chunks), chunks[-1].finish_reason, chunks[-1].usage, len(chunks)


def frames(*found: Any) -> bytes:
    lines = [one if isinstance(one, str) else "data: " + json.dumps(one, ensure_ascii=False) for one in found]
    return "".join(line + "\n\n" for line in lines).encode()


FILTER = {"choices": [], "created": 0, "id": "", "prompt_filter_results": [{"prompt_index": 0}]}
TEXT = "Pâris \u2028 is 𝄞 good."


def delta(content: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}], **more}


USED = {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}
CHAT_STREAMS = {
    "copilot": frames(
        FILTER,
        ": keep-alive",
        delta("Pâris \u2028"),
        delta(" is 𝄞 good."),
        delta(None, "stop", usage=USED),
        "data: [DONE]",
    ),
    "openai": frames(
        {"choices": [{"delta": {"role": "assistant", "content": ""}}], "usage": None},
        delta(TEXT, usage=None),
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None},
        {"choices": [], "usage": USED},
        "data: [DONE]",
    ),
    "zeros": frames(
        delta(TEXT, usage={"prompt_tokens": 0, "completion_tokens": 0}), delta("", "stop", usage=USED), "data: [DONE]"
    ),
    "lists": frames(
        delta([{"type": "text", "text": TEXT}, {"type": "x"}]), delta(None, "stop"), {"choices": [], "usage": USED}
    ),
    "reasons": frames(
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        delta(TEXT),
        delta(None, "stop", usage=USED),
        "data: [DONE]",
    ),
}  # fmt: skip
CRLF = {name: body.replace(b"\n", b"\r\n") for name, body in CHAT_STREAMS.items()}


@pytest.mark.parametrize(
    "body", [*CHAT_STREAMS.values(), *CRLF.values()], ids=[*CHAT_STREAMS, *(f"crlf {n}" for n in CRLF)]
)
def test_f50_each_chat_stream_cut_anywhere_says_the_same(body):
    whole = said(chat(), body)
    assert whole[:3] == (TEXT, "stop", Usage(14, 3))
    for place in range(1, len(body)):
        assert said(chat(), body[:place], body[place:]) == whole


def numbered(*events: dict[str, Any]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps({'sequence_number': n, **event}, ensure_ascii=False)}\n\n".encode()
        for n, event in enumerate(events)
    )


def output(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "delta": text, **more}


CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "model": "m", "output": []}}
COMPLETED = {
    "type": "response.completed",
    "response": {"status": "completed", "output": [], "usage": {"input_tokens": 14, "output_tokens": 3}},
    "copilot_usage": {"total_nano_aiu": 4_200_000},
}


def incomplete(reason: str) -> dict[str, Any]:
    return {
        "type": "response.incomplete",
        "response": {"incomplete_details": {"reason": reason}},
    }


FAILED = {
    "type": "response.failed",
    "response": {"status": "failed", "error": {"code": "server_error", "message": "x"}},
}
ERROR = {"type": "error", "code": "server_error", "message": "x", "param": None}
WORDS = (CREATED, output("Pâris \u2028"), output(" is 𝄞 good."))
RESPONSES_STREAMS = {
    "completed": (numbered(*WORDS, COMPLETED), "stop"),
    "incomplete for its length": (numbered(*WORDS, incomplete("max_output_tokens")), "length"),
    "incomplete for its content": (numbered(*WORDS, incomplete("content_filter")), "content_filter"),
    "failed": (numbered(*WORDS, FAILED), Reason.UPSTREAM_ERROR),
    "error": (numbered(*WORDS, ERROR), Reason.UPSTREAM_ERROR),
}


def understood(*parts: bytes) -> tuple[str, Any]:
    """The text that would be shown, and how it ended: the finish reason, or why it failed."""
    answer, reader, text = responses(), SseReader("copilot"), ""
    try:
        for event in itertools.chain(*(reader.feed(part) for part in parts), reader.finish()):
            if (chunk := answer.take(event)) is not None:
                text += chunk.text
        last = answer.end()
    except TierBroken as failure:
        return text, failure.reason
    return text + last.text, last.finish_reason


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(("body", "end"), RESPONSES_STREAMS.values(), ids=RESPONSES_STREAMS)
def test_f20_f47_f50_each_responses_stream_cut_anywhere_says_the_same(body, end, line_end):
    body = body.replace(b"\n", line_end)
    whole = understood(body)
    assert whole == (TEXT, end)
    for place in range(1, len(body)):
        assert understood(body[:place], body[place:]) == whole
    assert understood(*(body[n : n + 1] for n in range(len(body)))) == whole


def test_the_responses_wire_tells_usage_and_credits():
    assert said(responses(), RESPONSES_STREAMS["completed"][0])[2] == Usage(14, 3, 0.0042)


def test_f52_a_number_twice_is_dropped_and_a_missing_one_is_a_cut():
    twice = numbered(CREATED, output("a"), output("again", sequence_number=1), {**output("b"), "sequence_number": 2})
    end = {**COMPLETED, "sequence_number": 3}
    assert said(responses(), twice, frames(end))[0] == "ab"
    with pytest.raises(TierBroken) as raised:
        said(responses(), numbered(CREATED, output("a"), output("c", sequence_number=3)))
    assert raised.value.reason is Reason.TRUNCATED


def test_a_response_without_deltas_is_read_from_its_end():
    part = {"type": "message", "content": [{"type": "output_text", "text": "all"}]}
    end = {"type": "response.completed", "response": {"status": "completed", "output": [{"type": "reasoning"}, part]}}
    assert said(responses(), numbered(CREATED, end))[:2] == ("all", "stop")


KEYS = st.sampled_from(
    """choices delta content finish_reason usage error code message type response output item status model index param
    tool_calls function sequence_number details incomplete_details prompt_tokens copilot_usage total_nano_aiu
    """.split()  # noqa: SIM905
)
TYPES = st.sampled_from(
    """response.output_text.delta response.completed response.failed response.incomplete response.created error
    response.output_item.added response.function_call_arguments.delta
    """.split()  # noqa: SIM905
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400) | st.just("²"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


items = st.dictionaries(KEYS, json_values, max_size=3) | st.builds(
    lambda kind, content: {"type": kind, "content": content, "arguments": content},
    st.sampled_from(["message", "function_call"]),
    json_values,
)
ends = st.builds(
    lambda output, error, more: {"response": {"status": "completed", "output": output, "error": error, **more}},
    st.lists(items, max_size=3) | json_values,
    st.none() | json_values,
    st.dictionaries(KEYS, json_values, max_size=2),
)


@given(st.lists(st.dictionaries(KEYS, json_values, max_size=6) | ends, max_size=4), st.booleans(), TYPES)
@settings(max_examples=400, deadline=None)
def test_whatever_a_provider_sends_only_our_errors_come_out(found, is_chat, kind):
    answer: Any = chat() if is_chat else responses()
    body = frames(*({"type": kind, **one} for one in found))
    try:
        said(answer, body)
    except GatewayError as failure:
        assert isinstance(failure, TierFailed) or str(failure)  # noqa: PT017


@given(json_values, st.integers(400, 599))
@settings(max_examples=300, deadline=None)
def test_whatever_an_error_body_holds_it_becomes_one_of_ours(found, status):
    try:
        text = json.dumps(found)
    except ValueError:
        return
    assert isinstance(failure_from("cloud", complaint_of(status, text), Cures()), GatewayError)
    assert isinstance(failure_from("cloud", complaint_in(found), Cures()), GatewayError)


def test_tools_and_their_results_are_said_in_the_words_of_the_other_wire():
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns = (
        Message("user", "?"),
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "sunny", {"tool_call_id": "c1"}),
    )
    wants = {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }
    body = responses_body(Prompt(turns, passthrough=wants), "gpt-6-luna", efforts=None)
    assert body["input"][1:] == [
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    assert body["tools"] == [{"type": "function", "name": "weather", "parameters": {}}]
    assert body["text"] == {"format": {"type": "json_schema", "name": "n", "schema": {}}}


def test_half_a_character_in_a_prompt_can_still_be_sent():
    body = chat_body(Prompt((Message("user", "a\ud83d"),)), "m", Flavour())
    assert json.loads(as_bytes(body))["messages"][0]["content"] == "a?"
