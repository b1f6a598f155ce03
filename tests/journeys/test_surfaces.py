"""The compatible surfaces from socket to socket: a client, the server, and simulated providers."""

from __future__ import annotations

import json

import httpx
import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of

from ..server.calling import cut_stream, running
from .conftest import Build, Providers

WHOLE = DEFAULT_ANSWER
CUTS = ["cut_after:40", "end_after:40", "error_after:40", "stall_after:40", "bad_line_after:40"]
TURNS = [{"role": "user", "content": "Tell me."}]
SURFACES = {
    "/v1/chat/completions": {"model": "auto", "messages": TURNS, "stream": True},
    "/v1/responses": {"model": "auto", "input": "Tell me.", "stream": True},
    "/v1/messages": {"model": "auto", "max_tokens": 1000, "messages": TURNS, "stream": True},
    "/api/chat": {"model": "auto", "messages": TURNS},
}


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_no_surface_ends_cleanly(gateway: Build, providers: Providers, path: str, fault: str):
    providers.copilot.script(fault)
    async with running(gateway()) as server:
        received = await cut_stream(server, path, SURFACES[path])

    assert '"error"' in received
    assert tokens_of(WHOLE)[39].strip() in received
    assert not providers.cloud.paid_calls


@pytest.mark.parametrize("path", SURFACES)
async def test_every_surface_is_answered_by_the_cloud_when_copilot_fails(
    gateway: Build, providers: Providers, path: str
):
    providers.copilot.script("status_500")
    async with running(gateway()) as server, httpx.AsyncClient(timeout=30) as client:
        reply = await client.post(f"{server.url}{path}", json={**SURFACES[path], "stream": False})

    assert (reply.status_code, reply.headers["x-ai-gateway-backend"]) == (200, "cloud")
    assert WHOLE in reply.text


async def test_tools_reach_the_provider_and_its_calls_come_back(gateway: Build, providers: Providers):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    async with running(gateway()) as server, httpx.AsyncClient(timeout=30) as client:
        request = {"model": "auto", "messages": TURNS, "tools": [tool]}
        reply = await client.post(f"{server.url}/v1/chat/completions", json=request)

    sent = json.dumps(providers.copilot.paid_calls[-1].body)
    assert "weather" in sent
    assert reply.status_code == 200
