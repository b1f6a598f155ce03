"""From a bare Debian to a served answer, and back: as a person without rights of their own would go."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.missing import needs

from .debian import CHECKOUT, HOME, Bare, bare_debian
from .release import FILES, Mirror, listing, tar, zst

pytestmark = pytest.mark.slow
DATA = f"{HOME}/.local/share/ai-gateway"
STATE = f"{HOME}/.local/state".lstrip("/")
ASSET = f"ollama-linux-{'arm64' if platform.machine() == 'aarch64' else 'amd64'}.tar.zst"
INSTALL = "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
SUDO = ("usr", "run", "var/lib/sudo")  # where sudo is, and notes that it refused
KEYS = {"OPENAI_API_KEY": "sk-canary", "GITHUB_COPILOT_TOKEN": "gho_canary", "OLLAMA_API_KEY": "canary", "FOO": "bar"}
DOCUMENT = "Refund policy: customers may return items within 30 days."


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    needs("zstd")  # to pack a release of Ollama
    folder = tmp_path / "layer"
    folder.mkdir()
    with bare_debian(folder) as made:
        yield made


@pytest.fixture
def where() -> str:
    """Where Ollama is to listen: the bare Debian shares this machine's ports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def allow_sudo(bare: Bare) -> None:
    bare.as_root("sh", "-c", "echo 'bare ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/bare")


def answers(where: str) -> bool:
    try:
        return httpx.get(f"http://{where}/api/version").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def serving(bare: Bare, folder: str, **environment: str) -> Iterator[str]:
    """`./scripts/run` on a free port: its address."""
    process = bare.start("./scripts/run", "--port", "0", cwd=folder, **environment)
    assert process.stdout is not None
    told = ""
    try:
        for line in process.stdout:
            told += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise AssertionError(told)
        yield found.group()
    finally:
        # What was started is the one child of the process that went inside.
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def assert_it_answers(url: str) -> None:
    health = httpx.get(f"{url}/health").json()
    assert set(health) == {"status", "copilot_available", "cloud_available", "local_available", "circuit_state"}
    question = {"prompt": "What does the document say about refunds?", "documents": [DOCUMENT]}
    reply = httpx.post(f"{url}/ai/query/rag", json=question, timeout=60)
    assert reply.status_code == 200, reply.text
    assert reply.json()["backend"] == "local"
    assert "within 30 days" in reply.json()["response"]


