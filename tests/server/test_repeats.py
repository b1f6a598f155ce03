"""F92: the same `Idempotency-Key` costs one upstream attempt."""

from __future__ import annotations

import asyncio

import pytest

from gateway_core.errors import TierBroken
from gateway_core.testing import ManualClock, ScriptedTier
from server import repeats

from .calling import calling, events, gateway, running, shown, until

ASK = {"prompt": "Count."}
KEY = {"idempotency-key": "k-1"}


@pytest.mark.parametrize("stream", [False, True])
async def test_f92_a_repeated_request_gets_the_same_answer(stream):
    copilot = ScriptedTier("copilot", ["one"], ["two"])
    async with calling(copilot) as client:
        first, second = [
            await client.post("/ai/query", json={**ASK, "stream": stream, "details": True}, headers=KEY)
            for _ in range(2)
        ]

    assert (copilot.calls, first.content) == (1, second.content)
    assert ("idempotency-replayed" in first.headers, second.headers["idempotency-replayed"]) == (False, "true")
    assert second.headers["content-type"] == first.headers["content-type"]


@pytest.mark.parametrize("stream", [False, True])
async def test_f92_requests_at_the_same_time_share_the_running_answer(stream):
    copilot = ScriptedTier("copilot", ["o", 0.05, "ne"], ["two"])
    async with calling(copilot) as client:
        replies = await asyncio.gather(
            *(client.post("/ai/query", json={**ASK, "stream": stream}, headers=KEY) for _ in range(10))
        )

    assert (copilot.calls, len({reply.content for reply in replies})) == (1, 1)


async def test_f92_a_client_that_lost_its_connection_finds_the_running_answer():
    copilot = ScriptedTier("copilot", ["one ", 0.3, "two"])
    async with running(gateway(copilot)) as server:
        request = server.post("/ai/query", {**ASK, "stream": True}, idempotency_key="k")
        reader, writer = await server.send(request)
        await reader.readuntil(b"one ")
        writer.close()
        await asyncio.sleep(0.05)
        reader, writer = await server.send(request)
        again = await asyncio.wait_for(reader.readuntil(b"event: done"), 5)
        writer.close()

    assert (copilot.calls, copilot.cancelled) == (1, 0)
    assert again.count(b"one ") == 1


async def test_f92_an_answer_nobody_comes_back_for_is_cancelled(monkeypatch):
    monkeypatch.setattr(repeats, "SECONDS_TO_COME_BACK", 0.1)
    copilot = ScriptedTier("copilot", ["one ", 60.0])
    async with running(gateway(copilot)) as server:
        request = server.post("/ai/query", {**ASK, "stream": True}, idempotency_key="k")
        reader, writer = await server.send(request)
        await reader.readuntil(b"one ")
        writer.close()
        await until(lambda: copilot.cancelled == 1)


async def test_f92_after_ten_minutes_the_key_is_forgotten():
    clock, copilot = ManualClock(), ScriptedTier("copilot", ["one"], ["two"])
    async with calling(copilot, clock=clock) as client:
        texts = []
        for _ in range(3):
            texts.append((await client.post("/ai/query", json=ASK, headers=KEY)).json()["response"])
            clock.advance(400)

    assert texts == ["one", "one", "two"]


async def test_f92_a_failure_is_not_kept():
    copilot = ScriptedTier("copilot", [TierBroken("copilot")], ["back"])
    async with calling(copilot) as client:
        replies = [await client.post("/ai/query", json=ASK, headers=KEY) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [503, 200]


async def test_f92_a_stream_that_broke_off_is_not_kept():
    copilot = ScriptedTier("copilot", ["Half ", TierBroken("copilot")], ["A whole one."])
    async with calling(copilot) as client:
        replies = [await client.post("/ai/query", json={**ASK, "stream": True}, headers=KEY) for _ in range(2)]

    assert shown(events(replies[1].content)) == "A whole one."


@pytest.mark.parametrize(
    ("fields", "key", "status"),
    [
        pytest.param({"prompt": "Other."}, "k-1", 422, id="another request by the same key"),
        pytest.param(ASK, "", 422, id="an empty key"),
        pytest.param(ASK, "k" * 256, 422, id="an endless key"),
        pytest.param(ASK, "k-2", 200, id="another key"),
    ],
)
async def test_f92_a_key_belongs_to_one_request(fields, key, status):
    async with calling(ScriptedTier("copilot")) as client:
        await client.post("/ai/query", json=ASK, headers=KEY)
        reply = await client.post("/ai/query", json=fields, headers={"idempotency-key": key})

    assert reply.status_code == status
    if status == 422:
        assert reply.json()["field"] == "Idempotency-Key"


async def test_f92_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(repeats, "MOST_KEPT_BYTES", 1000)
    copilot = ScriptedTier("copilot", ["x" * 300])
    async with calling(copilot) as client:
        for n in range(10):
            await client.post("/ai/query", json=ASK, headers={"idempotency-key": f"k-{n}"})
        newest = await client.post("/ai/query", json=ASK, headers={"idempotency-key": "k-9"})
        oldest = await client.post("/ai/query", json=ASK, headers={"idempotency-key": "k-0"})

    assert newest.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in oldest.headers
    assert copilot.calls == 11
