"""The fault table as a REST client sees it: answers in one piece."""

from __future__ import annotations

import asyncio

import pytest

from gateway_core import PromptRefused
from gateway_core.errors import (
    ContextTooLong,
    QuotaUsedUp,
    RateLimited,
    TierBroken,
    TierUnavailable,
    TierUnreachable,
    Unauthorized,
)
from gateway_core.testing import ManualClock, ScriptedTier
from gateway_core.tiers.base import Missing
from gateway_core.types import Chunk, Reason

from .calling import called, calling, gateway

ASK = {"prompt": "Why is the sky blue?", "details": True}


def down(tier: str = "copilot") -> TierBroken:
    return TierBroken(tier, "it answered 500", reason=Reason.UPSTREAM_5XX, may_have_billed=True)


def reasons(reply) -> dict[str, str | None]:
    told = reply.json()
    return {a["backend"]: a["reason"] for a in (told.get("details") or told)["attempts"]}


async def ask(client, **fields):
    return await client.post("/ai/query", json={**ASK, **fields})


async def test_f01_copilot_answers_when_all_is_well():
    async with calling(ScriptedTier("copilot"), ScriptedTier("cloud"), ScriptedTier("local")) as client:
        told = (await ask(client)).json()

    assert (told["backend"], told["state"]) == ("copilot", "closed")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(TierUnreachable("copilot", "refused"), "connect_refused", id="f02"),
        pytest.param(down(), "upstream_5xx", id="f08"),
        pytest.param(RateLimited("copilot", "slow down", wait=60), "rate_limited", id="f11"),
        pytest.param(Unauthorized("copilot", "refused"), "unauthorized", id="f15"),
        pytest.param(QuotaUsedUp("copilot", "used up"), "quota_used_up", id="f16"),
    ],
)
async def test_f08_the_cloud_answers_when_copilot_fails(fault, reason):
    async with calling(ScriptedTier("copilot", [fault]), ScriptedTier("cloud", ["fine"])) as client:
        reply = await ask(client)

    assert (reply.status_code, reply.json()["backend"]) == (200, "cloud")
    assert reasons(reply)["copilot"] == reason


async def test_f11_the_state_is_open_while_copilot_asked_to_be_left_alone():
    copilot = ScriptedTier("copilot", [RateLimited("copilot", "slow down", wait=60)])
    async with calling(copilot, ScriptedTier("cloud")) as client:
        await ask(client)
        reply = await ask(client)

    assert (reply.json()["state"], copilot.calls) == ("open", 1)


async def test_f17_a_refused_prompt_is_422_and_nobody_else_is_asked():
    cloud = ScriptedTier("cloud")
    refused = PromptRefused("copilot: the image is not readable", field="messages")
    async with calling(ScriptedTier("copilot", [refused]), cloud) as client:
        reply = await ask(client)

    assert (reply.status_code, reply.json()["code"], cloud.calls) == (422, "prompt_refused", 0)
    assert "copilot" in reply.json()["detail"]
    assert reasons(reply) == {"copilot": "prompt_refused"}


async def test_f18_a_prompt_too_long_for_everybody_is_413_with_advice():
    tiers = [ScriptedTier(name, [ContextTooLong(name, "too long")]) for name in ("copilot", "cloud", "local")]
    async with calling(*tiers) as client:
        reply = await ask(client)

    assert (reply.status_code, reply.json()["code"]) == (413, "context_too_long")
    assert "max_context_chars" in reply.json()["cure"]


async def test_f20_a_content_filter_is_an_answer_and_says_so():
    copilot = ScriptedTier("copilot", ["I cannot", Chunk(finish_reason="content_filter")])
    async with calling(copilot, ScriptedTier("cloud")) as client:
        told = (await ask(client)).json()

    assert (told["backend"], told["details"]["finish_reason"]) == ("copilot", "content_filter")


@pytest.mark.parametrize("stream", [False, True])
async def test_f26_an_empty_answer_is_an_answer_and_flagged(stream):
    async with calling(ScriptedTier("copilot", []), ScriptedTier("cloud")) as client:
        reply = await ask(client, stream=stream)

    assert reply.status_code == 200
    assert "copilot answered with an empty text" in reply.text
    assert reply.headers["x-ai-gateway-backend"] == "copilot"


