"""The fault table through a real server: what a program over HTTP learns of each row."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_core import Gateway, Settings
from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of
from gateway_core.tiers.local_queue import LONGEST_LINE
from server import create_app
from tests.disks import IS_ROOT, fill, forbid_writing, own_disk

from .conftest import BEFORE_THE_FIRST_TEXT, SCALED, Providers, serving
from .test_rest import ask, said, stream, until

WHOLE = DEFAULT_ANSWER
Task = asyncio.Future[httpx.Response]
LIMITS = {name.upper(): str(value) for name, value in SCALED.items() if name != "ai_gateway_store"}

PATIENT = {**LIMITS, "LOCAL_FIRST_TOKEN_TIMEOUT": "60"}


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


async def circuit(client: httpx.AsyncClient) -> dict[str, Any]:
    """Copilot's."""
    tiers = (await client.get("/status")).json()["tiers"]
    return next(t["circuit"] for t in tiers if t["backend"] == "copilot")


async def failures(client: httpx.AsyncClient) -> int:
    return (await circuit(client))["failures"]


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


async def test_f10_a_503_with_a_moment_to_come_back_is_not_asked_before_it(
    client: httpx.AsyncClient, providers: Providers
):
    providers.copilot.script("status_503:retry_after=1")
    begun = time.monotonic()
    assert (await ask(client)).json()["backend"] == "cloud"
    assert await failures(client) == 1
    while (reply := (await ask(client, details=True)).json())["backend"] != "copilot":
        first = reply["details"]["attempts"][0]
        assert (reply["response"], first["outcome"], first["reason"]) == (WHOLE, "skipped", "circuit_open")
        assert 0 < first["retry_after"] <= 1
        assert time.monotonic() - begun < 10
        await asyncio.sleep(0.05)
    assert time.monotonic() - begun > 1
    assert len(providers.copilot.paid_calls) == 2
    assert await failures(client) == 0


async def test_f13_a_short_wait_never_replaces_a_long_one(client: httpx.AsyncClient, providers: Providers):
    providers.copilot.script("slow_first:0.2+status_429:retry_after=60", "slow_first:0.2+status_429:retry_after=1")
    await asyncio.gather(ask(client), ask(client))
    assert (await circuit(client))["reopens_in"] > 50


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


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        pytest.param("huge_body:200", {"too_large"}, id="one line"),
        pytest.param("huge_body:200,lines=1", {"too_large", "first_token_timeout"}, id="comments"),
        pytest.param("gzip_bomb:200", {"bad_payload"}, id="packed"),
    ],
)
async def test_f28_200_megabytes_are_not_held(
    server: tuple[str, subprocess.Popen[str]],
    client: httpx.AsyncClient,
    providers: Providers,
    fault: str,
    reasons: set[str],
):
    await ask(client)
    proc = Path(f"/proc/{server[1].pid}")
    before = memory(proc, "VmRSS")
    (proc / "clear_refs").write_text("5")  # the peak counts from now on
    providers.copilot.script(fault)
    begun = time.monotonic()
    reply = (await ask(client, details=True)).json()
    assert time.monotonic() - begun < 3 * 2
    assert (reply["response"], reply["backend"]) == (WHOLE, "cloud")
    assert reply["details"]["attempts"][0]["reason"] in reasons
    assert memory(proc, "VmHWM") - before < 20_000_000
    assert await failures(client) == 1


def memory(proc: Path, kind: str) -> int:
    """Bytes that a process holds (VmRSS), or has held at most (VmHWM)."""
    lines = (proc / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


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


@pytest.mark.slow
async def test_f75_a_cold_model_loads_while_comments_tell_that_it_goes_on(providers: Providers, tmp_path: Path):
    for cloud in (providers.copilot, providers.cloud):
        cloud.script(then="status_500")
    providers.ollama.load_delay = 12.0  # the head of a stream, and its first comment, come after eight
    with serving(providers, tmp_path, **PATIENT) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            parts = [part async for part in said(client, details=True)]
    assert parts[0] == ": still working"
    assert parts[1].startswith("event: meta")
    done = json.loads(parts[-1].removeprefix("event: done\ndata: "))
    assert (done["response"], done["backend"]) == (WHOLE, "local")
    outcomes = [(a["backend"], a["outcome"]) for a in done["details"]["attempts"]]
    assert outcomes == [("copilot", "failed"), ("cloud", "failed"), ("local", "answered")]


@asynccontextmanager
async def line_at_the_local_model(providers: Providers, home: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Task]]:
    """A client of a server whose local model is busy until the task is cancelled."""
    providers.ollama.script("hang")
    limits = httpx.Limits(max_connections=None)
    with serving(providers, home, **PATIENT) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as client:
            first = asyncio.ensure_future(ask(client, tier="local"))
            try:
                await until(lambda: len(providers.ollama.paid_calls) == 1)
                yield client, first
            finally:
                first.cancel()


async def test_f79_many_at_once_on_this_laptop_wait_in_line(client: httpx.AsyncClient, providers: Providers):
    replies = await asyncio.gather(*(ask(client, tier="local", details=True) for _ in range(50)))
    assert {(r.json()["response"], r.json()["backend"]) for r in replies} == {(WHOLE, "local")}
    assert any("other questions" in note for r in replies for note in r.json()["details"]["notes"])
    assert providers.ollama.busiest == 1