def test_from_a_bare_debian_to_a_served_answer_and_back(bare: Bare, release: Mirror, where: str) -> None:
    setting = {"OLLAMA_DOWNLOAD_URL": release.url, "OLLAMA_BASE_URL": f"http://{where}"}
    untouched = listing(bare.tree(), *SUDO)
    with_sudo = listing(bare.tree())

    rehearsal = bare.run("./scripts/setup-linux.sh", "--dry-run", **setting)
    assert rehearsal.returncode == 0, rehearsal.stdout
    for step in (f"{INSTALL} python3 python3-venv", ".venv", ".env", f"{INSTALL} zstd", release.url, "start Ollama"):
        assert re.search(rf"^  would .*{re.escape(step)}", rehearsal.stdout, re.MULTILINE), (step, rehearsal.stdout)
    assert listing(bare.tree()) == with_sudo

    # Nobody to agree, nobody with the rights, nobody to give them: each time nothing is done, and the command is told.
    unanswered = bare.run("./scripts/setup-linux.sh", "--no-ollama")
    assert f"Run this yourself, then start again: sudo apt-get update && {INSTALL} python3" in unanswered.stdout
    declined = bare.run("./scripts/setup-linux.sh", "--no-ollama", answers="n\n")
    assert "was not agreed to" in declined.stdout
    without_rights = bare.run("./scripts/setup-linux.sh", "--no-ollama", "--yes")
    assert f"failed. Run this yourself, then start again: sudo apt-get update && {INSTALL}" in without_rights.stdout
    bare.as_root("mv", "/usr/bin/sudo", "/usr/bin/sudo.away")
    without_sudo = bare.run("./scripts/setup-linux.sh", "--no-ollama", "--yes")
    assert "as root, then start again: apt-get update && env DEBIAN_FRONTEND" in without_sudo.stdout
    bare.as_root("mv", "/usr/bin/sudo.away", "/usr/bin/sudo")
    for done in (unanswered, declined, without_rights, without_sudo):
        assert done.returncode == 1
    assert listing(bare.tree(), *SUDO) == untouched

    # Asked once, and told what would be run: from nothing to a gateway that answers.
    allow_sudo(bare)
    first = bare.run("./scripts/setup-linux.sh", "--no-ollama", answers="y\n", **setting)
    assert first.returncode == 0, first.stdout
    assert first.stdout.count("  ask ") == 1
    assert f"  do      {INSTALL} python3 python3-venv\n" in first.stdout
    assert "local extractive" in first.stdout  # the closing status
    assert bare.path(f"{CHECKOUT}/.env").stat().st_mode & 0o777 == 0o600
    with serving(bare, CHECKOUT) as url:
        assert_it_answers(url)

    # A second run changes nothing, and a rehearsal still less.
    settled = listing(bare.tree(), STATE)
    again = bare.run("./scripts/setup-linux.sh", "--no-ollama", **setting)
    assert "Nothing to change" in again.stdout, again.stdout
    assert listing(bare.tree(), STATE) == settled
    with_state = listing(bare.tree())
    assert bare.run("./scripts/setup-linux.sh", "--dry-run", "--yes", **setting).returncode == 0
    assert listing(bare.tree()) == with_state

    # The settings are the person's own from now on.
    settings = bare.path(f"{CHECKOUT}/.env")
    settings.write_text("OPENAI_API_KEY=sk-canary-in-file\nCLOUD_PROVIDER=custom\n")

    install_ollama(bare, release, where, setting)
    start_with_the_session(bare, where, setting)

    unagreed = bare.run("./scripts/setup-linux.sh", "--uninstall", **setting)
    assert unagreed.returncode == 1
    assert bare.path(f"{CHECKOUT}/.venv").is_dir()
    gone = bare.run("./scripts/setup-linux.sh", "--uninstall", "--yes", **setting)
    assert gone.returncode == 0, gone.stdout
    made = {f"{CHECKOUT}/.venv", DATA, f"{HOME}/.config/systemd/user/ai-gateway.service", f"{HOME}/.local/bin/ollama"}
    assert [path for path in made if bare.path(path).exists() or bare.path(path).is_symlink()] == []
    assert not list(bare.path(f"{HOME}/.config/systemd/user").iterdir())
    assert settings.read_text().startswith("OPENAI_API_KEY=sk-canary-in-file")
    assert bare.path(f"/{STATE}/ai-gateway").is_dir()
    assert "Nothing to remove" in bare.run("./scripts/setup-linux.sh", "--uninstall").stdout


def install_ollama(bare: Bare, release: Mirror, where: str, setting: dict[str, str]) -> None:
    archive = zst(tar(FILES))
    release.publish(ASSET, archive, checksum="0" * 64)
    wrong = bare.run("./scripts/setup-linux.sh", "--yes", **setting)
    assert f"  do      {INSTALL} zstd\n" in wrong.stdout
    assert wrong.returncode == 1
    assert len(re.findall(r"checksum of .* Nothing was installed\.\n", wrong.stdout)) == 1, wrong.stdout
    release.clear()
    release.publish(ASSET, archive)
    release.cut[ASSET] = len(archive) // 2
    cut = bare.run("./scripts/setup-linux.sh", "--yes", **setting)
    assert cut.returncode == 1
    assert "could not be read to its end" in cut.stdout
    assert [path.name for path in bare.path(DATA).iterdir()] == ["setup-record"]
    release.cut.clear()

    declined = bare.run("./scripts/setup-linux.sh", answers="n\n", **setting)
    assert declined.returncode == 0
    assert not answers(where)

    done = bare.run("./scripts/setup-linux.sh", answers="y\n", **setting, **KEYS)
    assert done.returncode == 0, done.stdout
    assert answers(where)
    assert bare.path(f"{HOME}/.local/bin/ollama").readlink() == Path(f"{DATA}/ollama/bin/ollama")
    given = json.loads(bare.path(f"{HOME}/ollama-environment.json").read_text())
    # LC_CTYPE is set by the stand-in's own Python.
    assert set(given) - {"LC_CTYPE"} == {"PATH", "HOME", "OLLAMA_HOST"}
    assert given["OLLAMA_HOST"] == where
    settled = listing(bare.tree(), STATE)
    again = bare.run("./scripts/setup-linux.sh", **setting)
    assert "Nothing to change" in again.stdout, again.stdout
    assert listing(bare.tree(), STATE) == settled