async def test_f59_after_three_failures_the_fourth_request_does_not_touch_copilot():
    copilot, cloud = ScriptedTier("copilot", [down()]), ScriptedTier("cloud")
    async with calling(copilot, cloud) as client:
        states = [(await ask(client)).json()["state"] for _ in range(3)]
        fourth = await ask(client)
        health = (await client.get("/health")).json()

    assert states == ["closed", "closed", "open"]
    assert (copilot.calls, reasons(fourth)["copilot"]) == (3, "circuit_open")
    assert (health["copilot_available"], health["circuit_state"], health["status"]) == (False, "open", "ok")


async def test_f60_an_answer_in_between_ends_the_streak():
    copilot = ScriptedTier("copilot", [down()], [down()], ["ok"], [down()], [down()])
    async with calling(copilot, ScriptedTier("cloud")) as client:
        states = [(await ask(client)).json()["state"] for _ in range(5)]

    assert states == ["closed"] * 5


async def test_f61_exactly_one_of_fifty_callers_probes():
    clock = ManualClock()
    copilot = ScriptedTier("copilot", *[[down()]] * 3, [0.05, "back"])
    async with calling(copilot, ScriptedTier("cloud"), clock=clock) as client:
        for _ in range(3):
            await ask(client)
        clock.advance(301)
        replies = await asyncio.gather(*(ask(client) for _ in range(50)))
        after = (await client.get("/health")).json()

    backends = [reply.json()["backend"] for reply in replies]
    assert (backends.count("copilot"), backends.count("cloud"), copilot.calls) == (1, 49, 4)
    assert after["circuit_state"] == "closed"


async def test_f62_a_failed_probe_is_answered_by_the_cloud_and_opens_for_longer():
    clock = ManualClock()
    copilot = ScriptedTier("copilot", [down()])
    async with calling(copilot, ScriptedTier("cloud"), clock=clock) as client:
        for _ in range(3):
            await ask(client)
        clock.advance(301)
        probe = await ask(client)
        clock.advance(301)
        later = await ask(client)

    assert (probe.status_code, probe.json()["backend"], probe.json()["state"]) == (200, "cloud", "open")
    assert (copilot.calls, reasons(later)["copilot"]) == (4, "circuit_open")


@pytest.mark.parametrize(
    "end",
    [PromptRefused("no"), RateLimited("copilot", "slow down", wait=5), Unauthorized("copilot", "refused", wait=5)],
)
async def test_f64_a_probe_that_ends_in_a_refusal_is_never_stuck(end):
    clock = ManualClock()
    copilot = ScriptedTier("copilot", *[[down()]] * 3, [end], ["back"])
    async with calling(copilot, ScriptedTier("cloud"), clock=clock) as client:
        for _ in range(3):
            await ask(client)
        clock.advance(301)
        await ask(client)
        clock.advance(6)
        reply = await ask(client)

    assert (reply.json()["backend"], reply.json()["state"]) == ("copilot", "closed")


async def test_f72_this_laptop_answers_when_both_clouds_fail():
    tiers = ScriptedTier("copilot", [down()]), ScriptedTier("cloud", [down("cloud")]), ScriptedTier("local", ["here"])
    async with calling(*tiers) as client:
        reply = await ask(client)

    assert (reply.json()["response"], reply.json()["backend"]) == ("here", "local")
    assert reasons(reply) == {"copilot": "upstream_5xx", "cloud": "upstream_5xx", "local": None}


async def test_f73_when_nobody_can_answer_every_reason_and_cure_is_told():
    local = TierUnreachable("local", "nothing listens", cure="start Ollama")
    tiers = ScriptedTier("copilot", [down()]), ScriptedTier("cloud", [down("cloud")]), ScriptedTier("local", [local])
    async with calling(*tiers) as client:
        reply = await ask(client)

    assert (reply.status_code, reply.json()["code"]) == (503, "no_tier_answered")
    assert reasons(reply) == {"copilot": "upstream_5xx", "cloud": "upstream_5xx", "local": "connect_refused"}
    assert reply.json()["cure"] == "ask again in 5 s; or start Ollama"
    assert int(reply.headers["retry-after"]) == reply.json()["retry_after"]


async def test_f73_retry_after_is_the_shortest_wait():
    clock = ManualClock()
    tiers = [
        ScriptedTier(name, [RateLimited(name, "slow", wait=wait)]) for name, wait in (("copilot", 90), ("cloud", 40))
    ]
    async with calling(*tiers, clock=clock) as client:
        await ask(client)
        clock.advance(10)
        reply = await ask(client)

    assert reply.headers["retry-after"] == "30"


