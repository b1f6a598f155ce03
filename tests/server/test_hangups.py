"""Real sockets: clients that hang up, read slowly, send slowly, or send too much."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

import httpx
import pytest

from gateway_core.errors import TierBroken
from gateway_core.testing import ManualClock, ScriptedTier
from gateway_core.types import Reason
from server import intake, patience

from .calling import JSON, events, gateway, running, shown, until

HEAD = b"POST /ai/query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
WITHIN = 1.0  # seconds in which the provider's connection must be closed


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    await asyncio.sleep(0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_f55_hanging_up_before_the_first_token_closes_the_provider(stream, how):
    copilot = ScriptedTier("copilot", [60.0, "never"])
    core = gateway(copilot, ScriptedTier("cloud"))
    async with running(core) as server:
        _, writer = await server.send(server.post("/ai/query", {"prompt": "x", "stream": stream}))
        await until(lambda: copilot.calls == 1)
        await hang_up(writer) if how == "reset" else writer.close()
        await until(lambda: copilot.cancelled == 1, WITHIN)
        health = await core.health()

    assert (health.circuit_state, health.copilot_available) == ("closed", True)


async def test_f56_hanging_up_in_mid_stream_closes_the_provider_and_charges_nobody():
    copilot = ScriptedTier("copilot", *[["one ", 60.0]] * 5, ["fine"])
    cloud = ScriptedTier("cloud")
    async with running(gateway(copilot, cloud)) as server:
        for n in range(5):
            reader, writer = await server.send(server.post("/ai/query", {"prompt": "x", "stream": True}))
            await reader.readuntil(b"one ")
            await hang_up(writer)
            await until(lambda n=n: copilot.cancelled == n + 1, WITHIN)
        async with httpx.AsyncClient() as client:
            reply = await client.post(f"{server.url}/ai/query", json={"prompt": "x"})

    assert reply.json() == {"response": "fine", "backend": "copilot", "state": "closed"}
    assert cloud.calls == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_f63_a_probe_whose_client_hangs_up_frees_its_place_at_once(stream):
    clock = ManualClock()
    down = [TierBroken("copilot", reason=Reason.UPSTREAM_5XX)]
    copilot = ScriptedTier("copilot", *[down] * 3, [60.0], ["back"])
    core = gateway(copilot, ScriptedTier("cloud"), clock=clock)
    async with running(core) as server:
        for _ in range(3):
            await core.ask("x")
        clock.advance(301)
        _, writer = await server.send(server.post("/ai/query", {"prompt": "x", "stream": stream}))
        await until(lambda: copilot.calls == 4)
        await hang_up(writer)
        await until(lambda: copilot.cancelled == 1, WITHIN)
        async with httpx.AsyncClient() as client:
            reply = await client.post(f"{server.url}/ai/query", json={"prompt": "x"})

    assert reply.json() == {"response": "back", "backend": "copilot", "state": "closed"}


async def test_f57_a_slow_reader_slows_the_provider_down():
    chunk, count, given = "x" * 8000, 2000, 0

    class Counting(ScriptedTier):
        async def _play(self, script, call):
            nonlocal given
            async for part in super()._play(script, call):
                given += 1
                yield part

    copilot = Counting("copilot", [chunk] * count)
    async with running(gateway(copilot, stall_timeout=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1000)
        writer.write(server.post("/ai/query", {"prompt": "x", "stream": True}))
        await reader.read(1)
        before = -1
        while before != given:  # until nothing moves any more
            before = given
            await asyncio.sleep(0.3)
        stood_at = given
        body = await asyncio.wait_for(_rest(reader), 30)
        writer.close()

    assert stood_at < count / 2
    assert body.count(b"event: delta") == count
    assert b"event: done" in body
    assert copilot.calls == 1


async def _rest(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while part := await reader.read(100_000):
        parts.append(part)
        if b"event: done" in part[-400:] or b"\r\n0\r\n\r\n" in part[-20:]:
            break
    return b"".join(parts)


async def test_a_slow_sender_is_given_up_and_others_are_answered(monkeypatch):
    monkeypatch.setattr(intake, "SECONDS_FOR_A_BODY", 0.3)
    async with running(gateway(ScriptedTier("copilot"))) as server:
        slow = [await server.send(HEAD + b"content-length: 100\r\n\r\n{") for _ in range(50)]
        async with httpx.AsyncClient() as client:
            reply = await client.post(f"{server.url}/ai/query", json={"prompt": "x"})
        statuses = {(await asyncio.wait_for(reader.readline(), 5)).split()[1] for reader, _ in slow}
        for _, writer in slow:
            writer.close()

    assert (reply.status_code, statuses) == (200, {b"408"})


async def test_heads_that_never_end_are_given_up_and_others_are_answered(monkeypatch):
    monkeypatch.setattr(patience, "SECONDS_FOR_A_HEAD", 0.3)
    async with running(gateway(ScriptedTier("copilot"))) as server:
        slow = [await server.send(b"GET /health HTTP/1.1\r\nhost: loc") for _ in range(100)]
        async with httpx.AsyncClient(base_url=server.url) as client:
            replies = [await client.post("/ai/query", json={"prompt": "x"}) for _ in range(2)]
        ends = [await asyncio.wait_for(reader.read(), 5) for reader, _ in slow]
        for _, writer in slow:
            writer.close()

    assert ([r.status_code for r in replies], set(ends)) == ([200, 200], {b""})


async def test_a_head_of_endless_size_is_cut_off():
    async with running(gateway()) as server:
        reader, writer = await server.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        with suppress(ConnectionError):
            for number in range(1000):
                writer.write(b"x-%d: %s\r\n" % (number, b"y" * 1000))
                await writer.drain()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        async with httpx.AsyncClient() as client:
            after = await client.get(f"{server.url}/health")

    assert after.status_code == 200


async def test_an_idle_connection_may_be_used_again_later(monkeypatch):
    monkeypatch.setattr(patience, "SECONDS_FOR_A_HEAD", 0.2)
    async with running(gateway(ScriptedTier("copilot", [0.4, "ok"]))) as server:
        reader, writer = await server.send(server.post("/ai/query", {"prompt": "x"}))
        await asyncio.wait_for(reader.readuntil(b'"closed"}'), 5)
        await asyncio.sleep(0.4)
        writer.write(server.post("/ai/query", {"prompt": "x"}))
        second = await asyncio.wait_for(reader.readuntil(b'"closed"}'), 5)
        writer.close()

    assert second.startswith(b"HTTP/1.1 200")


async def test_f91_a_body_of_50_mb_is_refused_while_others_are_answered():
    async def endless():
        for _ in range(50):
            yield b"x" * 1_000_000

    async with running(gateway(ScriptedTier("copilot"))) as server, httpx.AsyncClient(base_url=server.url) as client:
        chunked, small = await asyncio.gather(
            client.post("/ai/query", content=endless(), headers=JSON),
            client.post("/ai/query", json={"prompt": "x"}),
        )
        declared = await client.post("/ai/query", content=b"x" * 5_000_000, headers=JSON)
        after = await client.post("/ai/query", json={"prompt": "x"})

    assert [r.status_code for r in (chunked, declared, small, after)] == [413, 413, 200, 200]


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "99999999999999999999999999"])
async def test_a_nonsense_length_is_refused(length):
    async with running(gateway(ScriptedTier("copilot"))) as server:
        reader, writer = await server.send(HEAD + f"content-length: {length}\r\n\r\n{{}}".encode())
        status = (await asyncio.wait_for(reader.readline(), 5)).split()[1]
        writer.close()

    assert status in (b"400", b"413")


async def test_a_client_that_leaves_while_it_sends_leaves_nothing_behind(caplog):
    copilot = ScriptedTier("copilot")
    async with running(gateway(copilot)) as server:
        _, writer = await server.send(HEAD + b"content-length: 100\r\n\r\n{")
        await asyncio.sleep(0.05)
        await hang_up(writer)
        await asyncio.sleep(0.05)

    assert (copilot.calls, caplog.records) == (0, [])


async def test_one_connection_serves_many_requests():
    async with running(gateway(ScriptedTier("copilot"))) as server:
        reader, writer = await server.send(server.post("/ai/query", {"prompt": "x"}) * 3)
        received = b""
        while received.count(b'"backend":"copilot"') < 3:
            received += await asyncio.wait_for(reader.read(10_000), 5)
        writer.close()

    assert received.count(b"HTTP/1.1 200") == 3


async def test_f86_streams_finish_while_the_server_stops():
    copilot = ScriptedTier("copilot", ["one ", 0.5, "two"])
    async with running(gateway(copilot)) as server, httpx.AsyncClient(base_url=server.url) as client:
        ask = {"prompt": "x", "stream": True}
        calls = [asyncio.create_task(client.post("/ai/query", json=ask)) for _ in range(20)]
        await until(lambda: copilot.calls == 20)
        server.server.should_exit = True
        replies = await asyncio.gather(*calls)

    assert {shown(events(reply.content)) for reply in replies} == {"one two"}
    assert {events(reply.content)[-1].name for reply in replies} == {"done"}


async def test_f86_after_the_grace_streams_end_in_an_error_event_and_answers_in_a_problem():
    copilot = ScriptedTier("copilot", ["one ", 60.0, "two"])
    async with running(gateway(copilot), grace=0.3) as server, httpx.AsyncClient(base_url=server.url) as client:
        streams = [
            asyncio.create_task(client.post("/ai/query", json={"prompt": "x", "stream": True})) for _ in range(20)
        ]
        whole = asyncio.create_task(client.post("/ai/query", json={"prompt": "x"}))
        await until(lambda: copilot.calls == 21)
        begun = time.monotonic()
        server.server.should_exit = True
        replies = await asyncio.gather(*streams)
        problem = await whole
        took = time.monotonic() - begun

    for reply in replies:
        heard = events(reply.content)
        assert [e.name for e in heard] == ["meta", "delta", "error"]
        assert heard[-1].data["code"] == "shutting_down"
    assert (problem.status_code, problem.json()["code"], problem.headers["retry-after"]) == (503, "shutting_down", "5")
    assert copilot.cancelled == 21
    assert took < 10


async def test_the_status_is_told_again_whenever_it_changes():
    down = [TierBroken("copilot", reason=Reason.UPSTREAM_5XX)]
    core = gateway(ScriptedTier("copilot", down), ScriptedTier("cloud"))
    async with running(core) as server:
        request = f"GET /ai/events HTTP/1.1\r\nhost: localhost:{server.port}\r\n\r\n".encode()
        (reader, writer), (other, other_writer) = await server.send(request), await server.send(request)
        first = await _status(reader)
        for _ in range(3):
            await core.ask("x")
        changed = await _status(reader)
        while changed["tiers"][0]["circuit"]["state"] != "open":
            changed = await _status(reader)
        await core.reset()
        closed = await _status(reader)
        assert (await _status(other))["version"] == first["version"]
        writer.close()
        other_writer.close()

    assert [t["circuit"]["state"] for t in first["tiers"]] == ["closed", "closed"]
    assert changed["tiers"][0]["available"] is False
    assert closed["tiers"][0]["circuit"]["state"] == "closed"


async def test_readers_of_the_status_do_not_keep_the_server_from_stopping():
    async with running(gateway(), grace=30) as server:
        reader, writer = await server.send(b"GET /ai/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await _status(reader)
        server.server.should_exit = True
        rest = await asyncio.wait_for(reader.read(-1), 10)
        writer.close()

    assert rest.endswith(b"0\r\n\r\n")


async def _status(reader: asyncio.StreamReader) -> dict:
    async with asyncio.timeout(10):
        while True:
            line = await reader.readline()
            if line.startswith(b"data: "):
                return json.loads(line[6:])


async def test_an_endless_head_behind_an_answer_under_way_is_cut():
    copilot = ScriptedTier("copilot", ["one ", 60.0])
    async with running(gateway(copilot)) as server:
        reader, writer = await server.send(server.post("/ai/query", {"prompt": "x", "stream": True}))
        await reader.readuntil(b"one ")
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")

        async def says_on() -> None:
            for _ in range(1000):
                writer.write(b"x: " + b"a" * 10_000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)

        with pytest.raises(ConnectionError):
            await says_on()
        await until(lambda: copilot.cancelled == 1)
