"""The fault table through a real server: what a program over HTTP learns of each row."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from gateway_core import Gateway, Settings
from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of
from server import create_app

from .conftest import BEFORE_THE_FIRST_TEXT, SCALED, Providers, serving
from .test_rest import ask, stream

WHOLE = DEFAULT_ANSWER
LIMITS = {name.upper(): str(value) for name, value in SCALED.items() if name != "ai_gateway_store"}


@pytest.fixture(scope="module")
def server(
    simulators: Providers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with serving(simulators, tmp_path_factory.mktemp("server"), **LIMITS) as running:
        yield running


@pytest.fixture
async def client(server: tuple[str, subprocess.Popen[str]], providers: Providers) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server[0], timeout=60, trust_env=False) as client:
        await client.post("/admin/reset")
        yield client


async def failures(client: httpx.AsyncClient) -> int:
    tiers = (await client.get("/status")).json()["tiers"]
    return next(t["circuit"]["failures"] for t in tiers if t["backend"] == "copilot")


@pytest.mark.parametrize(("fault", "reason", "counts"), BEFORE_THE_FIRST_TEXT)
async def test_the_cloud_answers_and_the_reason_is_told(
    client: httpx.AsyncClient, providers: Providers, fault: str, reason: str, counts: int
):
    providers.copilot.script(*[fault] * 3)
    reply = (await ask(client, details=True)).json()
    assert (reply["response"], reply["backend"]) == (WHOLE, "cloud"), reply
    assert reply["details"]["attempts"][0]["reason"] == reason
    assert await failures(client) == counts


@pytest.mark.parametrize("fault", ["split_bytes", "crlf", "bom", "data_after_done", "repeat_sequence:5", "thinking:1"])
async def test_f50_f52_f53_f93_odd_streams_are_the_same_answer(
    client: httpx.AsyncClient, providers: Providers, fault: str
):
    providers.copilot.script(fault)
    assert (await ask(client)).json() == {"response": WHOLE, "backend": "copilot", "state": "closed"}


async def test_f06_a_dead_pooled_connection(client: httpx.AsyncClient, providers: Providers):
    await ask(client)
    providers.copilot.script("close_reused", "ok")
    reply = (await ask(client, details=True)).json()
    assert [a["outcome"] for a in reply["details"]["attempts"]] == ["failed", "answered"]
    assert reply["backend"] == "copilot"


async def test_f13_a_short_wait_never_replaces_a_long_one(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script("slow_first:0.2+status_429:retry_after=60", "slow_first:0.2+status_429:retry_after=1")
    await asyncio.gather(ask(client), ask(client))
    tiers = (await client.get("/status")).json()["tiers"]
    assert next(t["circuit"]["reopens_in"] for t in tiers if t["backend"] == "copilot") > 50


async def test_f14_bearers_that_expire_in_flight_are_one_exchange_over_rest(providers: Providers, tmp_path: Path):
    token = "ghu_" + "x" * 36
    with serving(providers, tmp_path, COPILOT_AUTH="exchange", GITHUB_COPILOT_TOKEN=token) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            await ask(client)
            providers.copilot.expire_tokens()
            replies = await asyncio.gather(*(ask(client, details=True) for _ in range(100)))
            assert await failures(client) == 0
    for reply in replies:
        told = reply.json()
        assert (told["response"], told["backend"], told["state"]) == (WHOLE, "copilot", "closed")
        assert [a["backend"] for a in told["details"]["attempts"] if a["outcome"] == "answered"] == ["copilot"]
    assert len(providers.copilot.calls_to("/copilot_internal/v2/token")) == 2


async def test_f19_a_retired_model_is_replaced_visibly(client: httpx.AsyncClient):
    reply = (await ask(client, model="gpt-4o", details=True)).json()
    assert (reply["response"], reply["backend"]) == (WHOLE, "copilot")
    assert any("gpt-4o" in note for note in reply["details"]["notes"])


async def test_f51_an_endless_line(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script("long_line:5000000")
    assert (await ask(client)).json()["backend"] == "cloud"


async def test_f58_a_short_deadline(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script("hang")
    reply = await ask(client, deadline_s=1.2)
    assert reply.json()["backend"] == "cloud"
    assert await failures(client) == 0  # it did not have its whole limit


async def test_f66_f71_late_failures_of_before_a_reset_change_nothing(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script(*["slow_first:0.3+status_500"] * 5)
    late = [asyncio.ensure_future(ask(client)) for _ in range(5)]
    await asyncio.sleep(0.15)
    await client.post("/admin/reset")
    await asyncio.gather(*late)
    assert (await client.get("/health")).json()["circuit_state"] == "closed"
    assert await failures(client) == 0


async def test_f67_a_listener_that_raises(providers: Providers):
    settings = Settings(**{**SCALED, **providers.settings})
    async with Gateway.from_settings(settings) as gateway:
        gateway.telemetry.listen(lambda happening: 1 / 0)
        transport = httpx.ASGITransport(create_app(gateway))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            assert (await ask(client)).json()["response"] == WHOLE


@pytest.mark.parametrize("fault", ["cut_after:20", "error_after:20"])
async def test_f76_f77_ollama_dies_in_mid_answer(client: httpx.AsyncClient, providers: Providers, fault: str):
    providers.ollama.script(fault)
    events = await stream(client, tier="local")
    assert "".join(data["text"] for kind, data in events if kind == "delta") == "".join(tokens_of(WHOLE)[:20])
    assert events[-1][0] == "error"


async def test_f78_another_program_on_ollamas_port(client: httpx.AsyncClient, providers: Providers):
    providers.ollama.script(then="html_200", free="html_200")
    await client.post("/admin/reset")  # looks at Ollama anew
    reply = await ask(client, tier="local")
    assert reply.status_code == 503
    assert reply.json()["cure"]


async def test_f79_many_at_once_on_this_laptop_wait_in_line(client: httpx.AsyncClient, providers: Providers):
    replies = await asyncio.gather(*(ask(client, tier="local") for _ in range(50)))
    assert {r.status_code for r in replies} == {200}


async def test_f69_the_server_stands_still(
    server: tuple[str, subprocess.Popen[str]], client: httpx.AsyncClient, providers: Providers
):
    await ask(client)
    providers.copilot.script("slow_first:0.3")
    asked = asyncio.ensure_future(ask(client))
    await asyncio.sleep(0.2)
    server[1].send_signal(signal.SIGSTOP)
    await asyncio.sleep(3)
    server[1].send_signal(signal.SIGCONT)
    assert (await asked).json()["backend"] == "copilot"
    assert await failures(client) == 0


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be read as one" * 40, b""])
async def test_f83_a_damaged_state_file_costs_no_answer(providers: Providers, tmp_path: Path, damage: bytes):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "circuits.db").write_bytes(damage)
    with serving(providers, tmp_path, **LIMITS) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            assert (await ask(client)).json() == {"response": WHOLE, "backend": "copilot", "state": "closed"}


async def test_f82_a_locked_state_file_costs_no_answer_over_rest(providers: Providers, tmp_path: Path):
    with serving(providers, tmp_path, **LIMITS) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            assert (await ask(client)).json()["backend"] == "copilot"
            with closing(sqlite3.connect(tmp_path / "state" / "circuits.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                locked_until = asyncio.get_running_loop().time() + 3
                providers.copilot.script("status_500")
                replies = [await ask(client, details=True)]
                while asyncio.get_running_loop().time() < locked_until:
                    replies.append(await ask(client, details=True))
                    assert (await client.get("/health")).json()["copilot_available"]
                    await asyncio.sleep(0.2)
                providers.copilot.script("status_500")
                replies.append(await ask(client, details=True))
                other.execute("ROLLBACK")
            assert {r.status_code for r in replies} == {200}
            notes = [note for r in replies for note in r.json()["details"]["notes"]]
            assert len([note for note in notes if "is locked by another program" in note]) == 1, notes
            first, *between, last = (r.json() for r in replies)
            for failed in (first, last):
                assert (failed["response"], failed["backend"]) == (WHOLE, "cloud")
                assert failed["details"]["attempts"][0]["reason"] == "upstream_5xx"
            assert between
            for answered in between:
                assert (answered["response"], answered["backend"]) == (WHOLE, "copilot")
                assert [a["reason"] for a in answered["details"]["attempts"]] == [None]
            assert await failures(client) == 1, "what happened meanwhile was kept in memory"


NOTEBOOK = """
from gateway_core import BlockingGateway
with BlockingGateway.from_settings() as gateway:
    answer = gateway.ask("Tell me.")
    print(answer.backend, answer.attempts[0].reason)
