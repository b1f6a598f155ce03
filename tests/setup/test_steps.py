"""The steps that need no bare system: arguments, other package managers, settings, repairs, the record."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway_core.settings import Settings
from tests.environments import ROOT
from tests.missing import needs

from .laptop import Laptop
from .release import PROGRAM, listing

SYSTEMCTL = (Path(__file__).parent / "doubles" / "systemctl").read_text(encoding="utf-8").partition("\n")[2]


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    return Laptop(tmp_path, uname="echo Linux")


@pytest.fixture
def ready(laptop: Laptop) -> Laptop:
    laptop.add_python()
    laptop.add_environment()
    return laptop


@pytest.mark.parametrize("script", ["setup-linux.sh", "setup-mac.sh", "setup-wsl.sh"])
@pytest.mark.parametrize("argument", ["--dryrun", "-y", "yes", ""])
def test_an_unknown_argument_is_named_with_those_that_are_known(laptop: Laptop, script: str, argument: str) -> None:
    before = listing(laptop.home)

    done = laptop.run(script, "--yes", argument)

    assert done.returncode == 2
    assert f"{script}: unknown argument {argument}. Allowed: --yes --dry-run" in done.stdout
    assert listing(laptop.home) == before


def test_purge_is_no_set_up(laptop: Laptop) -> None:
    done = laptop.run("setup-linux.sh", "--purge")

    assert (done.returncode, "--purge belongs to --uninstall" in done.stdout) == (2, True)


@pytest.mark.parametrize("script", ["setup-linux.sh", "setup-mac.sh", "setup-wsl.sh"])
def test_help_names_every_option(laptop: Laptop, script: str) -> None:
    done = laptop.run(script, "--help")

    assert done.returncode == 0
    assert f"usage: scripts/{script}" in done.stdout
    for option in ("--yes", "--dry-run", "--no-ollama", "--service", "--uninstall", "--purge", "OLLAMA_DOWNLOAD_URL"):
        assert option in done.stdout


def test_it_is_not_run_by_sudo(laptop: Laptop) -> None:
    laptop.add("id", "echo 0")

    done = laptop.run("setup-linux.sh", "--yes", SUDO_USER="anne")

    assert (done.returncode, "run it as yourself, without sudo" in done.stdout) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "apt-get update && env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "
                    "python3 python3-venv"),
        ("dnf", "dnf install -y python3.12"),
        ("zypper", "zypper --non-interactive install python312"),
        ("pacman", "pacman -S --needed --noconfirm python"),
        ("apk", "apk add python3"),
    ],
)  # fmt: skip
def test_each_package_manager_is_told_in_its_own_words(laptop: Laptop, manager: str, command: str) -> None:
    laptop.add("id", "echo 1000")
    laptop.add("sudo", '[ "$1" != -n ] || shift; exec "$@"')
    laptop.add(manager, f'cp "{laptop.spare_python}" "{laptop.programs}/python3"')

    declined = laptop.run("setup-linux.sh", "--no-ollama")
    assert "sudo " + command.replace("&& ", "&& sudo ") + "\n" in declined.stdout
    assert laptop.calls.read_text().count(manager) == 0

    laptop.add_environment()
    assert laptop.run("setup-linux.sh", "--no-ollama", "--yes").returncode == 0
    assert laptop.called("sudo")[-1].endswith(command.rpartition("&& ")[2])


def test_a_python_that_is_too_old_gets_a_newer_one_beside_it(laptop: Laptop) -> None:
    laptop.add("python3", "exit 1")
    laptop.add("apt-get", "")
    laptop.add("apt-cache", '[ "$2" = python3.12-venv ]')

    done = laptop.run("setup-linux.sh", "--no-ollama", "--dry-run")

    assert "install -y --no-install-recommends python3.12 python3.12-venv\n" in done.stdout


def test_a_system_whose_newest_python_is_too_old_is_told_so(laptop: Laptop) -> None:
    laptop.add("id", "echo 0")
    laptop.add("apk", "")

    done = laptop.run("setup-linux.sh", "--no-ollama", "--yes")

    assert done.returncode == 1
    assert "older than 3.11. Install a newer one" in done.stdout


def test_without_a_package_manager_the_packages_are_named(laptop: Laptop) -> None:
    done = laptop.run("setup-linux.sh", "--no-ollama", "--yes")

    assert done.returncode == 1
    assert "Install these yourself: python3" in done.stdout


def test_settings_are_written_once_for_the_user_alone(ready: Laptop) -> None:
    settings = ready.checkout / ".env"
    first = ready.run("setup-linux.sh", "--no-ollama")
    assert first.returncode == 0, first.stdout
    assert settings.stat().st_mode & 0o777 == 0o600
    assert "GITHUB_COPILOT_TOKEN" in first.stdout
    settings.write_text("LOCAL_ONLY=1\n")
    settings.chmod(0o644)

    second = ready.run("setup-linux.sh", "--no-ollama")

    assert settings.read_text() == "LOCAL_ONLY=1\n"
    assert "chmod 600 .env" in second.stdout
    assert "Nothing to change" in second.stdout


def test_settings_that_are_wrong_end_it_with_their_own_words(ready: Laptop) -> None:
    (ready.checkout / ".env").write_text("FAILURE_THRESHOLD=many\n")

    done = ready.run("setup-linux.sh", "--no-ollama")

    assert done.returncode == 1
    assert "FAILURE_THRESHOLD" in done.stdout


def test_an_environment_that_no_longer_starts_is_made_anew(ready: Laptop) -> None:
    (ready.checkout / ".venv/bin/ai-gateway").write_text("#!/nowhere/python\n")

    done = ready.run("setup-linux.sh", "--no-ollama", "--dry-run")

    assert "  would   remove the virtual environment, which does not start here\n" in done.stdout
    assert "  would   make " in done.stdout


def test_an_environment_that_the_script_did_not_make_is_not_removed_unasked(ready: Laptop) -> None:
    (ready.checkout / ".venv/bin/ai-gateway").write_text("#!/nowhere/python\n")

    done = ready.run("setup-linux.sh", "--no-ollama")

    assert (done.returncode, "Remove it, and make it anew? [y/N]" in done.stdout) == (1, True)
    assert (ready.checkout / ".venv/bin/python").exists()


def test_an_environment_of_the_user_stays_theirs_after_an_update(ready: Laptop) -> None:
    with (ready.checkout / "requirements.txt").open("a") as pinned:
        pinned.write("# another version\n")

    done = ready.run("setup-linux.sh", "--no-ollama", "--dry-run")

    assert "was not made by us: it is used, and stays when you uninstall" in done.stdout
    assert "  would   make " not in done.stdout


def test_ollama_elsewhere_is_left_to_itself(ready: Laptop) -> None:
    done = ready.run("setup-linux.sh", "--yes", OLLAMA_BASE_URL="http://192.0.2.7:11434")

    assert done.returncode == 0, done.stdout
    assert "no Ollama is set up here" in done.stdout


@pytest.mark.slow
def test_an_ollama_of_the_user_is_started_and_stays(ready: Laptop) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"http://127.0.0.1:{probe.getsockname()[1]}"
    own = ready.programs / "ollama"
    own.write_text(PROGRAM.replace("/usr/bin/env python3", sys.executable))
    own.chmod(0o755)

    done = ready.run("setup-linux.sh", "--yes", OLLAMA_BASE_URL=where, OLLAMA_HOST="0.0.0.0", GROQ_API_KEY="canary")
    try:
        assert done.returncode == 0, done.stdout
        assert "would open Ollama to the network" in done.stdout
        given = (ready.home / "ollama-environment.json").read_text()
        assert where.removeprefix("http://") in given
        assert "canary" not in given
        assert "0.0.0.0" not in given
    finally:
        gone = ready.run("setup-linux.sh", "--uninstall", "--yes", OLLAMA_BASE_URL=where)
    assert gone.returncode == 0, gone.stdout
    assert own.exists()
    assert "was not installed by this script: it stays" in gone.stdout
    assert not (ready.home / ".local/share/ai-gateway").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(where)


def test_a_service_of_another_checkout_is_not_taken_in_silence(ready: Laptop) -> None:
    ready.add("systemctl", SYSTEMCTL)
    entry = ready.home / ".config/systemd/user/ai-gateway.service"
    entry.parent.mkdir(parents=True)
    entry.write_text("[Service]\nWorkingDirectory=/elsewhere\n")

    done = ready.run("setup-linux.sh", "--no-ollama", "--service")

    assert done.returncode == 1
    assert "the service entry stays as it was" in done.stdout
    assert "/elsewhere" in entry.read_text()


def test_ollama_stays_while_another_checkout_uses_it(ready: Laptop) -> None:
    data = ready.home / ".local/share/ai-gateway"
    (data / "ollama").mkdir(parents=True)
    record = data / "setup-record"
    other = "environment\t/elsewhere/.venv\t/elsewhere\n"
    shared = f"ollama\t{data}/ollama\tuser\n"
    record.write_text(f"environment\t{ready.checkout}/.venv\t{ready.checkout}\n{shared}{other}")

    done = ready.run("setup-linux.sh", "--uninstall", "--yes")

    assert done.returncode == 0, done.stdout
    assert not (ready.checkout / ".venv").exists()
    assert (data / "ollama").is_dir()
    assert record.read_text() == shared + other


def test_the_template_names_settings_alone_and_changes_none_of_them() -> None:
    template = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = [line.removeprefix("# ").partition("=")[0] for line in template.splitlines() if "=" in line]

    assert len(named) >= 8
    assert [name for name in named if name.lower() not in Settings.model_fields] == []
    plain = Settings.load()
    lines = (line.removeprefix("# ") for line in template.splitlines() if line.startswith("# ") and "=" in line)
    Path(".env").write_text("\n".join(lines), encoding="utf-8")
    assert Settings.load() == plain


def test_systemd_understands_the_entries(ready: Laptop, tmp_path: Path) -> None:
    needs("systemd-analyze")
    for kind, program in (("gateway", ""), ("ollama", str(ready.checkout / ".venv/bin/python"))):
        unit = tmp_path / f"{kind}.service"
        command = [
            sys.executable,
            str(ROOT / "scripts/service_entry.py"),
            "systemd",
            kind,
            str(ready.checkout),
            program,
        ]
        given = {**os.environ, "HOME": str(ready.home), "OPENAI_API_KEY": "sk-canary"}
        unit.write_text(subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--user", "--man=no", "--recursive-errors=no", str(unit)],
            env={**given, "XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        written = unit.read_text()
        assert "canary" not in written
        assert "100%%" in written  # a single one would begin a specifier
        assert "100%/" not in written
