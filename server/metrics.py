"""What happened since the start, for Prometheus: counted from telemetry, so nothing is counted twice.

No label holds anything that a caller or a provider sent: tiers, modes, and the closed lists of outcomes, reasons and
finish reasons only. `docs/observability.md` lists the names; they are kept from version to version.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from gateway_core import Gateway, __version__
from gateway_core.errors import EXPECTED

from .exposition import Counter, Gauge, Histogram, page

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)  # seconds
CIRCUIT_STATES = {"closed": 0, "half_open": 1, "open": 2}
TASKS = ("ask", "rag", "embed")
OUTCOMES = ("answered", "interrupted", "unanswered", "refused", "cancelled", "failed")


class Metrics:
    """Listens to a gateway from now on; `page` is what a scraper reads."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._info = Gauge("ai_gateway_info", "Always 1; the version is a label.")
        self._info.put(1, version=__version__)
        self._requests = Counter("ai_gateway_requests_total", "Requests that have ended, by how they ended.")
        for task in TASKS:
            for outcome in OUTCOMES:  # there from the start, so that the first of a kind is seen to rise
                self._requests.add(0, task=task, outcome=outcome)
        self._attempts = Counter("ai_gateway_attempts_total", "Tiers asked or left out, by outcome and reason.")
        self._answers = Counter("ai_gateway_answers_total", "Whole answers, by the tier that finished them.")
        self._failovers = Counter(
            "ai_gateway_failovers_total", "Whole answers by another tier than the first that should have been asked."
        )
        self._takeovers = Counter("ai_gateway_takeovers_total", "Tiers that took over an answer that had broken off.")
        self._tokens = Counter("ai_gateway_tokens_total", "Tokens as the providers counted them.")
        self._credits = Counter("ai_gateway_credits_total", "Copilot AI credits.")
        self._credits.add(0)
        self._trips = Counter("ai_gateway_circuit_changes_total", "Circuits that changed, by their new state.")
        self._first = Histogram(
            "ai_gateway_first_token_seconds", "From the request to its first visible text, by who wrote it.", BUCKETS
        )
        self._tier_first = Histogram(
            "ai_gateway_tier_first_token_seconds", "From asking a tier to its first visible text.", BUCKETS
        )
        self._whole = Histogram(
            "ai_gateway_request_seconds", "From the request to its end, by the last writer and outcome.", BUCKETS
        )
        self._retrieval = Histogram("ai_gateway_retrieval_seconds", "Reading documents and choosing passages.", BUCKETS)
        self._state = Gauge("ai_gateway_circuit_state", "0 closed, 1 half open, 2 open.")
        self._lit = Gauge("ai_gateway_tier_available", "1: the next plain request would ask it.")
        self._hear = {"attempt": self._attempt, "request": self._request, "circuit": self._circuit}
        self.stop = gateway.telemetry.listen(self._listen)

    async def page(self) -> str:
        self._state.clear()
        self._lit.clear()
        for tier in (await self._gateway.status()).tiers:
            labels = {"backend": tier.backend, "mode": tier.mode}
            self._state.put(CIRCUIT_STATES.get(tier.circuit.state, 0), **labels)
            self._lit.put(int(tier.available), **labels)
        return page(
            (
                self._info, self._requests, self._attempts, self._answers, self._failovers, self._takeovers,
                self._tokens, self._credits, self._trips, self._first, self._tier_first, self._whole, self._retrieval,
                self._state, self._lit,
            )
        )  # fmt: skip

    def _listen(self, happening: Any) -> None:
        if hear := self._hear.get(happening.kind):
            hear(happening.facts)

    def _attempt(self, facts: Mapping[str, Any]) -> None:
        labels = {"backend": facts["backend"], "mode": facts["mode"]}
        self._attempts.add(**labels, outcome=facts["outcome"], reason=facts["reason"] or "")
        if facts["first_token_ms"] is not None:
            self._tier_first.see((facts["first_token_ms"] - facts["begun_ms"]) / 1000, **labels)
        for direction in ("input", "output"):
            if count := facts[f"{direction}_tokens"]:
                self._tokens.add(count, **labels, direction=direction)

    def _request(self, facts: Mapping[str, Any]) -> None:
        outcome, attempts = facts["outcome"], facts["attempts"]
        labels = {"backend": facts.get("backend", ""), "mode": facts.get("mode", "")}
        self._requests.add(task=facts["task"], outcome=outcome)
        self._whole.see(facts["ms"] / 1000, **labels, outcome=outcome)
        if outcome == "answered":
            if "finish_reason" in facts:  # embeddings have none
                self._answers.add(**labels, finish_reason=facts["finish_reason"])
            first = next((a["backend"] for a in attempts if a["reason"] not in EXPECTED), facts["backend"])
            if first != facts["backend"]:
                self._failovers.add(**{"from": first, "to": facts["backend"]})
        if facts.get("credits"):
            self._credits.add(facts["credits"])
        if "retrieval" in facts:
            self._retrieval.see(facts["retrieval"]["ms"] / 1000)
        writers = [a for a in attempts if a["first_token_ms"] is not None]
        if writers:
            shown = writers[0]
            self._first.see(shown["first_token_ms"] / 1000, backend=shown["backend"], mode=shown["mode"])
        for broken, next_one in pairwise(writers):
            if broken["outcome"] == "interrupted":
                told = {"from": broken["backend"], "to": next_one["backend"], "action": next_one["action"]}
                self._takeovers.add(**told)

    def _circuit(self, facts: Mapping[str, Any]) -> None:
        self._trips.add(backend=facts["backend"], state=facts["state"])
