"""Python environments for tests that need a package the product must never meet: other clients, linters, a fuzzer.

Each has a pinned list `tests/pins/NAME.txt`, written by `./scripts/pin` from `tests/pins/NAME.in`, and is made once in
`.environments/NAME`, whichever worker of the test run comes first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

from .missing import missing

ROOT = Path(__file__).resolve().parents[1]
_MADE = ROOT / ".environments"
# As the run was started: the tests themselves live in an empty home, the package client in the user's.
_OUTSIDE = dict(os.environ)


def environment(name: str) -> Path:
    """The folder of programs (`python` among them) of the environment `name`.

    Where the packages cannot be had the test is skipped, or fails if they are owed, with the installer's own words.
    """
    pins = ROOT / "tests" / "pins" / f"{name}.txt"
    folder = _MADE / name
    programs = folder / "bin"
    wanted = f"{zlib.crc32(pins.read_bytes())} {sys.version}"
    stamp = folder / "installed"
    _MADE.mkdir(exist_ok=True)
    with (_MADE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return programs
        shutil.rmtree(folder, ignore_errors=True)
        uv = Path(sys.executable).with_name("uv")
        _run(name, str(uv), "venv", "--quiet", "--python", sys.executable, str(folder))
        python = str(programs / "python")
        _run(name, str(uv), "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(pins))
        stamp.write_text(wanted)
    return programs


def _run(name: str, *command: str) -> None:
    done = subprocess.run(command, env=_OUTSIDE, capture_output=True, text=True, timeout=600)
    if done.returncode:
        missing(f"the environment {name!r} cannot be made here: {done.stderr.strip()[-400:]}")
