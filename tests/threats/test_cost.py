"""S19: a program of this laptop that asks in a loop meets the limits that were set, before they are money."""

from __future__ import annotations

from pathlib import Path

import httpx

from ..journeys.conftest import Providers
from .conftest import settings
from .live import live

BUDGET = 400  # tokens; the simulated answer and its question are about a tenth of that


def asked(url: str, times: int, **fields: object) -> list[httpx.Response]:
    with httpx.Client(base_url=url, timeout=30) as client:
        return [client.post("/ai/query", json={"prompt": "spend", **fields}) for _ in range(times)]


def test_s19_a_loop_of_requests_ends_at_the_limit_and_costs_no_more(providers: Providers, tmp_path: Path):
    with live(tmp_path, settings(providers, ai_gateway_max_rpm=5)) as server:
        replies = asked(server.url, 25)

    assert [reply.status_code for reply in replies] == [200] * 5 + [429] * 20
    assert {reply.json()["code"] for reply in replies[5:]} == {"too_many_requests"}
    assert all(0 < int(reply.headers["retry-after"]) <= 60 for reply in replies[5:])
    assert len(providers.copilot.paid_calls) == 5


def test_s19_a_spent_budget_is_spent_for_every_process_until_midnight(providers: Providers, tmp_path: Path):
    chosen = settings(providers, copilot_daily_tokens=BUDGET, cloud_daily_tokens=BUDGET, ai_gateway_store="sqlite")
    for simulator in (providers.copilot, providers.cloud):
        simulator.script(then="usage_last")
    with live(tmp_path, chosen) as server:
        backends = [reply.json()["backend"] for reply in asked(server.url, 60)]
        status = httpx.get(f"{server.url}/status", timeout=30).json()

    assert backends == sorted(backends, key=["copilot", "cloud", "local"].index), "never up again"
    assert backends[-1] == "local"
    spent = [tier["budget"] for tier in status["tiers"] if tier["backend"] in ("copilot", "cloud")]
    assert all(BUDGET <= budget["tokens"] < 2 * BUDGET for budget in spent), spent
    paid = len(providers.copilot.paid_calls + providers.cloud.paid_calls)
    with live(tmp_path, chosen) as server:  # another process, the same user
        (reply,) = asked(server.url, 1)
        (refused,) = asked(server.url, 1, tier="cloud")

    assert reply.json()["backend"] == "local"
    assert (refused.status_code, refused.json()["attempts"][0]["reason"]) == (503, "budget_spent")
    assert len(providers.copilot.paid_calls + providers.cloud.paid_calls) == paid