async def test_f74_there_is_no_retry_after_when_only_the_user_can_cure_it():
    missing = Missing("the model llama3 is not installed", "ollama pull llama3", Reason.MODEL_MISSING)
    no_key = Missing("no key is set", "set OPENAI_API_KEY")
    async with calling(ScriptedTier("cloud", missing=no_key), ScriptedTier("local", missing=missing)) as client:
        reply = await ask(client)

    assert (reply.status_code, "retry-after" in reply.headers, reply.json()["retry_after"]) == (503, False, None)
    assert "ollama pull llama3" in reply.json()["cure"]
    assert "set OPENAI_API_KEY" in reply.json()["cure"]


async def test_f88_resets_among_a_hundred_calls_leave_a_closed_circuit():
    copilot = ScriptedTier("copilot", *[[down()]] * 3, [0.01, "back"])
    async with calling(copilot, ScriptedTier("cloud")) as client:
        for _ in range(3):
            await ask(client)
        calls = [ask(client) for _ in range(100)]
        resets = [client.post("/admin/reset") for _ in range(2)]
        replies = await asyncio.gather(*resets, *calls)
        health = (await client.get("/health")).json()

    assert {reply.status_code for reply in replies} == {200}
    assert health["circuit_state"] == "closed"


async def test_f71_a_reset_closes_the_circuit_for_the_next_request():
    copilot = ScriptedTier("copilot", *[[down()]] * 3, ["back"])
    async with calling(copilot, ScriptedTier("cloud")) as client:
        for _ in range(3):
            await ask(client)
        await client.post("/admin/reset")
        reply = await ask(client)

    assert (reply.json()["backend"], reply.json()["state"]) == ("copilot", "closed")


async def test_a_pinned_tier_is_asked_alone_and_its_circuit_respected():
    copilot, cloud = ScriptedTier("copilot", [down()]), ScriptedTier("cloud")
    async with calling(copilot, cloud) as client:
        replies = [await ask(client, tier="copilot") for _ in range(4)]

    assert [reply.status_code for reply in replies] == [503] * 4
    assert (copilot.calls, cloud.calls) == (3, 0)


async def test_local_only_asks_nobody_outside_this_laptop():
    copilot, cloud = ScriptedTier("copilot"), ScriptedTier("cloud")
    async with calling(copilot, cloud, ScriptedTier("local", ["here"])) as client:
        reply = await ask(client, local_only=True)

    assert (reply.json()["backend"], copilot.calls, cloud.calls) == ("local", 0, 0)
    assert reasons(reply)["copilot"] == "local_only"


async def test_a_cut_answer_in_one_piece_is_answered_anew_by_the_next_tier():
    copilot = ScriptedTier("copilot", ["Half a sen", down()])
    async with calling(copilot, ScriptedTier("cloud", ["A whole one."])) as client:
        told = (await ask(client)).json()

    assert (told["response"], told["backend"]) == ("A whole one.", "cloud")
    assert [a["outcome"] for a in told["details"]["attempts"]] == ["interrupted", "answered"]


async def test_an_answer_in_one_piece_that_every_tier_broke_off_keeps_its_longest_text_in_the_problem():
    texts = {"copilot": "Half a sen", "cloud": "Half a sentence of", "local": "Half"}
    async with calling(*(ScriptedTier(tier, [text, down(tier)]) for tier, text in texts.items())) as client:
        reply = await client.post("/ai/query", json={"prompt": "hi"})

    assert (reply.status_code, reply.json()["code"]) == (503, "no_tier_answered")
    assert reply.json()["partial"] == {"response": texts["cloud"], "backend": "cloud", "state": "closed"}


async def test_a_cut_answer_of_a_pinned_tier_keeps_its_text_in_the_problem():
    async with calling(ScriptedTier("copilot", ["Half a sen", down()]), ScriptedTier("cloud")) as client:
        reply = await ask(client, tier="copilot")

    assert (reply.status_code, reply.json()["code"]) == (503, "stream_interrupted")
    assert reply.json()["partial"]["response"] == "Half a sen"


async def test_an_offline_laptop_charges_nobody():
    copilot = ScriptedTier("copilot", [TierUnavailable("copilot", "no way out", reason=Reason.OFFLINE)])
    core = gateway(copilot, ScriptedTier("local", ["here"]))
    async with called(core) as client:
        replies = [await ask(client) for _ in range(4)]

    assert [reply.json()["state"] for reply in replies] == ["closed"] * 4