"""


async def test_f85_failures_in_three_processes_open_the_circuit_over_rest(providers: Providers, tmp_path: Path):
    shared = {**LIMITS, "AI_GATEWAY_STATE_DIR": str(tmp_path / "state"), "AI_GATEWAY_STORE": "sqlite"}
    settings = {name.upper(): str(value) for name, value in providers.settings.items()}
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COPILOT_USE_GH": "0", **settings, **shared}
    with serving(providers, tmp_path, **shared) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            assert (await ask(client)).json()["backend"] == "copilot"
            providers.copilot.script(then="status_500")
            reply = (await ask(client, details=True)).json()
            assert (reply["backend"], reply["details"]["attempts"][0]["reason"]) == ("cloud", "upstream_5xx")
            for _ in range(2):
                ran = await asyncio.to_thread(
                    subprocess.run, [sys.executable, "-c", NOTEBOOK], env=environ, cwd=tmp_path, capture_output=True,
                    text=True, timeout=60,
                )  # fmt: skip
                assert ran.stdout.split() == ["cloud", "upstream_5xx"], ran.stderr
            providers.copilot.script()  # well again, yet not asked
            calls = len(providers.copilot.paid_calls)
            reply = await ask(client, details=True)
            assert reply.status_code == 200
            told = reply.json()
            assert (told["response"], told["backend"], told["state"]) == (WHOLE, "cloud", "open")
            first = told["details"]["attempts"][0]
            assert (first["backend"], first["outcome"], first["reason"]) == ("copilot", "skipped", "circuit_open")
            assert len(providers.copilot.paid_calls) == calls
