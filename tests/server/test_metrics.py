"""What a scraper reads."""

from __future__ import annotations

import re

from gateway_core import Usage
from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason

from .calling import calling

LINE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+')


def numbers(page: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in page.split("\n") if line and line[0] != "#")
    }


async def test_attempts_answers_tokens_times_and_circuits_are_counted():
    down = [TierBroken("copilot", reason=Reason.UPSTREAM_5XX)]
    cloud = ScriptedTier("cloud", ["ok", Chunk(finish_reason="stop", usage=Usage(7, 2))])
    async with calling(ScriptedTier("copilot", down), cloud) as client:
        for _ in range(4):
            await client.post("/ai/query", json={"prompt": "canary"})
        reply = await client.get("/metrics")

    assert reply.headers["content-type"].startswith("text/plain")
    assert "canary" not in reply.text
    assert all(LINE.fullmatch(line) for line in reply.text.split("\n") if line and line[0] != "#")
    told = numbers(reply.text)
    attempts = "ai_gateway_attempts_total"
    assert told[f'{attempts}{{backend="copilot",mode="copilot",outcome="failed",reason="upstream_5xx"}}'] == 3
    assert told[f'{attempts}{{backend="copilot",mode="copilot",outcome="skipped",reason="circuit_open"}}'] == 1
    assert told['ai_gateway_answers_total{backend="cloud",finish_reason="stop",mode="cloud"}'] == 4
    assert told['ai_gateway_tokens_total{backend="cloud",direction="input",mode="cloud"}'] == 28
    assert told['ai_gateway_circuit_state{backend="copilot",mode="copilot"}'] == 2
    assert told['ai_gateway_tier_available{backend="copilot",mode="copilot"}'] == 0
    assert told['ai_gateway_answer_seconds_count{backend="cloud",mode="cloud"}'] == 4
    assert told['ai_gateway_answer_seconds_bucket{backend="cloud",mode="cloud",le="+Inf"}'] == 4
    assert told["ai_gateway_unanswered_total"] == 0


async def test_takeovers_and_unanswered_requests_are_counted():
    cut = TierBroken("copilot", reason=Reason.RESET)
    tiers = ScriptedTier("copilot", ["Half ", cut], [cut]), ScriptedTier("cloud", ["more"], [cut])
    async with calling(*tiers) as client:
        for _ in range(2):
            await client.post("/ai/query", json={"prompt": "x", "stream": True})
        told = numbers((await client.get("/metrics")).text)

    assert (told["ai_gateway_takeovers_total"], told["ai_gateway_unanswered_total"]) == (1, 1)