def start_with_the_session(bare: Bare, where: str, setting: dict[str, str]) -> None:
    refused = bare.run("./scripts/setup-linux.sh", "--service", "--yes", **setting)
    assert refused.returncode == 1
    assert "--service needs systemd" in refused.stdout
    double = Path(__file__).parent / "doubles" / "systemctl"
    shutil.copy(double, bare.path("/usr/local/bin/systemctl"))
    done = bare.run("./scripts/setup-linux.sh", "--service", "--yes", **setting, **KEYS)
    assert done.returncode == 0, done.stdout
    entry = bare.path(f"{HOME}/.config/systemd/user/ai-gateway.service").read_text()
    assert f"WorkingDirectory={CHECKOUT}\n" in entry
    assert "canary" not in entry
    calls = bare.path(f"{HOME}/systemctl.calls").read_text()
    assert "--user enable --quiet ai-gateway.service\n--user restart ai-gateway.service\n" in calls
    settled = listing(bare.tree(), STATE, f"{HOME}/systemctl.calls".lstrip("/"))
    again = bare.run("./scripts/setup-linux.sh", "--service", **setting)
    assert "Nothing to change" in again.stdout, again.stdout
    assert listing(bare.tree(), STATE, f"{HOME}/systemctl.calls".lstrip("/")) == settled


def test_wsl_from_nothing_to_a_served_answer(bare: Bare, release: Mirror, where: str) -> None:
    setting = {"OLLAMA_DOWNLOAD_URL": release.url, "OLLAMA_BASE_URL": f"http://{where}"}
    elsewhere = bare.run("./scripts/setup-wsl.sh", "--yes", **setting)
    if "microsoft" not in Path("/proc/version").read_text().lower():
        assert elsewhere.returncode == 1
        assert "this is not WSL" in elsewhere.stdout
    setting["WSL_DISTRO_NAME"] = "Debian"
    no_systemd = bare.run("./scripts/setup-wsl.sh", "--yes", "--service", **setting)
    assert "systemd=true" in no_systemd.stdout
    release.publish(ASSET, zst(tar(FILES)))
    allow_sudo(bare)

    done = bare.run("./scripts/setup-wsl.sh", "--yes", **setting)

    assert done.returncode == 0, done.stdout
    assert "http://localhost:8000" in done.stdout
    assert answers(where)
    with serving(bare, CHECKOUT, **setting) as url:
        assert_it_answers(url)

    # A fresh copy of the repository, and nothing but ./scripts/run
    fresh = f"{HOME}/fresh"
    bare.as_root("sh", "-c", f"cp -a '{CHECKOUT}' {fresh} && rm -rf {fresh}/.venv {fresh}/.env")
    with serving(bare, fresh, **setting) as url:
        assert_it_answers(url)

    gone = bare.run("./scripts/setup-wsl.sh", "--uninstall", "--purge", "--yes", **setting)
    assert gone.returncode == 0, gone.stdout
    assert not answers(where)
    assert not bare.path(f"{CHECKOUT}/.env").exists()
    assert not bare.path(f"{CHECKOUT}/.venv").exists()
    assert bare.path(f"{fresh}/.venv").exists()
