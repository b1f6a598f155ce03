"""OpenAI's rules, and those of others who speak its language."""

from __future__ import annotations

import pytest
from raw_client import HELLO, request

from gateway_core.testing import OpenAISimulator
from gateway_core.testing.simulators import DEFAULT_ANSWER
from gateway_core.testing.simulators.openai import FLAVOURS

KEYS = {"openai": "sk-x", "azure": "abc", "anthropic": "sk-ant-x", "gemini": "AIzaX", "openrouter": "sk-or-x"}
CHAT = {"model": "gpt-6-luna", "messages": HELLO}


def post(simulator, body, path="/chat/completions", key=None):
    key = KEYS.get(simulator.flavour, "sk-x") if key is None else key
    base = FLAVOURS[simulator.flavour].base
    return request(simulator, "POST", base + path, body, authorization=f"Bearer {key}")


def error_of(heard):
    return heard.json["error"]


@pytest.mark.parametrize(("key", "status"), [("sk-x", 200), ("", 401), ("gho_x", 401)])
def test_a_key_begins_as_openais_do(openai, key, status):
    assert post(openai, CHAT, key=key).status == status


def test_only_configured_keys_are_taken_if_there_are_any(openai):
    openai.api_keys = ["sk-mine"]

    assert [post(openai, CHAT, key=key).status for key in ("sk-mine", "sk-other")] == [200, 401]
    assert error_of(post(openai, CHAT, key="sk-other"))["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("extra", "path", "param"),
    [
        ({"temperature": 0.5}, "/chat/completions", "temperature"),
        ({"max_tokens": 9}, "/chat/completions", "max_tokens"),
        ({"max_tokens": 9, "input": "x"}, "/responses", "max_tokens"),
    ],
)
def test_new_models_refuse_old_parameters(openai, extra, path, param):
    heard = post(openai, {**CHAT, **extra}, path)

    assert heard.status == 400
    assert (error_of(heard)["code"], error_of(heard)["param"]) == ("unsupported_parameter", param)


def test_older_models_take_them(openai):
    heard = post(openai, {**CHAT, "model": "gpt-4o-mini", "temperature": 0.5, "max_tokens": 2})

    assert heard.json["choices"][0]["message"]["content"] == "A small"
    assert heard.json["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**CHAT, "model": "gpt-9"}, 404, "model_not_found"),
        ({"messages": HELLO}, 400, None),
        ({"model": "gpt-6-luna", "messages": []}, 400, "invalid_type"),
        ({"model": "gpt-6-luna", "messages": "hello"}, 400, "invalid_type"),
        (b"{", 400, None),
    ],
)
def test_wrong_requests_are_told_so(openai, body, status, code):
    heard = post(openai, body)

    assert (heard.status, error_of(heard)["code"]) == (status, code)


def test_a_prompt_may_be_too_long(openai):
    openai.max_prompt_tokens = 5

    assert error_of(post(openai, {**CHAT, "messages": [{"role": "user", "content": "x" * 99}]}))["code"] == (
        "context_length_exceeded"
    )


def test_models_tell_when_they_are_shut_down(openai):
    rows = {row["id"]: row for row in request(openai, "GET", "/v1/models", authorization="Bearer sk-x").json["data"]}

    assert rows["gpt-4o-mini"]["shutdown_date"] == "2027-01-14"
    assert "shutdown_date" not in rows["gpt-6-luna"]


def test_usage_comes_when_asked_for_and_is_null_until_then(openai):
    without = post(openai, {**CHAT, "stream": True}).events
    asked = post(openai, {**CHAT, "stream": True, "stream_options": {"include_usage": True}}).events

    assert not any("usage" in event for event in without)
    assert [event["usage"] for event in asked[:-1]] == [None] * 62
    assert (asked[-1]["choices"], asked[-1]["usage"]["completion_tokens"]) == ([], 60)


def test_the_first_chunk_has_the_role_and_the_last_says_done(openai):
    heard = post(openai, {**CHAT, "stream": True})

    assert heard.events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert heard.frames[-1] == "[DONE]"


def test_replies_carry_the_limits(openai):
    headers = post(openai, CHAT).headers

    assert headers["x-request-id"].startswith("req_")
    assert headers["x-ratelimit-reset-tokens"] == "6m0s"


def test_embeddings_have_one_vector_each(openai):
    reply = post(openai, {"model": "text-embedding-3-small", "input": ["one", "two", "one"]}, "/embeddings").json

    first, second, third = (row["embedding"] for row in reply["data"])
    assert first == third != second


@pytest.mark.parametrize("name", sorted(OpenAISimulator.named_errors))
def test_every_named_error_is_sent_as_it_is(openai, name):
    openai.script(name)
    expected = openai.named_errors[name]

    heard = post(openai, CHAT)

    assert (heard.status, heard.payload) == (expected.status, expected.body)


