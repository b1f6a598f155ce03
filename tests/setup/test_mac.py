"""The set-up of a Mac, with doubles for what only a Mac has."""

from __future__ import annotations

import gzip
import os
import plistlib
import re
import socket
import sys
from pathlib import Path

import pytest

from .laptop import ROOT, SCRIPTS, Laptop
from .release import PROGRAM, Mirror, listing, tar

LAUNCHCTL = """
case $1 in
  bootstrap) touch "$HOME/.loaded-$(basename "$3" .plist)" ;;
  print) test -e "$HOME/.loaded-${2##*/}" ;;
  bootout) rm -f "$HOME/.loaded-${2##*/}" ;;
esac
"""


@pytest.fixture
def mac(tmp_path: Path) -> Laptop:
    uname = "case ${1--s} in -m) echo arm64 ;; *) echo Darwin ;; esac"
    return Laptop(tmp_path, uname=uname, sw_vers="echo 15.6", launchctl=LAUNCHCTL)


@pytest.fixture
def settings(release: Mirror) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    return {"OLLAMA_DOWNLOAD_URL": release.url, "OLLAMA_BASE_URL": f"http://{where}"}


def test_python_comes_from_homebrew_once_that_is_agreed_to(mac: Laptop) -> None:
    mac.add("brew", f'cp "{mac.spare_python}" "{mac.programs}/python3.13"')

    declined = mac.run("setup-mac.sh", "--no-ollama", answers="n\n")
    rehearsed = mac.run("setup-mac.sh", "--no-ollama", "--dry-run", "--yes")

    assert declined.returncode == 1
    assert "Run this yourself, then start again: brew install python@3.13" in declined.stdout
    assert "  would   brew install python@3.13\n" in rehearsed.stdout
    assert mac.called("brew") == []

    mac.add_environment()
    done = mac.run("setup-mac.sh", "--no-ollama", answers="y\n")

    assert done.returncode == 0, done.stdout
    assert mac.called("brew") == ["brew install python@3.13"]
    assert "  there   Python 3" in done.stdout


def test_without_homebrew_and_python_the_ways_to_both_are_told(mac: Laptop) -> None:
    done = mac.run("setup-mac.sh", "--yes")

    assert done.returncode == 1
    assert "https://brew.sh or https://www.python.org/downloads/" in done.stdout


def test_an_old_macos_goes_without_ollama(mac: Laptop) -> None:
    mac.add("sw_vers", "echo 13.7.1")
    mac.add_python()

    done = mac.run("setup-mac.sh", "--dry-run", "--yes")

    assert "Ollama needs macOS 14, this is 13.7.1: it is left out" in done.stdout
    assert "download Ollama" not in done.stdout


def test_another_system_is_sent_to_its_own_script(mac: Laptop) -> None:
    mac.add("uname", "echo Linux")

    assert "On Linux: scripts/setup-linux.sh" in mac.run("setup-mac.sh").stdout


@pytest.mark.slow
def test_with_the_session_and_back_again(mac: Laptop, release: Mirror, settings: dict[str, str]) -> None:
    program = PROGRAM.replace("/usr/bin/env python3", sys.executable)
    release.publish("ollama-darwin.tgz", gzip.compress(tar({"ollama": program})))
    mac.add_python()
    mac.add_environment()
    untouched = listing(mac.home)

    rehearsed = mac.run("setup-mac.sh", "--service", "--dry-run", **settings)
    assert rehearsed.returncode == 0, rehearsed.stdout
    assert "  would   download Ollama" in rehearsed.stdout
    assert listing(mac.home) == untouched

    done = mac.run("setup-mac.sh", "--service", "--yes", OPENAI_API_KEY="sk-canary", **settings)
    assert done.returncode == 0, done.stdout
    agents = mac.home / "Library/LaunchAgents"
    gateway = plistlib.loads((agents / "ai-gateway.plist").read_bytes())
    assert gateway["ProgramArguments"] == [str(mac.checkout / ".venv/bin/ai-gateway"), "serve"]
    assert gateway["WorkingDirectory"] == str(mac.checkout)
    assert gateway["RunAtLoad"] is True
    assert "/opt/homebrew/bin" in gateway["EnvironmentVariables"]["PATH"].split(":")  # gh lives there
    ollama = plistlib.loads((agents / "ai-gateway-ollama.plist").read_bytes())
    where = settings["OLLAMA_BASE_URL"].removeprefix("http://")
    assert ollama["ProgramArguments"][:2] == ["/usr/bin/env", "-i"]
    assert {f"HOME={mac.home}", f"OLLAMA_HOST={where}"} <= set(ollama["ProgramArguments"])
    assert ollama["ProgramArguments"][-2:] == [str(mac.home / ".local/share/ai-gateway/ollama/ollama"), "serve"]
    assert "canary" not in (agents / "ai-gateway-ollama.plist").read_text()
    user = f"gui/{os.getuid()}"
    loaded = [call for call in mac.called("launchctl") if "bootstrap" in call]
    assert loaded == [
        f"launchctl bootstrap {user} {agents / name}.plist" for name in ("ai-gateway", "ai-gateway-ollama")
    ]

    settled = listing(mac.home)
    again = mac.run("setup-mac.sh", "--service", **settings)
    assert "Nothing to change" in again.stdout, again.stdout
    assert listing(mac.home) == settled

    gone = mac.run("setup-mac.sh", "--uninstall", "--yes", **settings)
    assert gone.returncode == 0, gone.stdout
    assert list(agents.iterdir()) == []
    assert not list(mac.home.glob(".loaded-*"))
    assert not (mac.home / ".local/share/ai-gateway").exists()
    assert (mac.checkout / ".env").exists()
    assert "was not made by this script: it stays" in gone.stdout
    assert (mac.checkout / ".venv").is_dir()


def test_the_shared_parts_are_plain_enough_for_the_bash_of_a_mac() -> None:
    """macOS keeps bash 3.2: no associative arrays, no case changes, no mapfile, no `&>>`."""
    newer = re.compile(r"declare -A|local -A|mapfile|readarray|\$\{\w+(,,|\^\^|@)|&>>|coproc|\|&")
    for name in SCRIPTS:
        if not name.endswith(".py"):
            assert newer.findall((ROOT / "scripts" / name).read_text(encoding="utf-8")) == [], name
