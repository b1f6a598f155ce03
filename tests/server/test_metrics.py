"""What a scraper reads."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway_core import Usage
from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason
from server.exposition import Counter, Histogram

from ..environments import environment
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

    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "canary" not in reply.text
    assert all(LINE.fullmatch(line) for line in reply.text.split("\n") if line and line[0] != "#")
    told = numbers(reply.text)
    attempts = "ai_gateway_attempts_total"
    assert told[f'{attempts}{{backend="copilot",mode="copilot",outcome="failed",reason="upstream_5xx"}}'] == 3
    assert told[f'{attempts}{{backend="copilot",mode="copilot",outcome="skipped",reason="circuit_open"}}'] == 1
    assert told['ai_gateway_answers_total{backend="cloud",finish_reason="stop",mode="cloud"}'] == 4
    assert told['ai_gateway_failovers_total{from="copilot",to="cloud"}'] == 4
    assert told['ai_gateway_tokens_total{backend="cloud",direction="input",mode="cloud"}'] == 28
    assert told['ai_gateway_circuit_state{backend="copilot",mode="copilot"}'] == 2
    assert told['ai_gateway_tier_available{backend="copilot",mode="copilot"}'] == 0
    assert told['ai_gateway_request_seconds_count{backend="cloud",mode="cloud",outcome="answered"}'] == 4
    assert told['ai_gateway_request_seconds_bucket{backend="cloud",mode="cloud",outcome="answered",le="+Inf"}'] == 4
    assert told['ai_gateway_requests_total{outcome="unanswered",task="ask"}'] == 0


async def test_takeovers_and_unanswered_requests_are_counted():
    cut = TierBroken("copilot", reason=Reason.RESET)
    tiers = ScriptedTier("copilot", ["Half ", cut], [cut]), ScriptedTier("cloud", ["more"], [cut])
    async with calling(*tiers) as client:
        for _ in range(2):
            await client.post("/ai/query", json={"prompt": "x", "stream": True})
        told = numbers((await client.get("/metrics")).text)

    assert told['ai_gateway_takeovers_total{action="continue",from="copilot",to="cloud"}'] == 1
    assert told['ai_gateway_requests_total{outcome="unanswered",task="ask"}'] == 1
    # The reader saw Copilot's words first, and the cloud's tokens are the cloud's.
    assert told['ai_gateway_first_token_seconds_count{backend="copilot",mode="copilot"}'] == 1
    assert told['ai_gateway_tier_first_token_seconds_count{backend="cloud",mode="cloud"}'] == 1


async def test_no_listener_stumbles_over_any_kind_of_request(caplog: pytest.LogCaptureFixture):
    async with calling(ScriptedTier("copilot", ["ok"])) as client:
        await client.post("/ai/query", json={"prompt": "x"})
        await client.post("/v1/embeddings", json={"model": "auto", "input": "x"})
        told = numbers((await client.get("/metrics")).text)

    assert told['ai_gateway_requests_total{outcome="unanswered",task="embed"}'] == 1
    assert [record.getMessage() for record in caplog.records if "a listener of" in record.getMessage()] == []


def test_large_counts_stay_exact():
    counter = Counter("tokens_total", "Tokens.")
    counter.add(12_345_678)
    counter.add(0.25, kind="part")

    assert list(counter.lines()) == ["tokens_total 12345678", 'tokens_total{kind="part"} 0.25']


def test_a_bucket_holds_what_took_as_long_as_its_bound():
    histogram = Histogram("wait_seconds", "Waits.", (0.05, 1.0))
    for seconds in (0.0, 0.05, 0.06, 1.0, 300.0):
        histogram.see(seconds)

    assert list(histogram.lines())[:3] == [
        'wait_seconds_bucket{le="0.05"} 2', 'wait_seconds_bucket{le="1.0"} 4', 'wait_seconds_bucket{le="+Inf"} 5',
    ]  # fmt: skip


async def test_the_reference_lists_every_family_and_no_other():
    async with calling(ScriptedTier("copilot")) as client:
        page = (await client.get("/metrics")).text
    served = {tuple(line.split()[2:4]) for line in page.splitlines() if line.startswith("# TYPE")}
    reference = (Path(__file__).parents[2] / "docs" / "observability.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^\| `(ai_gateway_[a-z_]+)` \| ([a-z]+) \|", reference, re.MULTILINE)) == served


# Reads the page by the official client's parser, and says what it understood.
PARSER = """
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([
    {"name": f.name, "kind": f.type, "help": f.documentation,
     "samples": [[s.name, s.labels, s.value] for s in f.samples]}
    for f in text_string_to_metric_families(sys.stdin.read())
]))
"""


def parsed(page: str) -> dict[str, Any]:
    python = str(environment("prometheus") / "python")
    done = subprocess.run([python, "-c", PARSER], input=page, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {family["name"]: family for family in json.loads(done.stdout)}


@pytest.mark.slow
async def test_the_official_parser_reads_every_family_and_its_numbers():
    failing = TierBroken("copilot", "canary", reason=Reason.UPSTREAM_5XX)
    copilot = ScriptedTier("copilot", ["Half ", failing], [failing], [failing], ["never asked"])
    cloud = ScriptedTier("cloud", ["more", Chunk(finish_reason="length", usage=Usage(3_000_001, 2), model="canary")])
    local = ScriptedTier("local", needs_documents=True, is_model=False, mode="extractive")
    async with calling(copilot, cloud, local) as client:
        bodies = [{"prompt": "x", "stream": True}, {"prompt": "x"}, {"prompt": "x"}, {"prompt": "x"}]
        for body in bodies:
            await client.post("/ai/query", json={**body, "model": "canary", "system": "canary"})
        await client.post("/ai/query/rag", json={"prompt": "x", "documents": ["canary"]})
        await client.post("/ai/query", json={"prompt": " "})
        page = (await client.get("/metrics")).text
    families = parsed(page)

    def value(name: str, **labels: str) -> float:
        family = families[name.removesuffix("_total").removesuffix("_count")]
        (found,) = [v for n, told, v in family["samples"] if n == name and told.items() >= labels.items()]
        return found

    # Copilot: cut, two failures, then its circuit is open; the cloud answers all.
    assert value("ai_gateway_attempts_total", backend="copilot", outcome="interrupted", reason="upstream_5xx") == 1
    assert value("ai_gateway_attempts_total", backend="copilot", outcome="failed", reason="upstream_5xx") == 2
    assert value("ai_gateway_attempts_total", backend="copilot", outcome="skipped", reason="circuit_open") == 2
    assert value("ai_gateway_answers_total", backend="cloud", finish_reason="length") == 5
    assert value("ai_gateway_failovers_total", **{"from": "copilot", "to": "cloud"}) == 5
    assert value("ai_gateway_takeovers_total", action="continue") == 1
    assert value("ai_gateway_tokens_total", backend="cloud", direction="input") == 15_000_005
    assert value("ai_gateway_requests_total", task="rag", outcome="answered") == 1
    assert value("ai_gateway_requests_total", task="ask", outcome="refused") == 1
    assert value("ai_gateway_retrieval_seconds_count") == 1
    assert value("ai_gateway_circuit_state", backend="copilot") == 2
    assert value("ai_gateway_tier_available", backend="cloud") == 1

    assert "canary" not in page
    for name, family in families.items():
        assert name.startswith("ai_gateway_")
        assert family["help"].endswith(".")
        assert family["kind"] in ("counter", "gauge", "histogram")
        for sample, labels, _ in family["samples"]:
            if family["kind"] == "counter":
                assert sample.endswith("_total")
            assert set(labels) <= {
                "backend", "mode", "outcome", "reason", "task", "from", "to", "action", "direction", "finish_reason",
                "state", "version", "le",
            }  # fmt: skip
        if family["kind"] == "histogram":
            assert name.endswith("_seconds")
            counted(family["samples"])


def counted(samples: list[Any]) -> None:
    """Buckets only grow, from 50 ms to 300 s, and the last one is the count."""
    groups: dict[str, list[tuple[float, float]]] = {}
    counts: dict[str, float] = {}
    for name, labels, value in samples:
        key = json.dumps({k: v for k, v in labels.items() if k != "le"}, sort_keys=True)
        if name.endswith("_bucket"):
            groups.setdefault(key, []).append((float(labels["le"]), value))
        elif name.endswith("_count"):
            counts[key] = value
    for key, buckets in groups.items():
        assert buckets == sorted(buckets)
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert (buckets[0][0], buckets[-2][0], buckets[-1]) == (0.05, 300.0, (float("inf"), counts[key]))
