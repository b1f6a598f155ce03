"""The child process around the engine: it starts, tells why it cannot, and never outlives its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from gateway_core.local_engine.process import EngineConfig, EngineFailed, EngineProcess
from gateway_core.types import Reason

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")


@pytest.fixture
def engine(model):
    engine = EngineProcess(EngineConfig(model, context=512, threads=1))
    yield engine
    engine.stop()


def get(running, path, key=None, **headers):
    headers["authorization"] = f"Bearer {running.api_key if key is None else key}"
    return httpx.get(running.address + path, headers=headers, trust_env=False)


def proc(running, name):
    return Path(f"/proc/{running.pid}/{name}").read_bytes()


def wait_until(holds, within=10.0):
    give_up = time.monotonic() + within
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_listens_on_loopback_and_wants_its_key(engine):
    running = await engine.running()

    assert running.address.startswith("http://127.0.0.1:")
    assert get(running, "/v1/models").json()["data"][0]["id"] == "scripted"
    assert get(running, "/v1/models", key="wrong").status_code == 401
    assert running.api_key not in repr(running)


async def test_no_web_page_may_talk_to_it(engine):
    running = await engine.running()

    reply = get(running, "/health", origin="https://evil.example")

    assert reply.headers.get("access-control-allow-origin") in (None, "http://127.0.0.1")


async def test_it_is_started_once(engine):
    first = await engine.running()

    assert await engine.running() == first


@posix_only
async def test_a_child_that_died_is_replaced(engine):
    first = await engine.running()
    os.kill(first.pid, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: not engine.is_alive)

    second = await engine.running()

    assert second.pid != first.pid
    assert get(second, "/v1/models").status_code == 200


@posix_only
async def test_ctrl_c_does_not_end_it(engine):
    running = await engine.running()

    os.kill(running.pid, signal.SIGINT)

    assert get(running, "/v1/models").status_code == 200
    assert os.getpgid(running.pid) != os.getpgid(0)


async def test_stopping_ends_it_and_may_be_repeated(engine):
    running = await engine.running()

    engine.stop()
    engine.stop()

    assert not engine.is_alive
    with pytest.raises(httpx.ConnectError):
        get(running, "/health")


@posix_only
def test_it_ends_when_its_parent_is_killed(model):
    script = (
        "import asyncio, sys, time, pathlib\n"
        "from gateway_core.local_engine.process import EngineConfig, EngineProcess\n"
        "engine = EngineProcess(EngineConfig(pathlib.Path(sys.argv[1]), context=512, threads=1))\n"
        "print(asyncio.run(engine.running()).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(model)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()

    wait_until(lambda: not is_alive(child))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"not a model at all, just text", Reason.BAD_PAYLOAD, id="not a GGUF file"),
        pytest.param(5_000, Reason.BAD_PAYLOAD, id="cut in the head"),
        pytest.param(100_000, Reason.BAD_PAYLOAD, id="cut in the tensors"),
        pytest.param(None, Reason.MODEL_MISSING, id="no such file"),
    ],
)
async def test_a_bad_model_file_is_explained(model, tmp_path, content, reason):
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else model.read_bytes()[:content])
    engine = EngineProcess(EngineConfig(path, threads=1))

    with pytest.raises(EngineFailed) as failure:
        await engine.running()

    assert failure.value.reason is reason
    assert failure.value.cure


async def test_s18_the_engine_is_handed_no_key(engine, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    running = await engine.running()

    if sys.platform == "linux":
        assert b"canary" not in proc(running, "environ")
        assert running.api_key.encode() not in proc(running, "cmdline")


async def test_a_file_in_the_working_directory_stands_in_for_nothing(engine, tmp_path, monkeypatch):
    (tmp_path / "xllamacpp.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)

    assert (await engine.running()).address


@posix_only
async def test_an_engine_that_is_still_loading_can_be_stopped(tmp_path):
    never_ending = tmp_path / "slow.gguf"
    os.mkfifo(never_ending)
    engine = EngineProcess(EngineConfig(never_ending, threads=1))
    starting = asyncio.ensure_future(engine.running())
    await asyncio.to_thread(wait_until, lambda: engine.is_alive)

    await asyncio.to_thread(engine.stop)

    with pytest.raises(EngineFailed):
        await asyncio.wait_for(starting, 10)
    assert not engine.is_alive


async def test_giving_up_waiting_leaves_the_start_to_others(engine):
    impatient = asyncio.ensure_future(engine.running())
    await asyncio.sleep(0)
    impatient.cancel()

    assert (await engine.running()).address


@posix_only
async def test_a_model_that_never_loads_is_given_up(tmp_path):
    never_ending = tmp_path / "slow.gguf"
    os.mkfifo(never_ending)
    engine = EngineProcess(EngineConfig(never_ending, threads=1), starts_within=0.5)

    with pytest.raises(EngineFailed) as failure:
        await engine.running()

    assert failure.value.reason is Reason.FIRST_TOKEN_TIMEOUT
