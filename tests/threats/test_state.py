"""S5, S6, S7, S8: what is left on the disk and in the log, and who may read it. With the page, which keeps the most."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from ..journeys.canaries import CLOUD, CONTENTS, COPILOT, DOCUMENT, LOCAL, PROMPT, SYSTEM, TOKENS, Leaks, files_below
from ..journeys.conftest import Providers
from .live import Live, until, variables

pytestmark = pytest.mark.slow  # the page loads for seconds

SOMEBODY_ELSE = 65534
FAULTS = [
    "ok", "status_500", f"status_400:message=Incorrect key {CLOUD} or {COPILOT} for {PROMPT}", "status_401",
    f"error_after:3,message=You asked {PROMPT} with {COPILOT}", "cut_after:3", "html_200", "bad_json", "empty_body",
    "reset_after_request", "status_429:retry_after=60", "long_line:9000000",
]  # fmt: skip


@pytest.fixture
def client(page: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page.url, headers=page.headers, timeout=60) as client:
        yield client


def walk(
    client: httpx.Client, providers: Providers, faults: Sequence[str] = FAULTS[:2]
) -> tuple[list[str], list[httpx.Response]]:
    """Everything the page can do, under each fault; the conversations, and every reply."""
    chats, replies = [], []

    def call(method: str, path: str, **more: object) -> httpx.Response:
        reply = client.request(method, f"/ui{path}", **more)  # type: ignore[arg-type]
        replies.append(reply)
        return reply

    for fault in faults:
        providers.copilot.script(then=fault)
        providers.cloud.script(then=fault)
        client.post("/admin/reset").raise_for_status()
        chat = call("POST", "/chats", json={}).json()["id"]
        chats.append(chat)
        content = {"content-type": "application/octet-stream"}
        call("POST", f"/chats/{chat}/documents?name=pond.txt", content=DOCUMENT.encode(), headers=content)
        call("POST", f"/chats/{chat}/documents?name=pond.pdf", content=b"%PDF-" + DOCUMENT.encode(), headers=content)
        for tier in (None, "copilot", "cloud", "local"):
            call("POST", f"/chats/{chat}/ask", json={"prompt": PROMPT, "system": SYSTEM, "tier": tier})
        call("POST", f"/chats/{chat}/ask", json={"prompt": PROMPT, "wrong": PROMPT})
        call("PATCH", f"/chats/{chat}", json={"title": "a pond"})
        for ending in ("md", "html", "json"):
            call("GET", f"/chats/{chat}/export/{ending}")
        call("GET", f"/chats/{chat}")
    call("POST", "/drill", json={"tier": "copilot", "fault": "cut"})
    for path in ("/chats?q=CANARYPROMPT", "/drill", "/speeds", "/", "/config", "/nothing"):
        call("GET", path)
    for path in ("/status", "/metrics", "/health", "/"):
        replies.append(client.get(path))
    return chats, replies


def test_s06_s07_the_page_leaks_no_key_and_logs_no_prompt(page: Live, client: httpx.Client, providers: Providers):
    leaks = Leaks()
    chats, replies = walk(client, providers, FAULTS)
    answered = [reply for reply in replies if reply.request.url.path.endswith("/ask") and reply.status_code == 200]
    for reply in replies:
        leaks.look(f"{reply.request.method} {reply.request.url.path}", reply.text, *TOKENS)
        leaks.look("its headers", str(reply.headers), *TOKENS, *CONTENTS)
    log = page.log.read_text("utf-8")
    leaks.look("the log", log, *TOKENS, *CONTENTS)
    in_conversations = b""
    for path, content in files_below(page.home):
        kept = path.relative_to(page.home)
        leaks.look(str(kept), content, *TOKENS)
        if kept.parts[:2] == ("state", "conversations"):
            in_conversations += content
        else:
            leaks.look(str(kept), content, *CONTENTS)
    assert leaks.places == []
    assert len(answered) >= len(FAULTS)
    assert all(mark.encode() in in_conversations for mark in CONTENTS[:2])  # the marks would have been seen
    assert "attempt" in log
    for chat in chats:
        client.delete(f"/ui/chats/{chat}").raise_for_status()
    for path, content in files_below(page.home):
        leaks.look(f"{path.name}, after its conversation was deleted", content, *CONTENTS)
    assert leaks.places == []


def test_s08_everything_it_writes_is_for_its_user_alone_whatever_the_umask(
    page: Live, client: httpx.Client, providers: Providers
):
    walk(client, providers)
    save_a_login(page, providers)
    rights = rights_of(page)

    assert {name: oct(mode) for name, mode in rights.items() if mode & 0o077} == {}
    assert {"state", "state/copilot.json", "state/salt", "state/circuits.db", "state/conversations"} <= set(rights)


def test_s05_another_user_of_the_machine_reads_nothing(page: Live, client: httpx.Client, providers: Providers):
    if os.geteuid() != 0:
        pytest.skip("only root can run a program as somebody else")
    walk(client, providers)
    save_a_login(page, providers)
    control = page.home / "control.txt"
    control.write_text("open to everybody")
    control.chmod(0o644)
    process = Path(f"/proc/{page.process.pid}")
    private = [*written(page), process / "environ", process / "mem", process / "fd"]
    opened = {
        str(path)
        for path in [*private, control, process / "cmdline"]
        if as_somebody_else("ls" if path.is_dir() else "cat", str(path)).returncode == 0
    }
    told = as_somebody_else("cat", str(process / "cmdline")).stdout

    assert opened == {str(control), str(process / "cmdline")}
    assert not [mark for mark in TOKENS if mark.encode() in told]


def test_s05_without_the_token_health_is_all_another_user_is_told(page: Live):
    open_to_all = httpx.get(f"{page.url}/health")
    others = [
        httpx.get(page.url + path) for path in ("/status", "/metrics", "/ai/events", "/ui/chats", "/openapi.json")
    ]

    assert set(open_to_all.json()) == {
        "status", "copilot_available", "cloud_available", "local_available", "circuit_state",
    }  # fmt: skip
    assert {reply.status_code for reply in others} == {401}


def rights_of(page: Live) -> dict[str, int]:
    while True:
        try:
            return {str(path.relative_to(page.home)): stat.S_IMODE(path.lstat().st_mode) for path in written(page)}
        except FileNotFoundError:  # SQLite closed a log meanwhile: look anew
            continue


def written(page: Live) -> list[Path]:
    return [page.state, *sorted(page.state.rglob("*"))]


def as_somebody_else(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, capture_output=True, timeout=20, user=SOMEBODY_ELSE, group=SOMEBODY_ELSE, extra_groups=[], cwd="/"
    )


def save_a_login(page: Live, providers: Providers) -> None:
    """By the command line, with the same loose umask."""
    providers.copilot.configure("device", {"interval": 0.01, "token": COPILOT})
    settings: dict[str, object] = {
        **providers.settings,
        "copilot_client_id": "Ov23liOURS",
        "ai_gateway_state_dir": page.state,
        "local_api_key": LOCAL,
    }
    del settings["github_copilot_token"]
    done = subprocess.run(
        [sys.executable, "-m", "gateway_core", "login"], env=variables(page.home, settings), cwd=page.home,
        capture_output=True, text=True, timeout=60, preexec_fn=lambda: os.umask(0), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: (page.state / "copilot.json").exists(), 5)

    assert COPILOT in json.dumps(json.loads((page.state / "copilot.json").read_text("utf-8"))), done.stderr
