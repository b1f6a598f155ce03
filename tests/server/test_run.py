"""Starting and stopping: who may listen where, what is imported, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from gateway_core import Settings, SettingsInvalid
from gateway_core.testing import ScriptedTier
from server import create_app, serve
from server.front_ends import FrontEnd
from server.listening import AddressTaken, listen, url_of
from server.run import lines_of

from .calling import gateway, running, until

ROOT = Path(__file__).parent.parent.parent
STOPPING = "stopping (Ctrl-C again: at once)\n"
HEAVY = ("gradio", "openai", "pandas", "numpy", "IPython", "anthropic", "webui", "notebook_ext")


@contextmanager
def serving(tmp_path: Path, *lines: str, ui: bool = False, **environment: str):
    """`serve` in a process of its own; yields it and the port."""
    script = "\n".join(("import sys", "from server import serve", *lines, f"sys.exit(serve(port=0, ui={ui}))"))
    environ = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    environ.update(HOME=str(tmp_path), PYTHONPATH=str(ROOT), AI_GATEWAY_STATE_DIR=str(tmp_path), **environment)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
        cwd=tmp_path,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "AI Gateway serves on http://127.0.0.1:" in line, line + process.stderr.read()
        yield process, int(line.split("127.0.0.1:")[1].split()[0])
    finally:
        process.kill()
        process.communicate()


def get(port: int, path: str) -> tuple[int, dict]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    reply = connection.getresponse()
    told = reply.status, json.loads(reply.read())
    connection.close()
    return told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_says_who_is_lit_and_stops_cleanly(tmp_path, number):
    with serving(tmp_path) as (process, port):
        status, health = get(port, "/health")
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)

    assert (status, set(health)) == (
        200,
        {"status", "copilot_available", "cloud_available", "local_available", "circuit_state"},
    )
    assert (process.returncode, errors) == (0, STOPPING)
    assert all(line.startswith(("  ●", "  ○", "  ◐")) for line in output.splitlines())


@pytest.mark.parametrize("apart", [0.02, 0.1, 1.0])
def test_a_second_ctrl_c_stops_it_at_once_and_without_a_traceback(tmp_path, apart):
    with serving(tmp_path) as (process, _):
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(apart)
        _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors) == (0, STOPPING)


def test_a_page_that_is_still_being_loaded_does_not_hold_up_the_end(tmp_path):
    page = (
        "import time, server.run",
        "from server.front_ends import FrontEnd",
        "server.run.found = lambda: (FrontEnd('ui', lambda: time.sleep(20)),)",
    )
    with serving(tmp_path, *page, ui=True) as (process, port):
        get(port, "/health")
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (0, STOPPING)
    assert time.monotonic() - begun < 10


def test_nothing_heavy_is_imported_to_serve(tmp_path):
    look = (
        "import atexit",
        f"atexit.register(lambda: print('heavy:', [m for m in {HEAVY!r} if m in sys.modules]))",
    )
    with serving(tmp_path, *look) as (process, _):
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)

    assert "heavy: []" in output


def test_a_wrong_setting_stops_it_with_one_line(monkeypatch, capsys):
    monkeypatch.setenv("FAILURE_THRESHOLD", "many")

    assert serve(port=0) == 2
    assert capsys.readouterr().err.startswith("ai-gateway: FAILURE_THRESHOLD:")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback_needs_no_token(host):
    with listen(host, 0, Settings()) as listener:
        assert listener.getsockname()[1] > 0


def test_with_a_token_it_may_be_open_to_others():
    with listen("0.0.0.0", 0, Settings(ai_gateway_token="t")) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_host_that_is_not_ours_is_named():
    with pytest.raises(SettingsInvalid, match=r"AI_GATEWAY_HOST: 192\.0\.2\.1 is not an address of this machine"):
        listen("192.0.2.1", 0, Settings(ai_gateway_token="t"))


def test_a_taken_port_names_the_holder_and_the_cure(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code = serve("127.0.0.1", port)

    told = capsys.readouterr().err
    assert code == 2
    assert f"port {port} is taken by another program" in told
    assert "--port" in told
    if sys.platform == "linux":
        assert f"process {os.getpid()}" in told


def test_a_port_taken_by_another_gateway_says_so(tmp_path):
    with serving(tmp_path) as (process, port), pytest.raises(AddressTaken, match="another AI Gateway") as taken:
        listen("127.0.0.1", port, Settings())

    if sys.platform == "linux":
        assert f"process {process.pid}" in str(taken.value)


async def test_the_tiers_are_told_with_the_cure():
    core = gateway(ScriptedTier("copilot"), ScriptedTier("local"))

    assert lines_of(await core.status()) == [
        "  ● copilot: ready, scripted-copilot",
        "  ● local (ollama): ready, scripted-local",
    ]


async def test_a_gateway_handed_in_is_not_closed_and_one_built_is(monkeypatch):
    app = create_app()
    async with app.router.lifespan_context(app):
        built = app.state.service.gateway
        assert app.state.service.gateway is built

    given = gateway()
    app = create_app(given)
    async with app.router.lifespan_context(app):
        assert app.state.service.gateway is given


async def page(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{scope['root_path']}|{scope['path']}".encode()})


async def test_a_page_is_loaded_after_the_api_and_served_at_its_name():
    may_load = threading.Event()

    def load():
        may_load.wait(10)
        return lambda gateway: page

    front_end = FrontEnd("ui", load)
    app = create_app(gateway(), front_ends=[front_end])
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client,
    ):
        root = await client.get("/", headers={"accept": "text/html"})
        as_json = await client.get("/")
        early = await client.get("/ui")
        unheard = [await client.post(path, json={}) for path in ("/ui/erase", "/ui/")] + [await client.get("/ui/chats")]
        health = await client.get("/health")
        may_load.set()
        await until(lambda: not front_end.is_loading)
        late = await client.get("/ui/assets/a.js")
        at_name = await client.get("/ui")

    assert (root.status_code, root.headers["location"]) == (307, "/ui")
    assert as_json.json()["name"] == "AI Gateway"
    assert (early.status_code, 'http-equiv="refresh"' in early.text, health.status_code) == (200, True, 200)
    told = [(reply.status_code, reply.json()["code"], reply.headers["retry-after"]) for reply in unheard]
    assert told == [(503, "starting_up", "1")] * 3
    assert late.text == "/ui|/ui/assets/a.js"
    assert (at_name.status_code, at_name.headers["location"]) == (307, "/ui/")


async def test_a_stream_of_a_page_without_an_end_ends_when_the_server_is_stopped():
    async def heartbeat(scope, receive, send):
        if scope["type"] == "lifespan":
            return await page(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"alive", "more_body": True})
        await asyncio.sleep(60)

    front_end = FrontEnd("ui", lambda: lambda gateway: heartbeat)
    async with running(gateway(), grace=30, front_ends=[front_end]) as server:
        await until(lambda: not front_end.is_loading)
        reader, writer = await server.send(f"GET /ui/beat HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        await reader.readuntil(b"alive")
        server.server.handle_exit(signal.SIGINT, None)
        await asyncio.wait_for(server.task, 10)
        writer.close()


async def test_the_api_goes_on_without_a_page_that_cannot_be_loaded():
    def load():
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

    front_end = FrontEnd("ui", load)
    app = create_app(gateway(ScriptedTier("copilot")), front_ends=[front_end])
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client,
    ):
        await until(lambda: not front_end.is_loading)
        reply = await client.get("/ui")
        answer = await client.post("/ai/query", json={"prompt": "x"})

    assert (reply.status_code, answer.status_code) == (503, 200)
    assert "gradio is not installed" in reply.text
