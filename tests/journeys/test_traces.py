"""Traces as a collector receives them: one request, one span for each call, and nothing that was said."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes, server_attributes

from gateway_core import AllTiersFailed, Gateway, PromptRefused, Settings, SettingsInvalid
from gateway_core.extras import how_to_add
from gateway_core.testing import ScriptedTier
from gateway_core.tracing import start
from server import create_app

from .canaries import ANSWER, CLOUD, CONTENTS, COPILOT, DOCUMENT, LOCAL, PROMPT, SYSTEM, TOKENS, found
from .collector import Collector, Span, collecting
from .conftest import Build, Providers, serving

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KNOWN = {
    value
    for module in (error_attributes, gen_ai_attributes, server_attributes)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "FASTAPI_OTEL")):
            monkeypatch.delenv(name)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def by_name(collector: Collector) -> dict[str, Span]:
    return {span.name: span for span in collector.spans}


async def test_a_plain_answer_is_a_request_and_its_one_call(gateway: Build, collector: Collector, providers: Providers):
    traced = gateway(ai_gateway_otel=True)
    before = time.time_ns()
    answer = await traced.ask("Tell me.")
    await traced.aclose()

    request, call = collector.spans
    assert (request.name, request.kind, request.parent, request.error) == ("ask", "internal", "", False)
    assert (call.name, call.kind, call.parent, call.trace) == (
        f"chat {answer.model}", "client", request.id, request.trace
    )  # fmt: skip
    address = httpx.URL(providers.copilot.url)
    assert call.facts == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "github",
        "gen_ai.request.model": answer.model,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": answer.model,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": answer.usage.input_tokens,
        "gen_ai.usage.output_tokens": answer.usage.output_tokens,
        "server.address": address.host,
        "server.port": address.port,
        "ai_gateway.backend": "copilot",
        "ai_gateway.mode": "copilot",
        "ai_gateway.outcome": "answered",
        "ai_gateway.may_have_billed": True,
        "ai_gateway.time_to_first_text": call.facts["ai_gateway.time_to_first_text"],
    }
    assert request.facts["ai_gateway.request.id"] == answer.id
    assert before - 1_000_000 <= request.begun <= call.begun <= call.ended <= request.ended + 1_000_000
    assert collector.resource["service.name"] == "ai-gateway"
    assert [head.split("\n")[0] for head in collector.heads] == ["/v1/traces"]


async def test_every_name_is_one_of_the_conventions_or_our_own(
    gateway: Build, collector: Collector, providers: Providers
):
    providers.copilot.script(then="status_500")
    traced = gateway(ai_gateway_otel=True)
    await traced.ask("Tell me.", documents=["One.", "Two."])
    await traced.aclose()

    names = {name for span in collector.spans for name in span.facts}
    assert {name for name in names if not name.startswith("ai_gateway.")} <= KNOWN
    assert len(names & KNOWN) > 8
    reference = (Path(__file__).parents[2] / "docs" / "observability.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in reference] == []


async def test_a_failover_is_two_calls_the_first_with_its_error(
    gateway: Build, collector: Collector, providers: Providers
):
    providers.copilot.script(then="status_503")
    traced = gateway(ai_gateway_otel=True)
    answer = await traced.ask("Tell me.")
    await traced.aclose()

    request, failed, answered = collector.spans
    assert (failed.error, failed.facts["error.type"], failed.facts["ai_gateway.outcome"]) == (
        True, "upstream_5xx", "failed"
    )  # fmt: skip
    assert failed.name.startswith("chat ")
    assert (answered.error, "error.type" in answered.facts) == (False, False)
    assert answered.facts["gen_ai.provider.name"] == "openai"
    assert answered.facts["gen_ai.response.model"] == answer.model
    assert (request.error, request.facts["ai_gateway.backend"]) == (False, "cloud")
    assert failed.ended <= answered.begun + 1_000_000
    assert request.events == []


async def test_a_cut_is_told_as_a_takeover(gateway: Build, collector: Collector, providers: Providers):
    providers.copilot.script(then="cut_after:40")
    traced = gateway(ai_gateway_otel=True)
    async with aclosing(traced.stream("Tell me.")) as events:
        async for _ in events:
            pass
    await traced.aclose()

    request, cut, carried_on = collector.spans
    assert (cut.error, cut.facts["ai_gateway.outcome"]) == (True, "interrupted")
    assert "gen_ai.response.finish_reasons" not in cut.facts
    assert carried_on.facts["gen_ai.response.finish_reasons"] == ["stop"]
    assert request.facts["ai_gateway.segments"] == 2
    assert request.events == [
        (
            "ai_gateway.takeover",
            {
                "ai_gateway.from": "copilot",
                "ai_gateway.to": "cloud",
                "ai_gateway.action": "continue",
                "error.type": cut.facts["error.type"],
            },
        )
    ]


async def test_a_request_that_nobody_answers_is_an_error_with_every_reason(
    gateway: Build, collector: Collector, providers: Providers
):
    providers.copilot.script(then="status_500")
    providers.cloud.script(then="hang")
    providers.ollama.stop()
    traced = gateway(ai_gateway_otel=True)
    with pytest.raises(AllTiersFailed):
        await traced.ask("Tell me.")
    await traced.aclose()

    request, *calls = collector.spans
    assert (request.error, request.facts["error.type"]) == (True, "no_tier_answered")
    assert [(call.error, call.facts["error.type"]) for call in calls] == [
        (True, "upstream_5xx"), (True, "first_token_timeout"), (True, "connect_refused"),
    ]  # fmt: skip
    skipped = [facts["ai_gateway.mode"] for name, facts in request.events if name == "ai_gateway.skipped"]
    assert skipped == ["openai_compatible", "embedded", "extractive"]


async def test_documents_are_a_retrieval_and_numbers(gateway: Build, collector: Collector, providers: Providers):
    traced = gateway(ai_gateway_otel=True)
    await traced.ask("What of the heron?", documents=["The heron left.", "The pond froze."])
    await traced.aclose()

    request, retrieval, call = collector.spans
    assert (request.name, retrieval.name, retrieval.kind, retrieval.parent) == (
        "rag", "retrieval", "internal", request.id
    )  # fmt: skip
    assert retrieval.facts["gen_ai.operation.name"] == "retrieval"
    assert retrieval.facts["ai_gateway.retrieval.documents"] == 2
    assert retrieval.ended <= call.begun + 1_000_000


async def test_vectors_are_a_request_and_their_calls(gateway: Build, collector: Collector, providers: Providers):
    providers.cloud.stop()
    traced = gateway(ai_gateway_otel=True)
    with pytest.raises(AllTiersFailed):
        await traced.embed([PROMPT], tier="cloud", traceparent=f"00-{TRACE}-{CALLER}-01")
    providers.cloud.start()
    found_vectors = await traced.embed([PROMPT, DOCUMENT], tier="cloud")
    record = await traced.journal.find(found_vectors.id)
    await traced.aclose()

    failed, first, answered, call = collector.spans
    assert (failed.name, failed.error, failed.trace, failed.parent) == ("embed", True, TRACE, CALLER)
    assert (first.parent, first.error, first.facts["error.type"]) == (failed.id, True, "connect_refused")
    assert (answered.name, answered.error, call.name) == ("embed", False, f"embeddings {found_vectors.model}")
    assert (call.kind, call.facts["gen_ai.operation.name"]) == ("client", "embeddings")
    assert call.facts["server.address"] == "127.0.0.1"
    assert call.facts["gen_ai.usage.input_tokens"] == found_vectors.usage.input_tokens
    assert found(CONTENTS, b"".join(collector.bodies)) == []
    assert record is not None
    assert (record["task"], record["outcome"], record["model"]) == ("embed", "answered", found_vectors.model)


async def test_no_prompt_answer_document_or_key_is_exported(gateway: Build, collector: Collector, providers: Providers):
    for simulator in (providers.copilot, providers.cloud, providers.ollama):
        simulator.answer = ANSWER
    keys = {"github_copilot_token": COPILOT, "openai_api_key": CLOUD, "local_api_key": LOCAL}
    traced = gateway(ai_gateway_otel=True, **keys)
    quoting = "status_500:message=CANARYPROMPT", "status_400:message=CANARYDOCUMENT"
    for fault in ("ok", "cut_after:9", *quoting, "bad_json", "error_after:3:message=CANARYANSWER", "hang"):
        for options in ({}, {"documents": [DOCUMENT]}):
            providers.copilot.script(fault)
            with suppress(PromptRefused):
                async with aclosing(traced.stream(PROMPT, system=SYSTEM, **options)) as events:
                    async for _ in events:
                        pass
            await traced.reset()
    await traced.aclose()

    everything = b"".join(collector.bodies) + "".join(collector.heads).encode()
    assert len(collector.spans) > 25
    assert found((*TOKENS, *CONTENTS), everything) == []


async def test_the_callers_trace_is_continued_and_no_provider_hears_of_it(
    collector: Collector, providers: Providers, gateway: Build
):
    traced = gateway(ai_gateway_otel=True)
    transport = httpx.ASGITransport(app=create_app(traced))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        for stream in (False, True):
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=secret"}
            await client.post("/ai/query", json={"prompt": "x", "stream": stream}, headers=headers)
        body = {"messages": [{"role": "user", "content": "x"}]}
        await client.post("/v1/chat/completions", json=body, headers=headers)
        for wrong in (f"00-{'0' * 32}-{CALLER}-01", "nonsense", f"ff-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-01\t"):
            await client.post("/ai/query", json={"prompt": "x"}, headers={"traceparent": wrong})
    await traced.aclose()

    requests = [span for span in collector.spans if span.name == "ask"]
    assert [(span.trace == TRACE, span.parent) for span in requests[:3]] == [(True, CALLER)] * 3
    assert all((span.trace != TRACE, span.parent) == (True, "") for span in requests[3:6])
    sent = [name for call in providers.copilot.calls for name in call.headers]
    assert sent
    assert {"traceparent", "tracestate", "baggage"} & {name.lower() for name in sent} == set()


async def test_an_unsampled_callers_trace_is_not_exported(collector: Collector):
    async with Gateway(
        [ScriptedTier("copilot")], settings=Settings(ai_gateway_store="memory"), traces=start()
    ) as traced:
        await traced.ask("x", traceparent=f"00-{TRACE}-{CALLER}-00")
    assert collector.bodies == []


@pytest.mark.parametrize("trouble", ["refused", "500", "503", "silent"])
async def test_a_collector_in_trouble_costs_one_line_and_no_answer(
    trouble: str, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if trouble == "silent":
            silent.listen()
        if trouble in ("refused", "silent"):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        else:
            collector.status = int(trouble)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
        caplog.set_level(logging.INFO)
        before = set(threading.enumerate())
        settings = Settings(ai_gateway_store="memory")
        async with Gateway([ScriptedTier("copilot")], settings=settings, traces=start()) as traced:
            for _ in range(5):
                begun = time.monotonic()
                assert (await traced.ask("x")).text == "ok"
                assert time.monotonic() - begun < 1
                await asyncio.sleep(0.1)
            begun = time.monotonic()
        assert time.monotonic() - begun < 8  # 2.5 s, on a quiet machine
        mine = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("Otel")]
        for thread in mine:
            await asyncio.to_thread(thread.join, 20)
        assert not any(thread.is_alive() for thread in mine)

    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert told[0].startswith("traces are not taken at 127.0.0.1:")


async def test_this_laptop_is_not_asked_through_a_proxy(collector: Collector, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Gateway(
        [ScriptedTier("copilot")], settings=Settings(ai_gateway_store="memory"), traces=start()
    ) as traced:
        await traced.ask("x")
    assert len(collector.spans) == 2


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf only"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "must be an address such as http://127.0.0.1:4318"),
    ],
)
def test_what_cannot_be_exported_to_is_told_at_the_start(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=told):
        Gateway.from_settings(Settings(ai_gateway_otel=True, ai_gateway_store="memory"))


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_standard_switches_switch_it_off(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start() is None


def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)


def test_a_missing_extra_is_one_clear_line():
    script = """
