"""A command line over scripted tiers: in this process, or in one of its own with pipes or a terminal."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway_core import Gateway
from gateway_core.cli import main
from gateway_core.settings import Settings
from gateway_core.testing import ScriptedTier

REPOSITORY = Path(__file__).resolve().parents[3]
HANG = 30  # seconds after which a test is stuck, not slow


@pytest.fixture(autouse=True)
def _bare_surroundings(monkeypatch, tmp_path):
    """No variable, `.env` or state of the user's."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AI_GATEWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AI_GATEWAY_STORE", "memory")
    monkeypatch.chdir(tmp_path)


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys, monkeypatch):
    """`cli("ask", "hi", tiers=[...], stdin=b"...")` in this process; nothing is a terminal."""

    def run(*argv: str, tiers: list[ScriptedTier] | None = None, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        build = None if tiers is None else lambda settings: Gateway(tiers, settings=settings)
        code = main(argv, build=build)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def cli_in_thread(cli):
    """`cli` for tests that have an event loop of their own."""

    async def run(*argv: str) -> Ran:
        return await asyncio.to_thread(cli, *argv)

    return run


@pytest.fixture
def on_terminal(monkeypatch):
    """As `cli`, with standard output and standard error on one pseudo-terminal; `out` is what stands there."""
    import pty

    def run(*argv: str, tiers: list[ScriptedTier]) -> Ran:
        master, slave = pty.openpty()
        try:
            with open(slave, "w", encoding="utf-8", newline="") as terminal, monkeypatch.context() as patched:
                patched.setattr(sys, "stdout", terminal)
                patched.setattr(sys, "stderr", terminal)
                code = main(argv, build=lambda settings: Gateway(tiers, settings=settings))
            shown = b""
            while part := _read(master):
                shown += part
        finally:
            os.close(master)
        return Ran(code, shown.decode().replace("\r\n", "\n"), "")

    return run


def _read(master: int) -> bytes:
    """What came on a terminal; nothing once all its writers have left."""
    try:
        return os.read(master, 65536)
    except OSError:  # how Linux says so
        return b""


class Child:
    """The command line as a process of its own. `terminal`: its output, standard error too, is a pseudo-terminal."""

    def __init__(self, report: Path, ladder: str, argv: tuple[str, ...], *, terminal: bool) -> None:
        self._report = report
        master = slave = None
        if terminal:
            import pty

            master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.core.cli.driver", ladder, *argv],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "DRIVER_REPORT": str(report),
                "DRIVER_ASKED": str(report) + "-asked",
                "PYTHONIOENCODING": "utf-8",
            },
            stdin=subprocess.DEVNULL,
            stdout=slave or subprocess.PIPE,
            stderr=slave or subprocess.PIPE,
        )
        if slave is not None:
            os.close(slave)
        self._master = master
        self._raw, self.screen = b"", ""

    def wait_for(self, text: str) -> None:
        """Read the terminal until `text` stands there."""
        started = time.monotonic()
        while text not in self.screen:
            assert time.monotonic() - started < HANG, self.screen
            if not self._read():
                raise AssertionError(f"ended without {text!r}: {self.screen!r}")

    def wait_until_asked(self) -> None:
        """For the ladders whose first tier tells when it was asked."""
        started = time.monotonic()
        while not Path(f"{self._report}-asked").exists():
            assert time.monotonic() - started < HANG
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ended(self) -> Ran:
        """Wait for the end; on a terminal all output is `out`, with plain line ends."""
        if self._master is None:
            out, err = self.process.communicate(timeout=HANG)
            return Ran(self.process.returncode, out.decode(), err.decode())
        while self._read():
            pass
        return Ran(self.process.wait(HANG), self.screen.replace("\r\n", "\n"), "")

    @property
    def report(self):
        return json.loads(self._report.read_text())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(HANG)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if self._master is not None:
            os.close(self._master)

    def _read(self) -> bool:
        assert self._master is not None
        self._raw += (got := _read(self._master))
        self.screen = self._raw.decode(errors="ignore")  # a character may come in two pieces
        return bool(got)


@pytest.fixture
def child(tmp_path):
    """`child("hangs", "ask", "hi", terminal=True)`: the ladders are those of `driver.py`."""
    children = []

    def start(ladder: str, *argv: str, terminal: bool = False) -> Child:
        children.append(Child(tmp_path / f"report-{len(children)}.json", ladder, argv, terminal=terminal))
        return children[-1]

    yield start
    for one in children:
        one.close()
