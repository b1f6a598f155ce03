"""A laptop of which every program is chosen: the real tools of the shell, and doubles for what is not here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.environments import ROOT

TOOLS = (
    *("bash", "sh", "env", "cat", "cksum", "dirname", "basename", "sed", "awk", "grep", "id", "mkdir", "ls", "rm"),
    *("rmdir", "ln", "mv", "cp", "tail", "head", "touch", "zstd"),
)
SCRIPTS = ("setup-common", "setup-ollama", "setup-service", "setup-packages", "setup-linux.sh", "setup-mac.sh",
           "setup-wsl.sh", "environment", "ollama_process.py", "ollama_release.py", "service_entry.py")  # fmt: skip


class Laptop:
    """A home with a checkout in it, and a PATH that leads to `programs` alone."""

    def __init__(self, folder: Path, **doubles: str) -> None:
        self.home = folder / "Anne's <home> & 100%"  # everything that a shell, systemd or XML could trip over
        self.checkout = self.home / "ai gateway"
        self.programs = folder / "programs"
        self.calls = folder / "calls"
        (self.checkout / "scripts").mkdir(parents=True)
        self.programs.mkdir()
        self.calls.touch()
        for name in SCRIPTS:
            shutil.copy(ROOT / "scripts" / name, self.checkout / "scripts" / name)
        for name in ("requirements.txt", "pyproject.toml", ".env.example"):
            shutil.copy(ROOT / name, self.checkout / name)
        for name in TOOLS:
            if found := shutil.which(name):
                _write(self.programs / name, f'exec {found} "$@"')
        self.spare_python = folder / "spare-python"
        _write(self.spare_python, f'exec "{sys.executable}" "$@"')
        for name, script in doubles.items():
            self.add(name, script)

    def add(self, name: str, script: str) -> None:
        """A double: it notes how it was called, then does as `script` says."""
        _write(self.programs / name, f'echo "{name} $*" >>"{self.calls}"\n{script}')

    def add_python(self) -> None:
        shutil.copy(self.spare_python, self.programs / "python3")

    def add_environment(self) -> None:
        """A virtual environment that is in step, with these tests' own packages behind it."""
        programs = self.checkout / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name, words in {"python": "", "ai-gateway": "-m gateway_core"}.items():
            _write(programs / name, f'exec "{sys.executable}" {words} "$@"')
        stamp = "cat requirements.txt pyproject.toml | cksum >.venv/.installed-requirements"
        subprocess.run(["bash", "-c", stamp], cwd=self.checkout, check=True)

    def run(
        self, script: str, *options: str, answers: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`scripts/SCRIPT`; its errors stand among its output."""
        given = {
            "PATH": str(self.programs),
            "HOME": str(self.home),
            "COPILOT_USE_GH": "0",
            "AI_GATEWAY_STATE_DIR": os.environ["AI_GATEWAY_STATE_DIR"],
            **environment,
        }
        return subprocess.run(
            [f"scripts/{script}", *options], cwd=self.checkout, env=given, input=answers, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip

    def called(self, name: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(f"{name} ")]


def _write(path: Path, script: str) -> None:
    """A program of the laptop. Never a link: a double that replaced one would be written over what it leads to."""
    assert not path.is_symlink()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
