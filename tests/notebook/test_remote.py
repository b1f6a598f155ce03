"""A running gateway is asked over REST: same answers, same errors, same interrupt."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway_core import AllTiersFailed, AnswerInterrupted, Gateway, PromptRefused, Settings
from gateway_core.errors import TierBroken, TierUnreachable
from gateway_core.testing import ScriptedTier
from notebook_ext import GatewayMagics
from notebook_ext.remote import RemoteGateway, ServerRefused, ServerUnreachable, server_sent
from server import create_app

uvicorn = pytest.importorskip("uvicorn")
TOKEN = "a-token-nobody-should-see-0123456789"


@contextmanager
def served(*tiers: ScriptedTier, **settings: Any) -> Iterator[str]:
    chosen = Settings(_env_file=None, ai_gateway_store="memory", **settings)
    app = create_app(Gateway(tiers, settings=chosen))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


@pytest.fixture
def over_rest(notebook: Any) -> Callable[[str], None]:
    def use(url: str) -> None:
        magics = GatewayMagics(notebook.shell)
        magics.register()
        notebook.run(f"%ai config url={url}")

    return use


def test_a_cell_is_answered_by_the_server(notebook, over_rest):
    with served(ScriptedTier("copilot", ["Par", "is"])) as url:
        over_rest(url)
        ran = notebook.run("%%ai answer\nCapital?")
        status = notebook.run("%ai status").out

    assert ran.error is None
    result = notebook["answer"]
    assert (result.text, result.backend, result.segments[0].end) == ("Paris", "copilot", 5)
    assert result.total_ms >= 0
    assert url in status
    assert "copilot" in status


def test_the_environment_names_the_server(notebook, monkeypatch):
    with served(ScriptedTier("copilot", ["Paris"])) as url:
        monkeypatch.setenv("AI_GATEWAY_URL", url)
        GatewayMagics(notebook.shell).register()
        notebook.run("%%ai answer\nCapital?")

    assert notebook["answer"].text == "Paris"


def test_documents_conversations_and_options_travel(notebook, over_rest, asked):
    tier = ScriptedTier("cloud", ["30 days [1]."], ["yes"])
    with served(tier) as url:
        over_rest(url)
        notebook["notes"] = [{"topic": "refunds", "days": 30}]
        notebook.run("%%ai_rag answer -d notes -c shop --system Brief. --tier cloud\nRefunds?")
        assert "topic=refunds; days=30" in asked(tier)
        notebook.run("%%ai -c shop\nSure?")

    assert asked(tier).endswith("Refunds?\n30 days [1].\nSure?")
    assert notebook["answer"].sources[0].place == "overview to row 0"


def test_a_takeover_is_told_with_its_seam(notebook, over_rest):
    tiers = ScriptedTier("copilot", ["Paris is ", TierBroken("copilot")]), ScriptedTier("cloud", ["the capital."])
    with served(*tiers) as url:
        over_rest(url)
        ran = notebook.run("%%ai answer\nCapital?")

    assert [s.backend for s in notebook["answer"].segments] == ["copilot", "cloud"]
    assert "copilot broke off after 9 characters" in ran.out


def test_a_cut_with_stop_keeps_the_partial_text(notebook, over_rest):
    with served(ScriptedTier("copilot", ["Paris is ", TierBroken("copilot")])) as url:
        over_rest(url)
        ran = notebook.run("%%ai --on-interrupt stop answer\nCapital?")

    assert isinstance(ran.error, AnswerInterrupted)
    assert (notebook["answer"].text, notebook["answer"].interrupted) == ("Paris is ", True)


@pytest.mark.parametrize(
    ("script", "cell", "error"),
    [
        pytest.param([TierUnreachable("copilot", "no route")], "Hello", AllTiersFailed, id="nobody answers"),
        pytest.param(["ok"], "a\0b", PromptRefused, id="a refused question"),
    ],
)
def test_errors_are_those_of_the_gateway_itself(notebook, over_rest, script, cell, error):
    with served(ScriptedTier("copilot", script)) as url:
        over_rest(url)
        ran = notebook.run(f"get_ipython().run_cell_magic('ai', '', {cell!r})")

    assert isinstance(ran.error, error)
    assert "Traceback" not in ran.out + ran.err


def test_the_token_is_sent_and_never_shown(notebook, monkeypatch):
    with served(ScriptedTier("copilot", ["Paris"]), ai_gateway_token=TOKEN) as url:
        monkeypatch.setenv("AI_GATEWAY_URL", url)
        magics = GatewayMagics(notebook.shell)
        magics.register()
        refused = notebook.run("%%ai\nCapital?")
        assert isinstance(refused.error, ServerRefused)

        monkeypatch.setenv("AI_GATEWAY_TOKEN", TOKEN)
        GatewayMagics(notebook.shell).register()
        shown = [notebook.run(cell) for cell in ("%%ai\nCapital?", "%ai status", "%ai config", "%ai reset")]

    assert [ran.error for ran in shown] == [None] * 4
    assert TOKEN not in "".join(ran.out + ran.err for ran in shown)


def test_no_server_is_told_in_one_line(notebook, over_rest):
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    over_rest(f"http://127.0.0.1:{port}")
    ran = notebook.run("%%ai\nCapital?")

    assert isinstance(ran.error, ServerUnreachable)
    assert "ai-gateway serve" in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err


def test_hanging_up_is_heard_by_the_server():
    tier = ScriptedTier("copilot", ["Par", 3600.0])
    with served(tier) as url:
        reading = RemoteGateway(url).stream("Capital?")
        while not (reading.wait(0.1) and reading.wait(0.1)):
            pass
        reading.close()
        deadline = time.monotonic() + 10
        while not tier.cancelled and time.monotonic() < deadline:
            time.sleep(0.01)

    assert tier.cancelled == 1
    assert list(reading) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"event: meta\ndata: {}\n\n", id="fields are missing"),
        pytest.param(b"event: delta\ndata: not json\n\n", id="no JSON"),
        pytest.param(b"<html>", id="no events"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_reply_that_makes_no_sense_is_no_answer(body):
    class Wrong(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(ServerUnreachable):
            list(RemoteGateway(f"http://127.0.0.1:{server.server_port}").stream("Capital?"))
    finally:
        server.shutdown()
        server.server_close()


def test_events_end_at_blank_lines_only():
    line_separator = json.dumps({"text": "a\u2028b"}, ensure_ascii=False)
    lines = [b": comment\r\n", b"event: delta\r\n", f"data: {line_separator}\r\n".encode(), b"\r\n", b"\n"]

    assert list(server_sent(iter(lines))) == [("delta", {"text": "a\u2028b"})]
