"""A real Redis server for tests, on a socket in a folder: nothing listens on a port, nothing is kept."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.missing import missing

PROGRAM = next(filter(None, map(shutil.which, ("redis-server", "valkey-server"))), None)
GUARD = 20.0  # seconds against hanging


class RedisServer:
    """Starts on entering; `stop`, `start`, `freeze` and `thaw` are the faults of a server."""

    def __init__(self, folder: Path) -> None:
        if PROGRAM is None:
            missing("redis-server is not installed here")
        self._socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        assert PROGRAM is not None
        self._socket.unlink(missing_ok=True)
        options = ("--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen(
            [PROGRAM, *options], cwd=self._socket.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + GUARD
        while not self._socket.exists():
            assert self._process.poll() is None, "redis-server did not start"
            assert time.monotonic() < end, "redis-server did not open its socket"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(GUARD)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
