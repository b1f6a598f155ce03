"""Client scripts as child processes in their own environments."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environments import environment
from ..missing import missing
from .world import TOKEN, World

HERE = Path(__file__).parent
_OUTSIDE = dict(os.environ)  # as the run was started: package clients live in the user's home, tests in an empty one
_NOWHERE = "http://127.0.0.1:9"  # nobody listens there: what calls home fails at once


@dataclass(frozen=True)
class Told:
    """What came of one act."""

    result: Any
    pieces: list[str]
    error: str | None
    message: str

    @property
    def shown(self) -> str:
        return "".join(self.pieces)


class Child:
    """A running client script."""

    def __init__(self, process: subprocess.Popen[str], complaints: Path) -> None:
        self._process = process
        self._complaints = complaints
        first = self._read()
        self.version: str = first["version"]
        self.acts: list[str] = first["acts"]

    def do(self, act: str) -> Told:
        assert self._process.stdin is not None
        self._process.stdin.write(act + "\n")
        self._process.stdin.flush()
        return Told(**self._read())

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watchdog = threading.Timer(90, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"the client script ended, or took 90 s: {self._complaints.read_text()[-2000:]}"
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def running(name: str, script: str, world: World, *, token: str = TOKEN) -> Iterator[Child]:
    """The script `scripts/SCRIPT.py` or `js/SCRIPT.mjs` in the environment `name`."""
    programs = environment(name)
    command = [str(programs / "python"), "-u", str(HERE / "scripts" / script)]
    if script.endswith(".mjs"):
        install_modules(programs)
        command = [str(programs / "node"), str(HERE / "js" / script)]
    complaints = world.home / f"{script}.stderr"
    with complaints.open("w") as stderr:
        process = subprocess.Popen(
            command, env={**variables(world.url, world.home, programs), "GATEWAY_TOKEN": token}, cwd=world.home,
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
        try:
            yield Child(process, complaints)
        finally:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def variables(url: str, home: Path, programs: Path | None = None) -> dict[str, str]:
    """An environment that knows the gateway and no other host."""
    return {
        "PATH": f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"],
        "HOME": str(home),
        "GATEWAY": url,
        "GATEWAY_TOKEN": TOKEN,
        "HTTP_PROXY": _NOWHERE,
        "HTTPS_PROXY": _NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # litellm asks the internet for prices when it is imported
        # Aider asks whether to make a repository, and the internet for its news and prices.
        **dict.fromkeys(("AIDER_GIT", "AIDER_CHECK_UPDATE", "AIDER_SHOW_MODEL_WARNINGS"), "false"),
        "PYTHONWARNINGS": "ignore",
    }


def install_modules(programs: Path) -> None:
    """The JavaScript packages, at the exact versions of js/package.json, beside the scripts; no lock file is kept."""
    folder = HERE / "js"
    stamp = folder / "node_modules" / "installed"
    wanted = str(zlib.crc32((folder / "package.json").read_bytes()))
    with (programs.parent / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        command = [str(programs / "npm"), "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        outside = {**_OUTSIDE, "PATH": f"{programs}:{_OUTSIDE['PATH']}"}
        done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True, timeout=600)
        if done.returncode:
            missing(f"the JavaScript packages cannot be had here: {done.stderr.strip()[-400:]}")
        stamp.write_text(wanted)