# --- flavours


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_each_flavour_answers_at_its_own_address(flavour):
    with OpenAISimulator(flavour=flavour) as simulator:
        model = next(iter(simulator.models), "anything")
        heard = post(simulator, {"model": model, "messages": HELLO, "stream": True})

        assert heard.text == DEFAULT_ANSWER
        assert simulator.base_url == simulator.url + FLAVOURS[flavour].base
        assert request(simulator, "POST", "/elsewhere/chat/completions", CHAT).status == 404


@pytest.mark.parametrize(
    ("flavour", "key", "status"),
    [("azure", "", 401), ("anthropic", "sk-x", 401), ("gemini", "sk-x", 400), ("openrouter", "sk-x", 401)],
)
def test_each_flavour_refuses_a_wrong_key_in_its_own_way(flavour, key, status):
    with OpenAISimulator(flavour=flavour) as simulator:
        assert post(simulator, CHAT, key=key).status == status


def test_azure_takes_its_key_in_a_header_of_its_own():
    with OpenAISimulator(flavour="azure") as azure:
        body = {"model": "my-deployment", "messages": HELLO}

        assert request(azure, "POST", "/openai/v1/chat/completions", body, api_key="abc").status == 200


@pytest.mark.parametrize(
    ("flavour", "shape"),
    [
        ("openai", lambda body: body["error"]["type"] == "requests"),
        ("anthropic", lambda body: body["error"]["type"] == "rate_limit_error"),
        ("gemini", lambda body: body[0]["error"]["status"] == "RESOURCE_EXHAUSTED"),
        ("openrouter", lambda body: body["error"]["code"] == 429),
    ],
)
def test_errors_have_the_shape_of_the_flavour(flavour, shape):
    with OpenAISimulator(flavour=flavour) as simulator:
        simulator.script("status_429")
        heard = post(simulator, {"model": next(iter(simulator.models)), "messages": HELLO})

    assert heard.status == 429
    assert shape(heard.json)


def test_openrouter_sends_comments_and_errors_with_status_200():
    with OpenAISimulator(flavour="openrouter") as simulator:
        simulator.script("error_after:2")
        heard = post(simulator, {"model": "openrouter/free", "messages": HELLO, "stream": True})

    last = heard.events[-1]
    assert heard.pieces[0] == b": OPENROUTER PROCESSING\n\n"
    assert (heard.status, last["error"]["code"], last["choices"][0]["finish_reason"]) == (200, 502, "error")


def test_a_flavour_that_does_not_exist_is_refused(openai):
    with pytest.raises(ValueError, match="openrouter"):
        openai.configure("flavour", "vanilla")


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ITEM = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}


def turn(role, kind, **more):
    return {"role": role, "content": [{"type": kind, kind: {"url": "x"}, "text": "x"}], **more}


@pytest.mark.parametrize(
    ("turns", "param"),
    [
        ([turn("assistant", "image_url")], "messages.[0].content[0].type"),
        ([turn("system", "image_url")], "messages.[0].content[0].type"),
        ([turn("user", "input_text")], "messages.[0].content[0].type"),
        ([*HELLO, CALLED, turn("tool", "image_url", tool_call_id="c1")], "messages.[2].content[0].type"),
        ([*HELLO, CALLED, {"role": "tool", "content": "x", "tool_call_id": "c2"}], "messages.[2].role"),
        ([*HELLO, {"role": "tool", "content": "x", "tool_call_id": "c1"}], "messages.[1].role"),
        ([*HELLO, CALLED, *HELLO], "messages.[2]"),
        ([*HELLO, {**CALLED, "tool_calls": [CALL, CALL]}], "messages.[1].tool_calls"),
        ([{"role": "wizard", "content": "x"}], "messages.[0].role"),
    ],
)
def test_turns_that_do_not_hold_together_are_refused(openai, turns, param):
    heard = post(openai, {**CHAT, "messages": turns})

    assert (heard.status, error_of(heard)["param"]) == (400, param)


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([turn("assistant", "input_text")], "input[0].content[0].type"),
        ([turn("user", "output_text")], "input[0].content[0].type"),
        ([turn("user", "text")], "input[0].content[0].type"),
        ([turn("user", "input_audio")], "input[0].content[0].type"),
        ([*HELLO, {"type": "function_call_output", "call_id": "c1", "output": "x"}], "input"),
        ([*HELLO, ITEM], "input"),
        ([*HELLO, ITEM, {**ITEM, "type": "function_call_output", "output": [{"type": "text"}]}],
         "input[2].output[0].type"),
    ],
)  # fmt: skip
def test_items_that_do_not_hold_together_are_refused(openai, items, param):
    heard = post(openai, {"model": "gpt-6-luna", "input": items}, "/responses")

    assert (heard.status, error_of(heard)["param"]) == (400, param)
