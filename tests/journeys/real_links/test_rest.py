"""The same over REST: `ai-gateway serve` runs inside the laptop's namespace, and so does its client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER as WHOLE

from .test_links import local_asked
from .world import World

PORT = 8000


class Client:
    """Speaks to the server from within the namespace."""

    def __init__(self, world: World, port: int, process: subprocess.Popen[str]) -> None:
        self._wires = world.wires
        self._port = port
        self._process = process

    def kill(self) -> None:
        """As a machine that loses its power would."""
        self._process.kill()
        self._process.wait(20)

    @contextmanager
    def reply(self, method: str, path: str, **body: object) -> Iterator[HTTPResponse]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        with self._wires.inside(self._wires.laptop):
            connection.connect()
        try:
            sent = json.dumps(body) if body else None
            is_json = sent or method == "POST"
            connection.request(method, path, sent, {"content-type": "application/json"} if is_json else {})
            yield connection.getresponse()
        finally:
            connection.close()

    def get(self, path: str) -> dict:
        with self.reply("GET", path) as reply:
            return json.loads(reply.read())

    def post(self, path: str, **body: object) -> dict:
        with self.reply("POST", path, **body) as reply:
            return json.loads(reply.read())

    def ask(self, **options: object) -> dict:
        with self.reply("POST", "/ai/query", prompt="Tell me.", details=True, **options) as reply:
            assert reply.status == 200
            return json.loads(reply.read())


@contextmanager
def serving(world: World, home: Path, port: int = PORT, *, ui: bool = False, **environment: str) -> Iterator[Client]:
    """A server process on the laptop, with its own state."""
    settings = {name.upper(): str(value) for name, value in world.settings.items()}
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(home), "AI_GATEWAY_STATE_DIR": str(home / "state"),
        "COPILOT_USE_GH": "0", "SSL_CERT_FILE": str(world.authority.bundle), **settings, **environment,
    }  # fmt: skip
    command = ["ip", "netns", "exec", world.wires.laptop, sys.executable, "-m", "gateway_core"]
    process = subprocess.Popen(
        [*command, "serve", "--port", str(port), *([] if ui else ["--no-ui"])],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        cwd=home,
    )
    assert process.stdout is not None
    try:
        assert f":{port}" in process.stdout.readline()
        yield Client(world, port, process)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(made_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made_world.restore()
    with serving(made_world, tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def client(server: Client, made_world: World) -> Client:
    made_world.restore()
    with server.reply("POST", "/admin/reset") as reply:
        assert reply.status == 200
    return server


def events_of(reply: HTTPResponse) -> Iterator[tuple[float, str, dict]]:
    kind = ""
    for line in reply:
        name, _, value = line.decode().strip().partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield time.monotonic(), kind, json.loads(value)


def test_f36_f40_offline_and_back(client: Client, made_world: World):
    assert client.ask()["backend"] == "copilot"
    cut = made_world.wires.cut()
    reply = client.ask()
    assert local_asked(made_world, cut) < 3 * 0.05
    assert (reply["backend"], reply["state"], reply["response"]) == ("local", "closed", WHOLE)
    assert [a["reason"] for a in reply["details"]["attempts"]][:2] == ["offline", "offline"]
    begun = time.monotonic()
    health = client.get("/health")
    assert time.monotonic() - begun < 3 * 0.5
    assert (health["status"], health["copilot_available"], health["local_available"]) == ("ok", False, True)
    made_world.wires.mend()
    assert client.ask()["backend"] == "copilot"


@pytest.mark.parametrize("policy", ["continue", "restart", "stop"])
def test_f38_the_cable_is_cut_in_the_middle_of_a_sentence(client: Client, made_world: World, policy: str):
    client.ask()
    made_world.copilot.token_delay = 0.02
    shown, kinds, cut, next_text = "", [], 0.0, 0.0
    with client.reply("POST", "/ai/query", prompt="Tell me.", stream=True, on_interrupt=policy) as reply:
        for moment, kind, data in events_of(reply):
            kinds.append(kind)
            if kind == "delta":
                shown += data["text"]
                if kinds.count("delta") == 20:
                    cut = made_world.wires.cut()
                if data["segment"] == 1 and not next_text:
                    next_text = moment
            elif kind == "segment" and data["action"] == "restart":
                shown = ""
            last = data
    if policy == "stop":
        assert kinds[-1] == "error"
        assert last["code"] == "stream_interrupted"
        assert last["attempts"][0]["reason"] == "offline"
        assert WHOLE.startswith(shown)
        assert moment - cut < 3 * 0.2
        return
    assert kinds[-1] == "done"
    assert shown == last["response"] == WHOLE
    assert next_text - cut < 3 * 0.2


@pytest.mark.slow
def test_f03_f42_a_black_hole_and_a_forgotten_connection(client: Client, made_world: World):
    client.ask()
    made_world.wires.filter("ip daddr 10.78.1.1 drop")
    reply = client.ask()
    assert (reply["backend"], reply["response"]) == ("cloud", WHOLE)
    reasons = [a["reason"] for a in reply["details"]["attempts"]]
    assert reasons == ["reset", "connect_timeout", None], "the pooled connection first, then a fresh one"


def test_f21_a_login_page(client: Client, made_world: World):
    for cloud in (made_world.copilot, made_world.cloud):
        cloud.script(then="html_200", free="html_200")
    begun = time.monotonic()
    reply = client.ask()
    assert time.monotonic() - begun < 3 * 1
    assert reply["backend"] == "local"
    assert client.get("/status")["connectivity"] == "portal"
