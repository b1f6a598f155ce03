"""A real `ai-gateway serve` process to attack, and the tools for it: raw bytes in, raw bytes out."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "door-0123456789abcdef-0123456789abcdef"


@dataclass
class Live:
    """A running gateway: where it listens, what it writes, what it logs."""

    port: int
    process: subprocess.Popen[bytes]
    home: Path
    log: Path
    token: str | None = None
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def resident(self) -> int:
        """Bytes of memory the process holds, at its highest so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def connect(self, seconds: float = 10.0) -> socket.socket:
        return socket.create_connection((self.host, self.port), seconds)

    def say(self, request: bytes, seconds: float = 10.0) -> list[Said]:
        """Send bytes as they are; every reply until the server hangs up or falls silent."""
        with self.connect(seconds) as wire:
            with suppress(OSError):  # refused half-way: what it said before that counts
                wire.sendall(request)
            return replies(received(wire))


@dataclass
class Said:
    """One reply, taken apart by hand: no client of ours stands between the bytes and the test."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found == name), None)


def received(wire: socket.socket) -> bytes:
    data = b""
    try:
        while part := wire.recv(65536):
            data += part
    except OSError:
        return data
    return data


def next_reply(wire: socket.socket) -> Said:
    """The next reply on a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = wire.recv(1)
        assert part, f"cut after {data!r}"
        data += part
    said = replies(data.replace(b"content-length:", b"x-length:"))[0]
    left = int(said.header("x-length") or 0)
    while len(said.body) < left:
        said.body += wire.recv(left - len(said.body))
    return said


def replies(data: bytes) -> list[Said]:
    """The replies in what came, by their declared lengths; a rest that is no reply fails the test."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3})(?: .*)?", first)
        assert match is not None, f"no reply: {first!r}"
        pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        said = Said(int(match[1]), pairs)
        length = said.header("content-length")
        if length is None:
            said.body, data = data, b""
        else:
            said.body, data = data[: int(length)], data[int(length) :]
        found.append(said)
    return found


def variables(home: Path, settings: dict[str, object]) -> dict[str, str]:
    """The environment of a process that has nothing but what is given."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AI_GATEWAY_STATE_DIR": str(home / "state"),
        "COPILOT_USE_GH": "0",
        "COPILOT_MAX_RPM": "0",
        "COPILOT_MAX_IN_FLIGHT": "0",
        **{name.upper(): str(value) for name, value in settings.items()},
    }


@contextmanager
def live(
    home: Path, settings: dict[str, object], *arguments: str, prepare: Callable[[], object] | None = None
) -> Iterator[Live]:
    """Serve on a free port until the block ends; `prepare` runs in the child before the program."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    command = [sys.executable, "-m", "gateway_core", "serve", "--port", "0", *(arguments or ("--no-ui",))]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, env=variables(home, settings), cwd=home, stdout=subprocess.PIPE, stderr=stderr, preexec_fn=prepare
        )
    assert process.stdout is not None
    try:
        told = ""
        for line in process.stdout:
            told = line.decode()
            if found := re.search(r"http://([\d.]+|\[[\da-f:]+\]):(\d+)", told):
                break
        else:
            raise AssertionError(f"it does not serve: {log.read_text(encoding='utf-8')}")
        token = settings.get("ai_gateway_token")
        yield Live(int(found[2]), process, home, log, str(token) if token else None, found[1].strip("[]"))
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def until(claim: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
