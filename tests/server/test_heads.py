"""`HEAD` wherever `GET` is."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway_core.testing import ScriptedTier

from .calling import calling, gateway, running


@pytest.mark.parametrize("path", ["/", "/health", "/status", "/metrics", "/api/version", "/api/tags", "/v1/models"])
async def test_a_head_is_that_of_the_get(path):
    async with calling(ScriptedTier("copilot")) as client:
        whole = await client.get(path)
        head = await client.head(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/ai/query", 405), ("/admin/reset", 405)])
async def test_where_nothing_is_to_get_there_is_no_head(path, status):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.head(path)

    assert (reply.status_code, reply.content) == (status, b"")


async def test_a_head_passes_the_same_door():
    async with calling(ai_gateway_token="a-token-of-some-length") as client:
        replies = [await client.head("/status"), await client.head("/health", headers={"host": "evil.example"})]

    assert [reply.status_code for reply in replies] == [401, 403]


async def test_over_a_real_connection_that_is_used_again():
    async with running(gateway(ScriptedTier("copilot"))) as server, httpx.AsyncClient(base_url=server.url) as client:
        head = await client.head("/api/version")
        whole = await client.get("/api/version")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


async def test_the_head_of_an_endless_stream_ends():
    async with running(gateway(ScriptedTier("copilot"))) as server, httpx.AsyncClient(base_url=server.url) as client:
        async with asyncio.timeout(10):
            head = await client.head("/ai/events")
            await client.get("/health")

    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")
