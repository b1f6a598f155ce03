"""Write the entry that starts the gateway, or Ollama, with the user's session: a systemd unit or a launchd list.

usage: python scripts/service_entry.py systemd|launchd gateway|ollama REPOSITORY [PROGRAM]

The entry goes to standard output. Nothing in it is secret: the gateway reads its keys from the `.env` of REPOSITORY,
and Ollama (PROGRAM) is started with an empty environment, filled with its own variables alone.
Formats: systemd.unit(5), systemd.service(5), launchd.plist(5).
"""

from __future__ import annotations

import os
import plistlib
import sys
from pathlib import Path

from ollama_process import address, clean_environment

from gateway_core.settings import Settings

LABELS = {"gateway": "ai-gateway", "ollama": "ai-gateway-ollama"}
TITLES = {"gateway": "AI Gateway", "ollama": "Ollama, for AI Gateway"}
PLAIN_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# launchd's own PATH knows nothing of Homebrew, where `gh` lives.
MAC_PATH = f"/opt/homebrew/bin:{PLAIN_PATH}"


def command(kind: str, repository: Path, program: str) -> list[str]:
    """The words that start it."""
    if kind == "gateway":
        return [str(repository / ".venv" / "bin" / "ai-gateway"), "serve"]
    at = address(Settings.load().ollama_base_url) or "127.0.0.1:11434"
    # A PATH that does not depend on the terminal of the day: the same set-up writes the same entry.
    environment = {**clean_environment(os.environ, at), "PATH": PLAIN_PATH}
    return ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in sorted(environment.items())), program, "serve"]


def systemd(kind: str, repository: Path, program: str) -> str:
    """A unit of the user's own systemd."""
    words = command(kind, repository, program)
    if kind == "gateway":
        words = ["/usr/bin/env", *words]  # systemd itself starts no program with a quote in its path
    line = " ".join(_quoted(word) for word in words)
    folder = f"WorkingDirectory={_escaped(str(repository))}\n" if kind == "gateway" else ""
    return (
        f"[Unit]\nDescription={TITLES[kind]}\n\n"
        f"[Service]\n{folder}ExecStart={line}\nRestart=on-failure\nRestartSec=3\n\n"
        "[Install]\nWantedBy=default.target\n"
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    inside = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{inside}"'


def launchd(kind: str, repository: Path, program: str) -> str:
    """A property list of the user's own launchd."""
    log = str(Path.home() / "Library" / "Logs" / f"{LABELS[kind]}.log")
    entry = {
        "Label": LABELS[kind],
        "ProgramArguments": command(kind, repository, program),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    if kind == "gateway":
        entry |= {"WorkingDirectory": str(repository), "EnvironmentVariables": {"PATH": MAC_PATH}}
    return plistlib.dumps(entry).decode()


def main() -> None:
    form, kind, repository, *program = sys.argv[1:]
    write = {"systemd": systemd, "launchd": launchd}[form]
    sys.stdout.write(write(kind, Path(repository), program[0] if program else ""))


if __name__ == "__main__":
    main()
