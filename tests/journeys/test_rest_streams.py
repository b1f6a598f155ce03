"""Over REST, from socket to socket: a client, the server, and simulated providers."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of

from ..server.calling import cut_stream, events, running, shown, until
from .conftest import Build, Providers

WHOLE = DEFAULT_ANSWER
FORTY = "".join(tokens_of(WHOLE)[:40])
CUTS = ["cut_after:40", "end_after:40", "error_after:40", "stall_after:40", "bad_line_after:40"]
TURNS = [{"role": "user", "content": "Tell me."}]
SURFACES = {
    "/v1/chat/completions": {"model": "auto", "messages": TURNS, "stream": True},
    "/v1/responses": {"model": "auto", "input": "Tell me.", "stream": True},
    "/v1/messages": {"model": "auto", "max_tokens": 1000, "messages": TURNS, "stream": True},
    "/api/chat": {"model": "auto", "messages": TURNS},
}


async def ask(server, **fields):
    async with httpx.AsyncClient(timeout=30) as client:
        reply = await client.post(f"{server.url}/ai/query", json={"prompt": "Tell me.", **fields})
    return reply


async def test_f01_a_question_is_answered_by_copilot(gateway: Build, providers: Providers):
    async with running(gateway()) as server:
        reply = await ask(server)

    assert reply.json() == {"response": WHOLE, "backend": "copilot", "state": "closed"}


@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_a_stream_goes_on_without_gap_or_repeat(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    async with running(gateway()) as server:
        heard = events((await ask(server, stream=True, details=True)).content)

    assert shown(heard) == heard[-1].data["response"] == WHOLE
    assert [s["backend"] for s in heard[-1].data["details"]["segments"]] == ["copilot", "cloud"]


@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_stop_ends_in_an_error_event(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    async with running(gateway()) as server:
        heard = events((await ask(server, stream=True, on_interrupt="stop")).content)

    assert (shown(heard), heard[-1].name, heard[-1].data["code"]) == (FORTY, "error", "stream_interrupted")
    assert not providers.cloud.paid_calls


@pytest.mark.parametrize("fault", CUTS)
async def test_f54_restart_shows_only_the_new_answer(gateway: Build, providers: Providers, fault: str):
    providers.copilot.script(fault)
    async with running(gateway()) as server:
        heard = events((await ask(server, stream=True, on_interrupt="restart")).content)

    assert shown(heard) == heard[-1].data["response"] == WHOLE


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_no_surface_ends_cleanly(gateway: Build, providers: Providers, path: str, fault: str):
    providers.copilot.script(fault)
    async with running(gateway()) as server:
        received = await cut_stream(server, path, SURFACES[path])

    assert '"error"' in received
    assert tokens_of(WHOLE)[39].strip() in received
    assert not providers.cloud.paid_calls


@pytest.mark.parametrize("fault", ["hang", "stall_after:3"])
@pytest.mark.parametrize("stream", [False, True])
async def test_f55_f56_hanging_up_closes_the_upstream(gateway: Build, providers: Providers, fault: str, stream: bool):
    core = gateway(first_token_timeout=30, stall_timeout=30)
    async with running(core) as server:
        await core.status()
        providers.copilot.script(fault)
        _, writer = await server.send(server.post("/ai/query", {"prompt": "Tell me.", "stream": stream}))
        await until(lambda: bool(providers.copilot.paid_calls))
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await until(lambda: providers.copilot.paid_calls[-1].disconnected, 1.0)
        health = (await core.health()).circuit_state

    assert health == "closed"


async def test_f59_three_faults_and_the_fourth_request_does_not_touch_copilot(gateway: Build, providers: Providers):
    providers.copilot.script("status_500", "status_500", "status_500")
    async with running(gateway()) as server:
        states = [(await ask(server)).json()["state"] for _ in range(4)]

    assert states == ["closed", "closed", "open", "open"]
    assert len(providers.copilot.paid_calls) == 3


async def test_f73_nobody_can_answer(gateway: Build, providers: Providers):
    for simulator in (providers.copilot, providers.cloud, providers.ollama):
        simulator.script("status_500", then="status_500")
    async with running(gateway()) as server:
        reply = await ask(server)

    assert (reply.status_code, reply.json()["code"]) == (503, "no_tier_answered")
    assert {a["backend"] for a in reply.json()["attempts"]} == {"copilot", "cloud", "local"}
    assert "retry-after" in reply.headers


async def test_tools_reach_the_provider_and_its_calls_come_back(gateway: Build, providers: Providers):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    async with running(gateway()) as server, httpx.AsyncClient(timeout=30) as client:
        request = {"model": "auto", "messages": TURNS, "tools": [tool]}
        reply = await client.post(f"{server.url}/v1/chat/completions", json=request)

    sent = json.dumps(providers.copilot.paid_calls[-1].body)
    assert "weather" in sent
    assert reply.status_code == 200
