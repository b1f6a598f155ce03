"""The example clients print the same, byte for byte, whatever language they are written in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journeys.conftest import Providers, serving

from .canned_server import END_OF_CHUNKS, STREAM, chunk, event, saying
from .clients import Client, Told

# What breaks a client that escapes by hand, or in another encoding: quotes, controls, line breaks of Unicode, pairs.
HARD = 'Grüße: "zwei" \\ drei/vier \\n\tfünf\nsechs & <b> 😀 日本語 $x `y` %s \x01\x1b\x7f \u0085 \u2028 e\u0301 ende'
USAGE = "usage: client [query PROMPT | stream PROMPT | rag FILE QUESTION | health]\n"
BY_COPILOT = "[answered by copilot; finish: stop; Copilot's circuit: closed]\n"
CUT = "\nThe answer was cut: the stream ended without its end mark.\nCure: ask again; the text above is not whole\n"


def nobody(url: str) -> str:
    return f'No answer from {url}. Is the gateway running? Start it with "ai-gateway serve", or set AI_GATEWAY_URL.\n'


def stranger(url: str) -> str:
    return f"What answers at {url} is not AI Gateway. Set AI_GATEWAY_URL to where it runs.\n"


def in_words(problem: dict[str, Any]) -> str:
    tiers = [f"  {a['backend']} {a['outcome']}: {a['reason']}" for a in problem["attempts"]]
    first = [f"{problem['title']} ({problem['code']})", problem["detail"]]
    return "\n".join([*first, *tiers, f"Cure: {problem['cure']}", ""])


# --- answers


def test_a_query_is_sent_and_answered_without_a_changed_character(client: Client, server: str):
    assert client(server, "query", f"echo: {HARD}") == Told(f"{HARD}\n", BY_COPILOT, 0)


def test_a_stream_is_shown_without_a_changed_character(client: Client, server: str):
    assert client(server, "stream", f"echo: {HARD}") == Told(f"{HARD}\n", BY_COPILOT, 0)


def test_the_output_is_utf_8_whatever_the_locale(client: Client, server: str, providers: Providers):
    providers.copilot.answer = "Grüße 😀 日本語"
    told = client(server, "stream", "hi", LC_ALL="C", LANG="C", PYTHONIOENCODING="ascii")
    assert told == Told("Grüße 😀 日本語\n", BY_COPILOT, 0)


def test_a_file_is_read_and_cited(client: Client, server: str, providers: Providers, tmp_path: Path):
    file = tmp_path / "Rück gabe.txt"
    file.write_text("Rückgabe: 30 Tage 😀 lang.\n\nDanach nicht mehr.\n", encoding="utf-8")
    providers.copilot.answer = 'Bis zu 30 Tage 😀 "lang" [1].'

    told = client(server, "rag", str(file), "Wie lange ist die Rückgabe möglich?")

    sources = f"[1] {file.name}, characters 0 to 45\n"
    assert told == Told(f'Bis zu 30 Tage 😀 "lang" [1].\n{sources}', BY_COPILOT, 0)
    assert "Rückgabe: 30 Tage 😀 lang." in str(providers.copilot.paid_calls[-1].body)


def test_health_is_told(client: Client, server: str):
    shown = "status: ok\ncopilot_available: true\ncloud_available: true\nlocal_available: true\ncircuit_state: closed\n"
    assert client(server, "health") == Told(shown, "", 0)


def test_the_tour_shows_all_four(client: Client, server: str, providers: Providers):
    providers.copilot.answer = "Yes [1]."

    told = client(f"{server}/")

    health = client(server, "health").out
    shown = f"== health ==\n{health}\n== query ==\nYes [1].\n\n== rag ==\nYes [1].\n"
    shown += "[1] policy.txt, characters 0 to 70\n\n== stream ==\nYes [1].\n"
    assert told == Told(shown, BY_COPILOT * 3, 0)


def test_an_answer_cut_by_length_says_so(client: Client, server: str, providers: Providers):
    providers.copilot.script("finish:length", "finish:length")
    for command in ("query", "stream"):
        assert "finish: length" in client(server, command, "hi").err


# --- takeover


def test_a_stream_that_another_tier_takes_over_is_whole_and_says_so(client: Client, server: str, providers: Providers):
    for tier in (providers.copilot, providers.cloud):
        tier.answer = HARD
    providers.copilot.script("cut_after:7")

    told = client(server, "stream", "hi")

    seam = "\n[copilot broke off (reset): cloud goes on]\n"
    assert told == Told(
        f"{HARD}\n", f"{seam}[answered by copilot, then cloud; finish: stop; Copilot's circuit: closed]\n", 0
    )


DONE = (
    '{"response":"Whole.","backend":"cloud","state":"open",'
    '"details":{"finish_reason":"stop","segments":[{"backend":"cloud","start":0,"end":6}],"attempts":[],"sources":[]}}'
)


def test_after_a_restart_what_was_shown_is_void(client: Client):
    reply = (
        STREAM
        + event("meta", '{"id":"ans_1","backend":"copilot","state":"closed"}')
        + event("delta", '{"text":"Hal","segment":0,"seq":0}')
        + chunk(": a comment, as a sign of life\n\n")
        + event("segment", '{"segment":1,"backend":"cloud","reason":"reset","action":"restart"}')
        + event("delta", '{"text":"Whole.","segment":1,"seq":1}')
        + event("done", DONE)
        + END_OF_CHUNKS
    )
    with saying(reply) as url:
        told = client(url, "stream", "hi")
    marked = "Hal\n[copilot broke off (reset): discard the text above, cloud starts anew]\nWhole.\n"
    assert told == Told(marked, "[answered by cloud; finish: stop; Copilot's circuit: open]\n", 0)


# --- no answer


def test_a_refusal_by_all_tiers_is_explained(client: Client, server: str, providers: Providers):
    for tier in (providers.copilot, providers.cloud, providers.ollama):
        tier.script(then="status_500")
    problem = httpx.post(f"{server}/ai/query", json={"prompt": "hi"}, trust_env=False).json()
    httpx.post(f"{server}/admin/reset", trust_env=False)

    told = client(server, "query", "hi")

    assert told == Told("", in_words(problem), 3)
    assert told.err.startswith("No tier could answer (no_tier_answered)\n")
    assert "  copilot failed: upstream_5xx\n  cloud failed: upstream_5xx\n  local failed: upstream_5xx\n" in told.err
    httpx.post(f"{server}/admin/reset", trust_env=False)
    assert client(server, "stream", "hi") == told


def test_a_stream_that_ends_in_an_error_tells_it(client: Client, server: str, providers: Providers):
    providers.copilot.script("cut_after:5")
    for tier in (providers.cloud, providers.ollama):
        tier.script(then="status_500")

    told = client(server, "stream", "hi")

    assert (told.out, told.code) == ("A small lighthouse stands where", 3)
    assert told.err.startswith("\nThe answer broke off (stream_interrupted)\nthe answer broke off: ")
    assert "\n  copilot interrupted: reset\n  cloud failed: upstream_5xx\n" in told.err
    assert "\nCure: ask again" in told.err


BEGUN = STREAM + event("meta", '{"backend":"copilot"}') + event("delta", '{"text":"Half, 😀"}')
HALF_A_DONE = b"%x\r\nevent: done\ndata: {" % 200


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"", id="connection closed"),
        pytest.param(END_OF_CHUNKS, id="clean end"),
        pytest.param(HALF_A_DONE, id="in mid-event"),
    ],
)
def test_a_stream_without_its_end_mark_was_cut(client: Client, end: bytes):
    with saying(BEGUN + end) as url:
        told = client(url, "stream", "hi")
    assert told == Told("Half, 😀", CUT, 3)


def test_a_reset_never_looks_like_an_end(client: Client):
    with saying(BEGUN, resets=True) as url:
        told = client(url, "stream", "hi")
    assert told.code == 3
    assert told.err in (CUT, nobody(url))  # a reset may overtake the text, or even the head


def test_a_gateway_that_does_not_run_is_one_line_with_the_cure(client: Client):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for command in ("query", "stream"):
            assert client(url, command, "hi") == Told("", nobody(url), 3)
        assert client(url) == Told("== health ==\n", nobody(url), 3)


def test_a_connection_lost_before_the_answer_is_no_answer(client: Client):
    half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n" + b'{"response":"Half'
    for reply in (b"", half):
        with saying(reply) as url:
            assert client(url, "query", "hi") == Told("", nobody(url), 3)


def test_another_program_on_the_port_is_told(client: Client):
    for status in (b"200 OK", b"404 Not Found"):
        page = b"HTTP/1.1 %b\r\ncontent-type: text/html\r\ncontent-length: 14\r\n\r\n<h1>Hello</h1>" % status
        with saying(page) as url:
            for command in ("query", "stream"):
                assert client(url, command, "hi") == Told("", stranger(url), 3)


# --- the token


@pytest.fixture(scope="session")
def guarded(simulators: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("guarded")
    with serving(simulators, home, AI_GATEWAY_TOKEN='corr"ect \\horse') as (url, _):
        yield url


def test_a_gateway_that_wants_its_token_gets_it(client: Client, guarded: str, providers: Providers):
    providers.copilot.answer = "Yes."
    refused = (
        "A token is needed (token_needed)\nthe gateway's token is missing or wrong\n"
        "Cure: send the header Authorization: Bearer with the value of AI_GATEWAY_TOKEN\n"
    )
    assert client(guarded, "query", "hi") == Told("", refused, 3)
    assert client(guarded, "stream", "hi", AI_GATEWAY_TOKEN="wrong") == Told("", refused, 3)
    for command in ("query", "stream"):
        assert client(guarded, command, "hi", AI_GATEWAY_TOKEN='corr"ect \\horse') == Told("Yes.\n", BY_COPILOT, 0)


# --- usage


def test_wrong_usage_shows_the_right_one(client: Client):
    for arguments in (["nonsense"], ["query", "two", "prompts"], ["rag", "no question"]):
        assert client("http://127.0.0.1:1", *arguments) == Told("", USAGE, 2)


def test_what_cannot_be_used_is_named(client: Client, tmp_path: Path):
    missing = tmp_path / "missing.txt"
    for file in (missing, tmp_path):
        assert client("http://127.0.0.1:1", "rag", str(file), "hi") == Told("", f"Cannot read {file}\n", 2)
    told = client("127.0.0.1:8000", "health")
    assert told == Told("", "AI_GATEWAY_URL has to begin with http:// or https://\n", 2)


def test_a_refused_prompt_is_explained(client: Client, server: str):
    for command in ("query", "stream"):
        told = client(server, command, " ")
        assert told == Told(
            "", "The request was refused (prompt_refused)\nthe prompt is empty\nCure: write a question\n", 3
        )
