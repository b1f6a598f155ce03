"""S17, S18, S20: what we depend on, what our child processes are told, and how we behave towards GitHub."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import httpx
import pytest

from gateway_core.secrets import Secret
from gateway_core.tiers.copilot.login import save_login

from ..journeys.canaries import CLOUD, COPILOT, DOOR, LOCAL, TOKENS, found
from ..journeys.conftest import SCALED, Providers
from .live import live, until, variables

ROOT = Path(__file__).parents[2]
MARKED = {
    "openai_api_key": CLOUD, "local_api_key": LOCAL, "ai_gateway_token": DOOR, "ai_gateway_store": "memory",
    "aws_secret_access_key": f"{CLOUD}aws", "my_password": f"{CLOUD}mine",
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_s18_no_child_process_sees_a_key(tmp_path: Path, providers: Providers):
    """The reader of files while it reads, by what the kernel tells of it; `gh` by what it tells itself."""
    programs = tmp_path / "programs"
    programs.mkdir()
    told = tmp_path / "told"
    gh = programs / "gh"
    gh.write_text(f'#!/bin/sh\nenv > "{told}"\necho gho_fromgh\n')
    gh.chmod(0o755)
    settings = {**SCALED, **providers.settings, **MARKED, "copilot_use_gh": "1", "github_token": COPILOT,
                "path": f"{programs}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
    del settings["github_copilot_token"]
    seen: dict[str, bytes] = {}
    with live(tmp_path / "home", settings) as server:
        slow = {"name": "a.html", "content_base64": base64.b64encode(b"<!--" * 60_000).decode()}
        body = {"prompt": "x", "documents": [slow], "tier": "local"}
        asking = threading.Thread(
            target=lambda: httpx.post(f"{server.url}/ai/query/rag", json=body, headers=server.headers, timeout=60)
        )
        asking.start()
        own = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        end = time.monotonic() + 20
        while asking.is_alive() and time.monotonic() < end:
            for child in children_of(server.process.pid):
                try:
                    command = Path(f"/proc/{child}/cmdline").read_bytes()
                    # Until it has become its own program, a child still is its parent, and shows the parent's memory.
                    if command != own:
                        seen[child] = command + Path(f"/proc/{child}/environ").read_bytes()
                except OSError:  # over already
                    continue
            time.sleep(0.002)
        asking.join()
        httpx.post(
            f"{server.url}/ai/query", json={"prompt": "x", "tier": "copilot"}, headers=server.headers, timeout=60
        )
        httpx.get(f"{server.url}/status", headers=server.headers, timeout=60)

    assert any(b"parse_child" in text for text in seen.values())
    assert [found(TOKENS, text) for text in [*seen.values(), own] if found(TOKENS, text)] == []
    if told.exists():  # asked only where the address is GitHub's own; else see the next test
        assert found(TOKENS, told.read_bytes()) == []


async def test_s18_gh_is_handed_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from gateway_core.tiers.copilot.tokens import ask_gh

    told = tmp_path / "told"
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\nenv > "{told}"\necho gho_fromgh\n')
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GH_CONFIG_DIR", "/kept")
    for name, value in MARKED.items():
        monkeypatch.setenv(name.upper(), value)

    assert await ask_gh("github.com") == "gho_fromgh"
    assert found(TOKENS, told.read_bytes()) == []
    assert b"GH_CONFIG_DIR=/kept" in told.read_bytes()


def children_of(pid: int) -> list[str]:
    try:
        return [
            child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []


# S17

HASH = "--hash=sha256:"


def test_s17_the_core_needs_few_packages_and_every_pin_has_its_hash():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for name in ("requirements.txt", "requirements-dev.txt", *(f"tests/pins/{p.name}" for p in pins())):
        text = (ROOT / name).read_text("utf-8")
        entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
        wrong = [entry for entry in entries if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", entry) or HASH not in entry]

        assert wrong == [], name
        assert "://" not in text
    assert len(project["dependencies"]) < 10
    assert project["optional-dependencies"].keys() >= {"server", "webui", "notebook", "local"}


def pins() -> list[Path]:
    return sorted((ROOT / "tests" / "pins").glob("*.txt"))


def test_s17_nothing_is_fetched_or_started_by_an_import(tmp_path: Path):
    """Every module of ours, in a process where any connection, look-up or child ends it."""
    code = """
import importlib, pkgutil, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "urllib.Request"):
        sys.stderr.write(f"{event} {arguments}"); sys.stderr.flush(); __import__("os")._exit(3)
sys.addaudithook(refuse)
count = 0
for name in ("gateway_core", "server", "notebook_ext"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__") and ".testing" not in module.name:
            importlib.import_module(module.name); count += 1
print(count)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables(tmp_path, {}), cwd=tmp_path, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 100
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# S20

DOCUMENTED = re.compile(r"/copilot_internal/user|/models|/chat/completions|/responses|/v1/messages")
EDITORS = re.compile(
    r"vscode|visual ?studio|jetbrains|neovim|vim|intellij|GitHubCopilotChat|copilot-chat|zed|cursor", re.I
)


def test_s20_copilot_is_asked_by_documented_routes_and_under_our_own_name(tmp_path: Path, providers: Providers):
    with live(tmp_path, {**SCALED, **providers.settings}) as server:
        for model in (None, "claude-opus-5", "nothing"):
            httpx.post(f"{server.url}/ai/query", json={"prompt": "x", "model": model, "tier": "copilot"}, timeout=30)
        for fault in ("status_401", "status_403", "status_404"):
            providers.copilot.script(fault)
            httpx.post(f"{server.url}/ai/query", json={"prompt": "x"}, timeout=30)
            httpx.post(f"{server.url}/admin/reset").raise_for_status()
        httpx.get(f"{server.url}/status", timeout=30)
    calls = providers.copilot.calls

    assert len(calls) > 5
    assert [call.path for call in calls if not DOCUMENTED.fullmatch(call.path)] == []
    assert {call.headers["user-agent"].partition("/")[0] for call in calls} == {"ai-gateway"}
    assert [call.headers for call in calls if EDITORS.search(str(dict(call.headers)))] == []
    assert not [call for call in calls if "editor-plugin-version" in call.headers and call.paid]


def test_s20_the_saved_login_is_for_its_user_alone_and_an_exchanged_token_stays_in_memory(
    tmp_path: Path, providers: Providers
):
    before = os.umask(0)
    try:
        save_login(tmp_path / "state", "github.com", Secret(COPILOT), at=0)
    finally:
        os.umask(before)
    file = tmp_path / "state" / "copilot.json"
    token = COPILOT.replace("gho_", "ghu_")
    settings = {**SCALED, **providers.settings, "copilot_auth": "exchange", "github_copilot_token": token}
    with live(tmp_path / "home", settings) as server:
        reply = httpx.post(f"{server.url}/ai/query", json={"prompt": "x", "tier": "copilot"}, timeout=30)
        until(lambda: providers.copilot.paid_calls, 5)
    bearer = providers.copilot.paid_calls[-1].headers["authorization"].partition(" ")[2]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())

    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    assert reply.status_code == 200
    assert bearer != token
    assert bearer.encode() not in kept
    assert token.encode() not in kept