@pytest.mark.slow
async def test_f79_those_beyond_the_line_are_told(providers: Providers, tmp_path: Path):
    async with line_at_the_local_model(providers, tmp_path) as (client, first):
        asked = {asyncio.ensure_future(ask(client, tier="local", details=True)) for _ in range(LONGEST_LINE + 5)}
        refused: set[Task] = set()
        while len(refused) < 5:
            done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        first.cancel()
        served = [task.result().json() for task in (await asyncio.wait(asked))[0]]
    for reply in (task.result() for task in refused):
        told = reply.json()
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
        assert "100 questions already wait for the local model" in told["attempts"][0]["detail"]
        assert (told["attempts"][0]["reason"], bool(told["cure"])) == ("busy", True)
    assert {(reply["response"], reply["backend"]) for reply in served} == {(WHOLE, "local")}
    places = [note for reply in served for note in reply["details"]["notes"] if "other questions" in note]
    assert sorted(places) == sorted(f"waited for {n} other questions" for n in range(1, LONGEST_LINE + 1))
    assert providers.ollama.busiest == 1


@pytest.mark.slow
async def test_f79_a_stream_tells_the_place_in_the_line_while_it_waits(providers: Providers, tmp_path: Path):
    async with line_at_the_local_model(providers, tmp_path) as (client, first):
        second = asyncio.ensure_future(ask(client, tier="local"))
        await waiting(client, 1)
        third = said(client, tier="local")
        assert await anext(third) == ": waiting for the local model, 2 before this one"
        first.cancel()
        assert [part async for part in third][-1].startswith("event: done")
        assert (await second).json()["backend"] == "local"


async def waiting(client: httpx.AsyncClient, count: int) -> None:
    """Until so many wait for the local model."""
    while True:
        tiers = (await client.get("/status")).json()["tiers"]
        if next(t["details"]["waiting"] for t in tiers if t["mode"] == "ollama") == count:
            return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("seconds", [3, pytest.param(10, marks=pytest.mark.slow)])
async def test_f69_the_server_stands_still(
    server: tuple[str, subprocess.Popen[str]], client: httpx.AsyncClient, providers: Providers, seconds: float
):
    await ask(client)
    providers.copilot.script("slow_first:0.3")
    asked = asyncio.ensure_future(ask(client, details=True))
    await until(lambda: len(providers.copilot.paid_calls) == 2)
    server[1].send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    going_on = time.monotonic()
    server[1].send_signal(signal.SIGCONT)
    reply = (await asked).json()
    assert time.monotonic() - going_on < 3 * 1
    assert (reply["response"], reply["backend"]) == (WHOLE, "copilot")
    assert {a["backend"] for a in reply["details"]["attempts"]} == {"copilot"}
    assert await failures(client) == 0


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be read as one" * 40, b""])
async def test_f83_a_damaged_state_file_costs_no_answer(providers: Providers, tmp_path: Path, damage: bytes):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "circuits.db").write_bytes(damage)
    with serving(providers, tmp_path, **LIMITS) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            assert (await ask(client)).json() == {"response": WHOLE, "backend": "copilot", "state": "closed"}


async def made(providers: Providers, home: Path) -> list[Path]:
    """The state files of a gateway that has run before."""
    state = home / "state"
    settings = Settings(**{**SCALED, **providers.settings, "ai_gateway_store": "sqlite", "ai_gateway_state_dir": state})
    async with Gateway.from_settings(settings) as before:
        providers.copilot.script("status_500")
        await before.ask("Tell me.")
        await before.reset()
    return sorted(state.glob("*.db"))


async def goes_on_from_memory(client: httpx.AsyncClient, providers: Providers, trouble: str) -> None:
    """A failure is answered and remembered, the next request is Copilot's, and the trouble is told once."""
    providers.copilot.script("status_500")
    failed = (await ask(client, details=True)).json()
    assert (failed["response"], failed["backend"], failed["state"]) == (WHOLE, "cloud", "closed")
    assert await failures(client) == 1
    answered = [(await ask(client, details=True)).json() for _ in range(3)]
    assert {(r["response"], r["backend"], r["state"]) for r in answered} == {(WHOLE, "copilot", "closed")}
    assert await failures(client) == 0
    notes = [note for r in (failed, *answered) for note in r["details"]["notes"]]
    assert len([note for note in notes if trouble in note]) == 1, notes


async def test_f83_state_files_of_a_newer_version_cost_no_answer_and_are_left_alone(
    providers: Providers, tmp_path: Path
):
    files = await made(providers, tmp_path)
    for file in files:
        with closing(sqlite3.connect(file)) as newer:
            newer.execute("PRAGMA user_version = 99")
    before = [file.read_bytes() for file in files]
    with serving(providers, tmp_path, **LIMITS) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            await goes_on_from_memory(client, providers, "newer version")
    assert [file.read_bytes() for file in files] == before


async def test_f83_a_state_folder_that_cannot_be_written_to_costs_no_answer(providers: Providers, tmp_path: Path):
    with ExitStack() as stack:
        home = tmp_path
        if IS_ROOT:  # who may write anywhere, but on a disk that forbids it
            home = stack.enter_context(own_disk(tmp_path / "disk", "8m"))
        files = await made(providers, home)
        if IS_ROOT:
            forbid_writing(home)
        else:
            for path in (*files, home / "state"):
                path.chmod(0o500)
                stack.callback(path.chmod, 0o700)
        with serving(providers, home, **LIMITS) as (url, _):
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
                await goes_on_from_memory(client, providers, "make its folder writable")


@pytest.mark.parametrize("filled", ["before the start", "in mid-use"])
async def test_f83_a_full_disk_costs_no_answer(providers: Providers, tmp_path: Path, filled: str):
    with own_disk(tmp_path / "disk", "1m") as disk:
        if filled == "before the start":
            fill(disk)
        with serving(providers, disk, **LIMITS) as (url, _):
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
                if filled == "in mid-use":
                    assert (await ask(client)).json()["backend"] == "copilot"
                    fill(disk)
                await goes_on_from_memory(client, providers, "the disk is full")


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
