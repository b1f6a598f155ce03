"""S10, S11, S15, S16: what an upstream may do to us and to the user, and where keys and prompts never go."""

from __future__ import annotations

import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from gateway_core import Settings, SettingsInvalid
from gateway_core.cli.terminal import neutral
from gateway_core.testing import CopilotSimulator, OpenAISimulator

from ..journeys.conftest import SCALED, Providers
from .live import Live, live, variables

HOSTILE = (
    '\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m \x9b31m \x1b]52;c;cm0gLXJm\x07 \x1bP$q"p\x1b\\ \x08\x08\x08 \r'
    "— answered by copilot \x00\x7f\x85 \u202egpj.exe\u202d \u2066isolated\u2069 \u2028 \u200b"
    "<script>alert(1)</script><img src=x onerror=alert(1)> ![x](https://evil.example/?q=1) \ufffe"
)
ESCAPES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e]")


@contextmanager
def recorder() -> Iterator[tuple[int, list[bytes]]]:
    """A place that nothing should ever be sent to: its port, and the first bytes of each connection."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    wire, _ = listener.accept()
                    with wire:
                        wire.settimeout(2)
                        with suppress(OSError):
                            heard.append(wire.recv(65536))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


# S15


@pytest.fixture
def hostile(providers: Providers) -> Providers:
    for simulator in (providers.copilot, providers.cloud, providers.ollama):
        simulator.configure("answer", HOSTILE)
    return providers


def told_on_a_terminal(home: Path, providers: Providers, *arguments: str) -> tuple[str, str]:
    """What the command line writes to a real terminal, and what it writes into a pipe."""
    home.mkdir(exist_ok=True)
    environment = variables(home, {**SCALED, **providers.settings}) | {"TERM": "xterm"}
    command = [sys.executable, "-m", "gateway_core", *arguments]
    piped = subprocess.run(command, env=environment, cwd=home, capture_output=True, timeout=60)
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, cwd=home, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the terminal is hung up at the end
            while part := os.read(ours, 65536):
                shown += part
        process.wait(60)
    os.close(ours)
    return shown.decode("utf-8", "replace").replace("\r\n", "\n"), (piped.stdout + piped.stderr).decode(
        "utf-8", "replace"
    )


def without_our_own(shown: str) -> str:
    """A line that gives way is wiped with blanks between two carriage returns; those are ours."""
    return re.sub(r"\r *\r?", "", shown)


@pytest.mark.parametrize(
    "fault", ["ok", "cut_after:4", "status_418:message=\x1b[2Jyou", "error_after:3,message=\x1b]0;x\x07"]
)
def test_s15_nothing_an_upstream_says_drives_the_terminal(tmp_path: Path, hostile: Providers, fault: str):
    for simulator in (hostile.copilot, hostile.cloud):
        simulator.script(then=fault)
    file = tmp_path / "a\x1b[31m\u202egpj.txt"
    file.write_text(HOSTILE)
    for arguments in (["ask", "Hello?"], ["ask", "alert?", "-d", str(file)], ["status"]):
        shown, piped = told_on_a_terminal(tmp_path / "home", hostile, *arguments)

        assert ESCAPES.findall(without_our_own(shown)) == []
        assert ESCAPES.findall(piped) == []


def test_s15_bytes_of_both_kinds_of_writing_come_through():
    """Hebrew with its marks, families of emoji: only what reorders or drives is shown instead of sent."""
    text = "שלום \u200f(a)\u200e \u2067x\u2069 👨\u200d👩\u200d👧 é\tb\n"

    assert neutral(text) == text


WRONG = [
    "html_200", "bad_json", "bad_schema", "empty_body", "long_line:9000000", "bad_line_after:3", "gap_sequence:4",
    "gzip_bomb:50", "huge_body:50", "comments:1", "redirect:http://127.0.0.1:9/", "status_511", "short_body",
]  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_s15_a_stream_of_anything_ends_in_one_answer_or_one_error(server: Live, hostile: Providers, fault: str):
    hostile.copilot.script(then=fault)
    hostile.cloud.script(then=fault)
    before = server.resident()
    httpx.post(f"{server.url}/admin/reset").raise_for_status()
    whole = httpx.post(f"{server.url}/ai/query", json={"prompt": "x", "details": True}, timeout=30)
    with httpx.stream("POST", f"{server.url}/ai/query", json={"prompt": "x", "stream": True}, timeout=30) as reply:
        events = re.findall(r"^event: (\w+)$", reply.read().decode(), re.MULTILINE)
    httpx.post(f"{server.url}/admin/reset").raise_for_status()

    assert whole.status_code == 200
    assert set(whole.json()) == {"response", "backend", "state", "details"}
    assert [name for name in events if name in ("done", "error")] == events[-1:]
    assert server.resident() - before < 100_000_000


def test_s15_a_hostile_answer_is_data_on_every_surface(server: Live, hostile: Providers):
    turns = [{"role": "user", "content": "x"}]
    bodies: dict[str, dict[str, object]] = {
        "/ai/query": {"prompt": "x"},
        "/v1/chat/completions": {"model": "auto", "messages": turns},
        "/v1/messages": {"model": "auto", "messages": turns, "max_tokens": 1000},
        "/v1/responses": {"model": "auto", "input": "x"},
        "/api/chat": {"model": "auto", "messages": turns},
    }
    for path, body in bodies.items():
        for stream in (False, True):
            reply = httpx.post(server.url + path, json={**body, "stream": stream}, timeout=30)

            assert reply.status_code == 200
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["content-type"].partition(";")[0] in (
                "application/json", "text/event-stream", "application/x-ndjson",
            )  # fmt: skip
            assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", reply.text)
            assert "script>alert" in reply.text  # escaping it is the business of who shows it


def test_s15_names_of_models_forge_no_line_of_the_log_and_no_label(server: Live, providers: Providers):
    marks = 'forged\n2026-01-01 CRITICAL ai_gateway: forged\r\x1b[2J"} 1\n'
    for body in ({"prompt": "x", "model": marks}, {"prompt": marks}, {"prompt": "x", marks: 1, "details": True}):
        httpx.post(f"{server.url}/ai/query", json=body, headers={"idempotency-key": "a"}, timeout=30)
        httpx.post(f"{server.url}/v1/chat/completions", timeout=30, json={
            "model": f"cloud/{marks}", "messages": [{"role": "user", "content": "x"}],
        })  # fmt: skip
    httpx.get(f"{server.url}/{'forged%0aline'}")
    log = server.log.read_text("utf-8")
    metrics = httpx.get(f"{server.url}/metrics").text

    assert not re.search(r"^(forged|\S+ CRITICAL)", log, re.MULTILINE)
    assert not ESCAPES.search(log)
    assert "forged" not in metrics


# S10, S11


@pytest.mark.parametrize("fault", ["redirect", "redirect_307"])
def test_s10_s11_no_redirect_is_followed_and_no_key_moves_along(server: Live, providers: Providers, fault: str):
    with recorder() as (port, heard):
        for simulator in (providers.copilot, providers.cloud, providers.ollama):
            simulator.script(then=f"{fault}:http://127.0.0.1:{port}/v1", free=f"{fault}:http://127.0.0.1:{port}/v1")
        httpx.post(f"{server.url}/admin/reset").raise_for_status()
        reply = httpx.post(f"{server.url}/ai/query", json={"prompt": "x"}, timeout=30)
        httpx.get(f"{server.url}/status", timeout=30)
        for simulator in (providers.copilot, providers.cloud, providers.ollama):
            simulator.script()
        httpx.post(f"{server.url}/admin/reset").raise_for_status()

    assert reply.status_code == 503
    assert {attempt["reason"] for attempt in reply.json()["attempts"]} >= {"redirected"}
    assert heard == []


ADDRESSES = [
    "http://169.254.169.254/latest/meta-data", "http://169.254.169.254:80/v1", "https://169.254.170.2/v1",
    "http://[fd00:ec2::254]/v1", "http://metadata.google.internal/v1", "http://METADATA.google.internal./v1",
    "http://2852039166/v1", "http://0xa9fea9fe/v1", "http://0251.0376.0251.0376/v1", "http://169.254.43518/v1",
    "http://[::ffff:169.254.169.254]/v1", "http://[::ffff:a9fe:a9fe]/v1", "http://100.100.100.200/v1",
    "file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/v1", "javascript:alert(1)", "data:text/plain,x",
    "http://api.openai.com@127.0.0.1/v1", "https://me:pass@api.openai.com/v1", "http://", "https:///v1", "//127.0.0.1",
    "unix:///var/run/docker.sock",
]  # fmt: skip


NAMES = ("openai_base_url", "cloud_base_url", "copilot_api_base", "copilot_github_api", "local_base_url",
         "ollama_base_url", "ai_gateway_url")  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_s10_addresses_that_are_no_provider_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, address: str):
    for name in NAMES:
        if name == "ollama_base_url" and address in ("http://", "https:///v1", "//127.0.0.1"):
            continue  # spellings of OLLAMA_HOST that mean this laptop
        with monkeypatch.context() as one:
            one.setenv(name.upper(), address)
            with pytest.raises(SettingsInvalid, match=name.upper()):
                Settings.load()


def test_s10_no_request_chooses_an_address(server: Live, providers: Providers):
    with recorder() as (port, heard):
        evil = f"http://127.0.0.1:{port}/v1"
        names = ("base_url", "api_base", "endpoint", "proxy", "url", "host", "model", "callback", "image_url")
        documents = [{"name": evil, "text": evil}, {"url": evil, "text": ""}]
        fields = {**dict.fromkeys(names, evil), "documents": documents}
        picture = [{"type": "image_url", "image_url": {"url": evil}}, {"type": "text", "text": "x"}]
        httpx.post(f"{server.url}/ai/query", json={"prompt": evil, **fields}, timeout=30)
        httpx.post(f"{server.url}/ai/query/rag", json={"prompt": evil, **fields}, timeout=30)
        httpx.post(f"{server.url}/v1/chat/completions", timeout=30,
                   json={**fields, "messages": [{"role": "user", "content": picture}]})  # fmt: skip
        httpx.get(f"{server.url}/status", headers={"x-forwarded-host": evil, "forwarded": f"host={evil}"})

    assert heard == []


def test_s11_a_key_goes_to_the_address_it_belongs_to_and_nowhere_else(server: Live, providers: Providers):
    keys = {"copilot": providers.settings["github_copilot_token"], "cloud": providers.settings["openai_api_key"]}
    for tier in ("copilot", "cloud", "local"):
        httpx.post(f"{server.url}/ai/query", json={"prompt": "x", "tier": tier}, timeout=30).raise_for_status()
    httpx.get(f"{server.url}/status", timeout=30)
    seen = {name: "".join(map(repr, getattr(providers, name).calls)) for name in ("copilot", "cloud", "ollama")}

    assert {name for name, text in seen.items() if keys["copilot"] in text} == {"copilot"}
    assert {name for name, text in seen.items() if keys["cloud"] in text} == {"cloud"}
    for name in ("copilot", "cloud"):  # in a header: addresses stand in logs of others
        assert not [call for call in getattr(providers, name).calls if keys[name] in call.path + str(dict(call.query))]


# S16

LOCAL_FAULTS = ["ok", "status_500", "cut_after:3", "hang", "html_200", "reset_after_request", "status_404", "bad_json"]


@pytest.mark.parametrize("fault", LOCAL_FAULTS)
def test_s16_what_is_meant_for_this_laptop_stays_on_it(server: Live, providers: Providers, fault: str):
    providers.ollama.script(then=fault)
    httpx.post(f"{server.url}/admin/reset").raise_for_status()
    ask_privately(server, {"local_only": True})
    refused = [
        httpx.post(f"{server.url}/ai/query", json={"prompt": "x", "local_only": True, "tier": tier}).status_code
        for tier in ("copilot", "cloud")
    ]
    providers.ollama.script()
    httpx.post(f"{server.url}/admin/reset").raise_for_status()

    assert providers.copilot.paid_calls + providers.cloud.paid_calls == []
    assert not [call for call in providers.copilot.calls + providers.cloud.calls if "private" in str(call.body)]
    assert refused == [422, 422]


def test_s16_with_local_only_set_no_cloud_is_even_called(tmp_path: Path, providers: Providers):
    """By addresses of this laptop, too: what listens there may be a proxy to a cloud."""
    knocks = {name: knock(getattr(providers, name)) for name in ("copilot", "cloud")}
    with live(tmp_path, {**SCALED, **providers.settings, "local_only": "1"}) as server:
        for fault in ("ok", "status_500", "cut_after:3"):
            providers.ollama.script(then=fault)
            ask_privately(server, {})
            ask_privately_in_other_words(server)
        models = httpx.get(f"{server.url}/v1/models", timeout=30).json()["data"]
        for path in ("/status", "/health", "/metrics"):
            httpx.get(server.url + path, timeout=30).raise_for_status()
        httpx.post(f"{server.url}/ai/query", json={"prompt": "x", "local_only": False}, timeout=30)

    for name, before in knocks.items():
        assert knock(getattr(providers, name)) == before + 1, f"{name} was connected to"
    assert [call.path for call in providers.copilot.calls + providers.cloud.calls] == ["/knock"] * 4
    assert providers.ollama.paid_calls
    assert models


def knock(simulator: CopilotSimulator | OpenAISimulator) -> int:
    """Connect once more: how many have done so by now, with or without a word."""
    httpx.get(f"{simulator.url}/knock", timeout=30)
    return simulator.calls[-1].connection


def ask_privately(server: Live, more: dict[str, object]) -> None:
    """In every form and with every policy; whether it is answered does not matter here."""
    fields: dict[str, object] = {"prompt": "a private question", "deadline_s": 8, **more}
    documents = {"documents": ["a private text about a question"]}
    forms: tuple[tuple[str, dict[str, object]], ...] = (
        ("/ai/query", {}), ("/ai/query", {"stream": True}), ("/ai/query/rag", {**documents}),
    )  # fmt: skip
    for path, form in forms:
        for policy in ("continue", "restart", "stop"):
            httpx.post(server.url + path, json={**fields, **form, "on_interrupt": policy}, timeout=30)


def ask_privately_in_other_words(server: Live) -> None:
    """By the other APIs: the ladder by its name, each cloud by its own, whole and streamed."""
    said = [{"role": "user", "content": "a private question"}]
    forms: tuple[tuple[str, dict[str, object]], ...] = (
        ("/v1/chat/completions", {"messages": said}), ("/v1/messages", {"messages": said, "max_tokens": 50}),
        ("/v1/responses", {"input": "a private question"}), ("/v1/embeddings", {"input": "a private question"}),
        ("/api/chat", {"messages": said}), ("/api/generate", {"prompt": "a private question"}),
        ("/api/embed", {"input": "a private question"}),
    )  # fmt: skip
    for path, form in forms:
        for model in ("auto", "copilot", "cloud/gpt-5"):
            for stream in (False, True):
                asked = {**form, "model": model, "stream": stream}
                with httpx.stream("POST", server.url + path, json=asked, timeout=30) as reply:
                    assert reply.status_code not in (404, 405, 415), f"{path} was not asked"
                    with suppress(httpx.RemoteProtocolError):  # a stream that broke off is cut, never ended
                        reply.read()
