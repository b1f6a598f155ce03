"""The OpenAI surface, on the wire."""

from __future__ import annotations

import json

import pytest

from gateway_core import Message, Usage
from gateway_core.errors import RateLimited, TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason

from ..calling import calling, cut_stream, gateway, running

HELLO = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
USED = Chunk(finish_reason="stop", usage=Usage(7, 2))


def down(tier: str = "copilot") -> TierBroken:
    return TierBroken(tier, "it broke", reason=Reason.RESET, may_have_billed=True)


def chunks(body: str) -> list:
    """The data of each event; `[DONE]` stays a text."""
    found = [line[6:] for line in body.split("\n") if line.startswith("data: ")]
    return [json.loads(one) if one != "[DONE]" else one for one in found]


def text(found: list) -> str:
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in found if c != "[DONE]" and c.get("choices"))


async def ask(client, **fields):
    return await client.post("/v1/chat/completions", json={**HELLO, **fields})


async def test_a_completion_has_the_form_sdks_expect():
    copilot = ScriptedTier("copilot", [Chunk("Hi", model="gpt-x"), Chunk(" there"), USED])
    async with calling(copilot) as client:
        reply = await ask(client)

    told = reply.json()
    assert told["id"].startswith("chatcmpl-")
    assert (told["object"], told["model"]) == ("chat.completion", "gpt-x")
    (choice,) = told["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hi there", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert told["ai_gateway"]["backend"] == "copilot"
    assert reply.headers["x-ai-gateway-backend"] == "copilot"


async def test_a_stream_ends_in_a_finish_chunk_usage_and_done():
    async with calling(ScriptedTier("copilot", ["Hi", " there", USED])) as client:
        reply = await ask(client, stream=True, stream_options={"include_usage": True})

    found = chunks(reply.text)
    assert reply.headers["content-type"] == "text/event-stream"
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text(found) == "Hi there"
    assert found[-3]["choices"][0]["finish_reason"] == "stop"
    assert found[-3]["ai_gateway"]["segments"] == [{"backend": "copilot", "start": 0, "end": 8}]
    assert (found[-2]["choices"], found[-2]["usage"]["total_tokens"], found[-1]) == ([], 9, "[DONE]")
    assert len({c["id"] for c in found[:-1]}) == 1


async def test_the_next_tier_answers_unseen_when_copilot_fails():
    async with calling(ScriptedTier("copilot", [down()]), ScriptedTier("cloud", ["fine"])) as client:
        whole, grown = await ask(client), await ask(client, stream=True)

    assert whole.json()["choices"][0]["message"]["content"] == text(chunks(grown.text)) == "fine"
    assert [a["backend"] for a in whole.json()["ai_gateway"]["attempts"]] == ["copilot", "cloud"]


@pytest.mark.parametrize(
    "reason", [Reason.RESET, Reason.TRUNCATED, Reason.UPSTREAM_ERROR, Reason.STALLED, Reason.BAD_PAYLOAD]
)
async def test_f45_after_visible_text_one_error_and_never_a_clean_end(reason):
    cut = TierBroken("copilot", "it broke", reason=reason)
    cloud = ScriptedTier("cloud")
    async with running(gateway(ScriptedTier("copilot", ["one ", "two ", cut]), cloud)) as server:
        received = await cut_stream(server, "/v1/chat/completions", {**HELLO, "stream": True})

    found = chunks(received)
    assert text(found[:-1]) == "one two "
    assert found[-1]["error"]["code"] == "stream_interrupted"
    assert [c for c in found if c == "[DONE]" or c.get("choices", [{}])[0].get("finish_reason")] == []
    assert cloud.calls == 0


async def test_an_answer_in_one_piece_is_answered_anew_after_a_cut():
    async with calling(ScriptedTier("copilot", ["Half", down()]), ScriptedTier("cloud", ["Whole"])) as client:
        reply = await ask(client)

    assert reply.json()["choices"][0]["message"]["content"] == "Whole"


@pytest.mark.parametrize("stream", [False, True])
async def test_final_failures_tell_the_sdk_not_to_retry(stream):
    async with calling(ScriptedTier("copilot", [RateLimited("copilot", "slow down", wait=9)])) as client:
        reply = await ask(client, stream=stream)

    assert (reply.status_code, reply.headers["x-should-retry"], reply.headers["retry-after"]) == (503, "false", "9")
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "no_tier_answered")
    assert error["ai_gateway"]["attempts"][0]["reason"] == "rate_limited"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a\0"}]}, "messages[0]"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"n": 3}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
    ],
)
async def test_bad_requests_are_said_in_the_sdks_words(fields, param):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await ask(client, **fields)

    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (422, "invalid_request_error", param)


async def test_only_json_is_read():
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/v1/chat/completions", content=json.dumps(HELLO))

    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media_type")


async def test_the_conversation_and_unknown_fields_are_passed_on():
    copilot = ScriptedTier("copilot")
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;,"}}]
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]
    async with calling(copilot) as client:
        await ask(client, messages=messages, tools=[TOOL], top_p=0.5, seed=None, max_completion_tokens=9, temperature=1)

    (prompt,) = copilot.prompts
    assert prompt.messages == (
        Message("system", "Be brief."),
        Message("user", parts),  # type: ignore[arg-type]
        Message("assistant", "", {"content": None, "tool_calls": calls}),
        Message("tool", "sunny", {"tool_call_id": "c1"}),
    )
    assert prompt.passthrough == {"tools": [TOOL], "top_p": 0.5}
    assert (prompt.max_tokens, prompt.temperature) == (9, 1)


