"""Daily budgets over real sockets: what providers count on the wire, shared by two gateways of one user."""

from __future__ import annotations

import pytest

from .conftest import Build, Providers

SHARED = {"ai_gateway_store": "sqlite", "github_copilot_token": None}


async def test_two_gateways_of_one_user_spend_one_budget(gateway: Build, providers: Providers):
    one, other = (gateway(**SHARED, cloud_daily_tokens=20) for _ in range(2))
    backends = []
    for asked in (one, other) * 4:
        backends.append((await asked.ask("Why is the sky blue?")).backend)

    asked_cloud = len(providers.cloud.calls_to("/v1/chat/completions"))
    assert backends == ["cloud"] * asked_cloud + ["local"] * (8 - asked_cloud)
    assert 1 <= asked_cloud < 6
    (first, second) = [next(t.budget for t in (await g.status()).tiers if t.backend == "cloud") for g in (one, other)]
    assert first == second
    assert first["tokens"] >= 20
    assert first["estimated_tokens"] == 0


async def test_an_answer_cut_on_the_wire_is_counted_by_estimate(gateway: Build, providers: Providers):
    providers.cloud.script("cut_after:20")
    asked = gateway(**SHARED, cloud_daily_tokens=100_000)
    answer = await asked.ask("Why is the sky blue?")
    budget = next(t.budget for t in (await asked.status()).tiers if t.backend == "cloud")

    assert answer.backend == "local"
    assert budget["tokens"] == budget["estimated_tokens"] >= 5


@pytest.mark.parametrize("limit", [{"cloud_daily_tokens": 5}, {"cloud_daily_cost": 0.000001}])
async def test_embeddings_spend_the_same_budget(gateway: Build, providers: Providers, limit: dict):
    asked = gateway(**SHARED, **limit)
    await asked.embed(["Why is the sky blue, and the grass green?"] * 4)

    assert (await asked.ask("Why is the sky blue?")).backend == "local"
