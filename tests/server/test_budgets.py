"""Daily budgets as callers of the server meet them."""

from __future__ import annotations

from datetime import datetime

from gateway_core import Usage
from gateway_core.testing import ManualClock, ScriptedTier
from gateway_core.types import Chunk

from .calling import calling

ANSWER = ["Hi", Chunk(finish_reason="stop", usage=Usage(60, 40))]
EVENING = datetime(2026, 11, 23, 23, 0).timestamp()


async def test_a_pinned_tier_whose_budget_is_spent_is_a_503_until_midnight():
    clock = ManualClock(wall=EVENING)
    cloud, local = ScriptedTier("cloud", ANSWER), ScriptedTier("local")
    async with calling(cloud, local, clock=clock, cloud_daily_tokens=100) as client:
        first = await client.post("/ai/query", json={"prompt": "x"})
        free = await client.post("/ai/query", json={"prompt": "x"})
        pinned = await client.post("/ai/query", json={"prompt": "x", "tier": "cloud"})
        chat = {"model": "cloud", "messages": [{"role": "user", "content": "x"}]}
        openai = await client.post("/v1/chat/completions", json=chat)
        status = (await client.get("/status")).json()["tiers"][0]
        await client.post("/admin/reset")
        after_reset = await client.post("/ai/query", json={"prompt": "x"})
        clock.advance(3601)
        next_day = await client.post("/ai/query", json={"prompt": "x"})

    problem = pinned.json()
    answered = [reply.json()["backend"] for reply in (first, free, after_reset, next_day)]
    assert answered == ["cloud", "local", "local", "cloud"]
    assert (pinned.status_code, pinned.headers["retry-after"]) == (503, "3600")
    assert [a["reason"] for a in problem["attempts"]] == ["budget_spent"]
    assert "CLOUD_DAILY_TOKENS" in problem["cure"]
    assert (openai.status_code, openai.json()["error"]["ai_gateway"]["retry_after"]) == (503, 3600)
    assert (status["budget"]["tokens"], status["budget"]["tokens_limit"], status["available"]) == (100, 100, False)


async def test_the_status_of_a_tier_without_a_budget_says_so():
    async with calling(ScriptedTier("cloud"), ScriptedTier("local"), cloud_daily_cost=1.5) as client:
        cloud, local = (await client.get("/status")).json()["tiers"]

    assert (cloud["budget"]["cost_limit"], cloud["budget"]["tokens_limit"], local["budget"]) == (1.5, None, None)