import sys
sys.modules["opentelemetry.sdk"] = None
from gateway_core.cli import main
sys.exit(main(["ask", "x"]))
"""
    done = run(script, AI_GATEWAY_OTEL="1")

    assert done.returncode == 2
    assert done.stderr == f"ai-gateway: AI_GATEWAY_OTEL: needs its extra: {how_to_add('otel')}; or unset it\n"


def test_switched_off_nothing_of_it_is_imported():
    """Neither by a request nor by a server; FastAPI itself imports the bare API."""
    script = """
import asyncio, sys
from gateway_core import AllTiersFailed, Gateway, Settings
async def main():
    async with Gateway.from_settings(Settings()) as gateway:
        try:
            await gateway.ask("x")
        except AllTiersFailed:
            pass
asyncio.run(main())
print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf", "requests"))])
from server import create_app
create_app()
print([n for n in sys.modules if n.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf"))])
"""
    done = run(script, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert (done.stdout, done.returncode) == ("[]\n[]\n", 0), done.stderr


async def test_a_server_sends_its_spans_when_it_stops_and_the_framework_sends_none(
    collector: Collector, providers: Providers, empty_home: Any
):
    variables = {
        "AI_GATEWAY_OTEL": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
    }
    with serving(providers, empty_home, **variables) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            asked = await client.post("/ai/query?secret=CANARYPROMPT", json={"prompt": "x", "details": True})
            await client.post("/ai/query", content=b"{", headers={"content-type": "application/json"})

    assert [span.facts["ai_gateway.request.id"] for span in collector.spans if span.name == "ask"] == [
        asked.json()["details"]["id"]
    ]
    assert {span.scope for span in collector.spans} == {"ai_gateway"}
    assert {head.split("\n")[0] for head in collector.heads} == {"/v1/traces"}
    assert found(CONTENTS, b"".join(collector.bodies)) == []
