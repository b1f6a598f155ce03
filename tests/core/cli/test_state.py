"""`status` and `reset`: of a running gateway where `AI_GATEWAY_URL` names one, else of this process's own."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway_core.cli.state import status_lines
from gateway_core.errors import TierUnreachable
from gateway_core.testing import ScriptedTier
from gateway_core.tiers.base import Missing

STATUS = {"version": "9.9.9", "tiers": [], "connectivity": "online", "store": "sqlite", "notes": ["a \x1b[31mnote"]}


@pytest.fixture
def running_gateway(monkeypatch):
    """A gateway on a loopback port; `replies[path]` is status and body, `heard` the requests."""
    heard, replies = [], {"/status": (200, STATUS), "/admin/reset": (200, {"status": "ok"})}

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            heard.append((self.command, self.path, self.headers.get("authorization")))
            status, body = replies[self.path]
            self.send_response(status)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = answer

        def log_message(self, *args):
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("AI_GATEWAY_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        yield heard, replies
        server.shutdown()
        thread.join()


def test_status_shows_each_tier_its_reason_and_its_cure(cli):
    ran = cli(
        "status", tiers=[ScriptedTier("copilot", missing=Missing("no token", "gh auth login")), ScriptedTier("local")]
    )

    assert ran.code == 0
    assert ran.out.splitlines() == [
        "copilot  not asked: no token",
        "         → gh auth login",
        "local    ready  scripted-local",
        "network online; circuits in memory; version 0.1.0",
    ]


def test_status_as_json_is_what_the_server_replies(cli):
    told = cli("status", "--json", tiers=[ScriptedTier("copilot")]).json

    assert set(told) >= {"version", "tiers", "connectivity", "store", "notes"}
    assert told["tiers"][0]["backend"] == "copilot"


def test_an_open_circuit_says_when_it_is_tried_again():
    tier = {
        "backend": "copilot", "mode": "copilot", "available": False, "why_not": "left alone after: stalled",
        "circuit": {"state": "open", "reopens_in": 240.0},
    }  # fmt: skip

    assert status_lines({"tiers": [tier]})[0] == "copilot  not asked: left alone after: stalled (again in 4 min)"


def test_reset_closes_what_this_process_can_reach_and_says_what_it_cannot(cli):
    ran = cli("reset", tiers=[ScriptedTier("copilot", [TierUnreachable("copilot", "no route")])])

    assert (ran.code, ran.out) == (0, "every circuit is closed\n")
    assert "AI_GATEWAY_URL" in ran.err


def test_a_running_gateway_is_asked_directly_with_its_token(cli, running_gateway, monkeypatch):
    heard, _ = running_gateway
    monkeypatch.setenv("AI_GATEWAY_TOKEN", "t-1")

    status = cli("status", "--json", tiers=[])
    reset = cli("reset", tiers=[])

    assert (status.code, reset.code) == (0, 0)
    assert status.json == STATUS
    assert (reset.out, reset.err) == ("every circuit is closed\n", "")
    assert heard == [("GET", "/status", "Bearer t-1"), ("POST", "/admin/reset", "Bearer t-1")]


def test_what_a_running_gateway_tells_does_not_drive_the_terminal(cli, running_gateway):
    assert "a ␛[31mnote" in cli("status", tiers=[]).out


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        pytest.param(401, {}, "set AI_GATEWAY_TOKEN", id="no token"),
        pytest.param(404, b"<html>", "did not answer as a gateway does (HTTP 404)", id="something else listens there"),
        pytest.param(200, b"[1]", "did not answer as a gateway does", id="another API"),
    ],
)
def test_a_gateway_that_does_not_do_it_is_one_line_and_exit_3(cli, running_gateway, status, body, told):
    _, replies = running_gateway
    replies["/status"] = (status, body)
    ran = cli("status", tiers=[])

    assert (ran.code, ran.out) == (3, "")
    assert told in ran.err
    assert ran.err.count("\n") == 1


def test_a_gateway_that_is_not_there_is_one_line_with_its_cure(cli, monkeypatch):
    monkeypatch.setenv("AI_GATEWAY_URL", "http://127.0.0.1:9")
    ran = cli("reset", tiers=[])

    assert (ran.code, ran.out) == (3, "")
    assert "no gateway answers at http://127.0.0.1:9" in ran.err
