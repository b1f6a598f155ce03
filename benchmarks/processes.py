"""Programs under measurement: started with a bare environment, watched until they answer, and ended."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx


@contextmanager
def started(
    command: Sequence[str], folder: Path, settings: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = folder / "log.txt"
    bare = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**bare, **settings}, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield process, log
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def when_ready(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], object], patience: float = 120) -> str:
    by = time.monotonic() + patience
    while time.monotonic() < by and process.poll() is None:
        if found := ready():
            return str(found)
        time.sleep(0.1)
    raise SystemExit(f"it did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def address_in(log: Path) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8", errors="replace"))
    return found.group() if found else ""


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def client_of(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=60, trust_env=False)


def output_of(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
