"""`explain`: what is kept of a request, for people and as JSON."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway_core import Gateway
from gateway_core.cli import main
from gateway_core.errors import TierBroken
from gateway_core.journal import FILE, Journal, _append
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason, Usage

RECORD = {
    "id": "ans_51d1d0c8e1ab2f06", "task": "rag", "begun": 1795461439.0, "ms": 24210.0, "outcome": "answered",
    "reason": None, "tier": None, "local_only": False, "whole": False, "backend": "local", "mode": "ollama",
    "model": "qwen3:4b", "finish_reason": "stop", "input_tokens": 180, "output_tokens": 122, "credits": None,
    "retrieval": {"begun_ms": 1.0, "ms": 12.0, "documents": 1, "passages": 7, "chars": 3900},
    "segments": [{"backend": "cloud", "start": 0, "end": 211}, {"backend": "local", "start": 211, "end": 480}],
    "attempts": [
        {"backend": "copilot", "mode": "copilot", "outcome": "skipped", "reason": "circuit_open", "ms": 0.0,
         "begun_ms": 1.0, "retry_after": 200.0, "detail": "left alone after: upstream_5xx"},
        {"backend": "cloud", "mode": "openai", "outcome": "interrupted", "reason": "stalled", "ms": 21100.0,
         "begun_ms": 3.0, "first_token_ms": 1103.0, "asked_model": "gpt-5-mini", "host": "api.openai.com",
         "port": 443, "may_have_billed": True},
        {"backend": "local", "mode": "ollama", "outcome": "answered", "reason": None, "ms": 3100.0,
         "begun_ms": 21110.0, "first_token_ms": 22000.0, "model": "qwen3:4b", "host": "127.0.0.1", "port": 11434},
    ],
}  # fmt: skip


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("AI_GATEWAY_STORE", "sqlite")
    return tmp_path / "state"


@pytest.fixture
def kept(state):
    _append(state / FILE, [{**RECORD, "id": "ans_older", "outcome": "unanswered"}, RECORD], 200)


@pytest.mark.usefixtures("kept")
def test_a_request_is_told_tier_by_tier_with_its_seam_and_its_tokens(cli):
    told = cli("explain", RECORD["id"])

    head, *rest = told.out.splitlines()
    assert told.code == 0
    assert head.startswith("ans_51d1d0c8e1ab2f06  2026-11-2")
    assert head.endswith("answered by local (ollama, qwen3:4b), 24.2 s")
    assert rest == [
        "7 passages (3900 characters) of 1 document chosen in 12 ms",
        "",
        "  1  copilot       skipped: circuit open",
        "                   left alone after: upstream_5xx (not asked again for 4 min)",
        "  2  cloud openai  broke off: stalled",
        "                   asked at 3 ms, for 21.1 s, first text after 1.1 s, may have been billed",
        "                   gpt-5-mini at api.openai.com:443",
        "  3  local ollama  answered",
        "                   asked at 21.1 s, for 3.1 s, first text after 890 ms",
        "                   qwen3:4b at 127.0.0.1:11434",
        "",
        "written by: cloud 0-211, then local 211-480 (characters)",
        "tokens: 180 input, 122 output",
    ]


@pytest.mark.usefixtures("kept")
def test_without_an_id_the_last_request_is_told(cli):
    assert cli("explain", "--json").json == RECORD
    assert cli("explain", "ans_older", "--json").json["outcome"] == "unanswered"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("id", ["ans_unknown", "ans_51d1", "%", "x' OR '1'='1"])
def test_an_unknown_id_is_a_clear_error(cli, id):
    told = cli("explain", id)

    assert (told.code, told.out) == (2, "")
    assert f"no request {id} is kept: the last 200 are" in told.err


def test_before_the_first_request_there_is_nothing_to_tell(cli, state, monkeypatch):
    told = cli("explain")
    assert (told.code, state.exists()) == (2, False)
    assert "no request is kept yet" in told.err

    monkeypatch.setenv("AI_GATEWAY_STORE", "memory")
    assert "set AI_GATEWAY_URL" in cli("explain").err
    monkeypatch.setenv("AI_GATEWAY_JOURNAL", "0")
    assert "AI_GATEWAY_JOURNAL=0" in cli("explain").err


def test_what_ask_shows_can_be_explained(cli, state, monkeypatch):
    cloud = ScriptedTier("cloud", ["fine", Chunk(finish_reason="stop", usage=Usage(3, 1))])
    tiers = [ScriptedTier("copilot", [TierBroken("copilot", "x", reason=Reason.RESET)]), cloud]

    def build(settings):
        return Gateway(tiers, settings=settings, journal=Journal(state / FILE))

    capsys_run = cli("ask", "--json", "hi", tiers=tiers)  # kept in memory: unknown to others
    assert cli("explain", capsys_run.json["details"]["id"]).code == 2
    assert main(["ask", "hi"], build=build) == 0
    told = cli("explain")

    assert "answered by cloud (scripted" not in told.out  # the model is told by the provider, not guessed
    assert "  1  copilot  failed: reset" in told.out
    assert "tokens: 3 input, 1 output" in told.out
    assert cli("erase", "--yes").code == 0
    assert cli("explain").code == 2


def test_control_characters_cannot_forge_lines(cli, state):
    forged = {**RECORD["attempts"][1], "asked_model": "gpt\n  3  local  answered\x1b[2J"}
    _append(state / FILE, [{**RECORD, "attempts": [forged]}], 200)
    told = cli("explain").out

    assert "\x1b" not in told
    assert "\n  3  local" not in told


@pytest.mark.usefixtures("kept")
def test_a_damaged_file_is_told_with_its_cure(cli, state):
    (state / FILE).write_bytes(b"garbage" * 1000)
    told = cli("explain")

    assert (told.code, told.out) == (3, "")
    assert "not a database" in told.err
    assert "delete it" in told.err


def test_a_running_gateway_is_asked_where_one_is_named(cli, monkeypatch):
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.path)
            is_known = self.path in ("/ai/requests/last", f"/ai/requests/{RECORD['id']}")
            body = json.dumps(RECORD if is_known else {"code": "not_found"}).encode()
            self.send_response(200 if is_known else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("AI_GATEWAY_URL", f"http://127.0.0.1:{server.server_port}")
        codes = [cli("explain", *argv).code for argv in ((), (RECORD["id"],), ("../admin?x",))]
        unknown = cli("explain", "nope").err
        server.shutdown()
        thread.join()

    assert codes == [0, 0, 2]
    assert heard[:3] == ["/ai/requests/last", f"/ai/requests/{RECORD['id']}", "/ai/requests/..%2Fadmin%3Fx"]
    assert "no request nope is kept by the gateway at" in unknown
    assert cli("explain").code == 3  # nobody listens any more


def test_last_is_the_word_of_the_rest_api_for_the_last_one(cli, kept):
    assert cli("explain", "last").out == cli("explain").out