FRAGMENTS = [
    Chunk(tool_calls=({"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}},)),
    Chunk(tool_calls=({"index": 0, "function": {"arguments": '{"city":'}},)),
    Chunk(tool_calls=({"index": 0, "function": {"arguments": '"Rome"}'}},)),
]


async def test_tool_calls_come_whole_and_in_fragments():
    copilot = ScriptedTier("copilot", [*FRAGMENTS, Chunk(finish_reason="tool_calls")])
    async with calling(copilot) as client:
        whole = (await ask(client, tools=[TOOL])).json()["choices"][0]
        grown = chunks((await ask(client, tools=[TOOL], stream=True)).text)

    assert whole["message"]["content"] is None
    assert whole["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    ]
    fragments = [c["choices"][0]["delta"].get("tool_calls") for c in grown if c != "[DONE]" and c["choices"]]
    assert [f[0] for f in fragments if f] == [chunk.tool_calls[0] for chunk in FRAGMENTS]
    assert whole["finish_reason"] == grown[-2]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("field", ["tools", "response_format"])
async def test_f94_a_tool_call_or_document_cut_in_the_middle_is_never_spliced(field):
    wanted = {"tools": [TOOL]} if field == "tools" else {"response_format": {"type": "json_object"}}
    half = FRAGMENTS[:2] if field == "tools" else ['{"a": ']
    copilot, cloud = ScriptedTier("copilot", [*half, down()]), ScriptedTier("cloud", ['{"a": 1}'])
    async with calling(copilot, cloud) as client:
        whole = (await ask(client, **wanted)).json()["choices"][0]["message"]

    assert whole["content"] == '{"a": 1}'
    assert "tool_calls" not in whole


@pytest.mark.parametrize(
    ("model", "tier", "asked"),
    [
        ("auto", "copilot", None),
        ("cloud", "cloud", None),
        ("local/llama3:8b", "local", "llama3:8b"),
        (None, "copilot", None),
    ],
)
async def test_a_model_name_may_name_the_tier(model, tier, asked):
    tiers = {name: ScriptedTier(name) for name in ("copilot", "cloud", "local")}
    async with calling(*tiers.values()) as client:
        reply = await ask(client, model=model)

    assert reply.json()["ai_gateway"]["backend"] == tier
    assert tiers[tier].prompts[0].model == asked
    assert reply.json()["ai_gateway"]["notes"] == []


async def test_an_unknown_model_means_auto_and_is_told():
    copilot = ScriptedTier("copilot")
    async with calling(copilot) as client:
        reply = await ask(client, model="gpt-99")

    assert reply.json()["ai_gateway"]["notes"] == ["the model gpt-99 is not known here; auto was asked"]
    assert copilot.prompts[0].model is None


async def test_the_models_are_the_fixed_names_and_each_tiers_live_ones():
    async with calling(ScriptedTier("copilot"), ScriptedTier("local")) as client:
        told = (await client.get("/v1/models")).json()

    assert [m["id"] for m in told["data"]] == [
        "auto", "copilot", "cloud", "local", "copilot/scripted-copilot", "local/scripted-local",
    ]  # fmt: skip
    assert {m["object"] for m in told["data"]} == {"model"}


@pytest.mark.parametrize("path", ["/v1/models/local/scripted-local", "/v1/models/local%2Fscripted-local"])
async def test_a_listed_model_can_be_looked_up(path):
    async with calling(ScriptedTier("local")) as client:
        told, listed = (await client.get(path)).json(), (await client.get("/v1/models")).json()["data"]

    assert told in listed
    assert (told["id"], told["object"], told["owned_by"]) == ("local/scripted-local", "model", "local")


@pytest.mark.parametrize("name", ["gpt-99", "local/x", "auto/", "a%09b"])
async def test_a_model_that_is_not_there_is_told_in_each_apis_words(name):
    async with calling(ScriptedTier("local")) as client:
        openai = await client.get(f"/v1/models/{name}")
        anthropic = await client.get(f"/v1/models/{name}", headers={"anthropic-version": "2023-06-01"})

    assert openai.status_code == anthropic.status_code == 404
    assert (openai.json()["error"]["code"], openai.json()["error"]["type"]) == (
        "model_not_found", "invalid_request_error",
    )  # fmt: skip
    assert (anthropic.json()["type"], anthropic.json()["error"]["type"]) == ("error", "not_found_error")


async def test_the_last_chunk_names_the_model_that_answered():
    async with calling(ScriptedTier("copilot", [Chunk("Hi", model="gpt-x"), USED])) as client:
        whole, grown = await ask(client), await ask(client, stream=True)

    assert whole.json()["ai_gateway"]["model"] == chunks(grown.text)[-2]["ai_gateway"]["model"] == "gpt-x"


async def test_a_field_of_our_own_is_not_passed_to_a_provider():
    copilot = ScriptedTier("copilot")
    async with calling(copilot) as client:
        told = (await ask(client, on_interrupt="continue", top_p=0.5)).json()

    assert copilot.prompts[0].passthrough == {"top_p": 0.5}
    assert "on_interrupt" in told["ai_gateway"]["notes"][0]
