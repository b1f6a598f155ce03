"""The ladder as a program over HTTP sees it: a real server process, real sockets, simulated providers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of

from .conftest import Providers, serving

WHOLE = DEFAULT_ANSWER
RECOVERY = 3.0
LIMITS = {
    "CONNECT_TIMEOUT": "3",
    "FIRST_TOKEN_TIMEOUT": "8",
    "STALL_TIMEOUT": "0.8",
    "RECOVERY_TIMEOUT": str(RECOVERY),
}


@pytest.fixture(scope="module")
def server(simulators: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(simulators, tmp_path_factory.mktemp("server"), **LIMITS) as (url, _):
        yield url


@pytest.fixture
async def client(server: str, providers: Providers):
    async with httpx.AsyncClient(base_url=server, timeout=30, trust_env=False) as client:
        assert (await client.post("/admin/reset")).json() == {"status": "ok"}
        yield client


async def ask(client: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await client.post("/ai/query", json={"prompt": "Tell me.", **fields})


async def stream(client: httpx.AsyncClient, **fields: object) -> list[tuple[str, dict]]:
    reply = await ask(client, stream=True, **fields)
    assert reply.headers["content-type"].startswith("text/event-stream"), reply.text
    events = []
    for block in reply.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


async def said(client: httpx.AsyncClient, **fields: object) -> AsyncIterator[str]:
    """Events and comments of a stream, as they come."""
    body = {"prompt": "Tell me.", "stream": True, **fields}
    async with client.stream("POST", "/ai/query", json=body) as reply:
        assert reply.status_code == 200
        rest = ""
        async for text in reply.aiter_text():
            *parts, rest = (rest + text).split("\n\n")
            for part in parts:
                yield part


async def test_f01_healthy(client: httpx.AsyncClient):
    reply = await ask(client)
    assert reply.json() == {"response": WHOLE, "backend": "copilot", "state": "closed"}
    assert (await client.get("/health")).json() == {
        "status": "ok",
        "copilot_available": True,
        "cloud_available": True,
        "local_available": True,
        "circuit_state": "closed",
    }


async def test_f59_f61_the_circuit_opens_is_probed_once_and_closes(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script(then="status_500")
    states = [(await ask(client)).json()["state"] for _ in range(3)]
    assert states == ["closed", "closed", "open"]
    fourth = (await ask(client)).json()
    assert (fourth["backend"], fourth["state"]) == ("cloud", "open")
    assert len(providers.copilot.paid_calls) == 3
    assert (await client.get("/health")).json()["copilot_available"] is False
    await asyncio.sleep(RECOVERY + 0.1)
    providers.copilot.script("slow_first:3")
    replies = await asyncio.gather(*(ask(client) for _ in range(50)))
    assert len(providers.copilot.paid_calls) == 4
    assert sorted(r.json()["backend"] for r in replies) == ["cloud"] * 49 + ["copilot"]
    assert (await ask(client)).json()["state"] == "closed"


async def test_f72_f73_both_clouds_down_then_all(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script(then="status_500")
    providers.cloud.script(then="status_500")
    assert (await ask(client)).json()["backend"] == "local"
    providers.ollama.stop()
    reply = await ask(client)
    problem = reply.json()
    assert (reply.status_code, reply.headers["content-type"]) == (503, "application/problem+json")
    assert {a["backend"] for a in problem["attempts"]} == {"copilot", "cloud", "local"}
    assert problem["cure"]
    assert int(reply.headers["retry-after"]) >= 1


async def test_reset_closes_the_circuit(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script(*["status_500"] * 3)
    for _ in range(3):
        await ask(client)
    assert (await client.get("/health")).json()["circuit_state"] == "open"
    await client.post("/admin/reset")
    assert (await ask(client)).json() == {"response": WHOLE, "backend": "copilot", "state": "closed"}


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within ten seconds")


CUTS = ["cut_after:40", "end_after:40", "error_after:40", "stall_after:40", "bad_line_after:40"]
SHOWN = "".join(tokens_of(WHOLE)[:40])


@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_stop(client: httpx.AsyncClient, providers: Providers, fault: str):
    providers.copilot.script(fault)
    events = await stream(client, on_interrupt="stop")
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "meta"
    assert kinds[-1] == "error"
    assert "done" not in kinds
    assert "".join(data["text"] for kind, data in events if kind == "delta") == SHOWN
    assert events[-1][1]["attempts"][0]["outcome"] == "interrupted"


@pytest.mark.parametrize("fault", CUTS)
async def test_f45_to_f49_continue(client: httpx.AsyncClient, providers: Providers, fault: str):
    providers.copilot.script(fault)
    events = await stream(client, details=True)
    done = events[-1]
    assert done[0] == "done"
    assert "".join(data["text"] for kind, data in events if kind == "delta") == done[1]["response"] == WHOLE
    assert done[1]["details"]["segments"] == [
        {"backend": "copilot", "start": 0, "end": len(SHOWN)},
        {"backend": "cloud", "start": len(SHOWN), "end": len(WHOLE)},
    ]
    assert [data["action"] for kind, data in events if kind == "segment"] == ["continue"]
    numbers = [data["seq"] for kind, data in events if kind == "delta"]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("fault", CUTS)
async def test_f54_restart(client: httpx.AsyncClient, providers: Providers, fault: str):
    providers.copilot.script(fault)
    events = await stream(client, on_interrupt="restart")
    place = [kind for kind, _ in events].index("segment")
    assert events[place][1]["action"] == "restart"
    assert "".join(data["text"] for kind, data in events[place:] if kind == "delta") == WHOLE
    assert events[-1][1] == {"response": WHOLE, "backend": "cloud", "state": "closed"}


@pytest.mark.parametrize("fault", CUTS)
async def test_without_stream_the_next_tier_answers_whole(client: httpx.AsyncClient, providers: Providers, fault: str):
    providers.copilot.script(fault)
    assert (await ask(client)).json() == {"response": WHOLE, "backend": "cloud", "state": "closed"}


@pytest.mark.parametrize("fault", ["hang", "stall_after:3"])
async def test_f55_f56_a_client_that_hangs_up_closes_the_upstream(
    client: httpx.AsyncClient, providers: Providers, fault: str
):
    await ask(client)
    providers.copilot.script(fault)
    host, port = client.base_url.host, client.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    body = json.dumps({"prompt": "Tell me.", "stream": True}).encode()
    writer.write(
        b"POST /ai/query HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    await writer.drain()
    await until(lambda: len(providers.copilot.paid_calls) == 2)
    if fault != "hang":
        assert await reader.read(100)
    left = time.monotonic()
    writer.close()
    await until(lambda: providers.copilot.paid_calls[-1].disconnected)
    assert time.monotonic() - left < 3  # promised: one second; the rest is for a busy machine
    status = (await client.get("/status")).json()
    assert next(t for t in status["tiers"] if t["backend"] == "copilot")["circuit"]["failures"] == 0


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        pytest.param(b'{"prompt": "hi"', 422, "body", id="not json"),
        pytest.param(b"{}", 422, "prompt", id="no prompt"),
        pytest.param(b'{"prompt": "  "}', 422, "prompt", id="empty prompt"),
        pytest.param(b'{"prompt": "a\\u0000b"}', 422, "prompt", id="f91 NUL"),
        pytest.param(b'{"prompt": "a\\ud800b"}', 422, "prompt", id="f91 half a pair"),
        pytest.param(b'{"prompt": "%s"}' % (b"x" * 5_000_000), 413, "body", id="f91 five megabytes"),
        pytest.param(b'{"prompt": "hi", "tier": "moon"}', 422, "tier", id="unknown tier"),
        pytest.param(b'{"prompt": "hi", "tier": "cloud", "local_only": true}', 422, "tier", id="tier against local"),
    ],
)
async def test_bad_input_is_named(client: httpx.AsyncClient, body: bytes, status: int, field: str):
    reply = await client.post("/ai/query", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["status"]) == (status, status)
    assert field in reply.json()["detail"] or reply.json().get("field") == field, reply.json()


async def test_documents_must_be_texts(client: httpx.AsyncClient):
    for documents in ([], [7], ["fine", {"text": 1}], "not a list"):
        reply = await client.post("/ai/query/rag", json={"prompt": "hi", "documents": documents})
        assert reply.status_code == 422
        assert "documents" in reply.json()["detail"]


async def test_unknown_fields_are_ignored_and_named(client: httpx.AsyncClient):
    reply = (await ask(client, colour="blue", details=True)).json()
    assert reply["response"] == WHOLE
    assert any("colour" in note for note in reply["details"]["notes"])
