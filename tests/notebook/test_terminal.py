"""Plain IPython in a terminal: text as it comes, Ctrl-C keeps what came."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway_core.testing.simulators import OpenAISimulator

from .kernel import environment

pty = pytest.importorskip("pty", reason="the platform has no pseudo terminals")
HANG = 60.0


class Terminal:
    def __init__(self, folder: Path, **settings: str) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"],
            stdin=slave, stdout=slave, stderr=slave, cwd=folder, start_new_session=True, close_fds=True,
            env=environment(folder, TERM="dumb", **settings),
            preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, pattern: str) -> float:
        """When the pattern was first seen since the last wait; what was shown before it is forgotten."""
        by = time.monotonic() + HANG
        while (found := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < by, self.shown
            if select.select([self._master], [], [], 0.5)[0]:
                self.shown += os.read(self._master, 65536).decode(errors="replace")
        self.shown = self.shown[found.end() :]
        return time.monotonic()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(HANG)
        os.close(self._master)


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_text_comes_as_it_is_written_and_ctrl_c_keeps_it(tmp_path):
    with OpenAISimulator(token_delay=0.05, answer=" ".join(f"w{n}" for n in range(400))) as openai:
        terminal = Terminal(tmp_path, OPENAI_BASE_URL=openai.base_url, OPENAI_API_KEY="sk-simulated")
        try:
            terminal.wait_for(r"In \[1\]: ")
            terminal.type("%load_ext notebook_ext\n")
            terminal.wait_for(r"In \[2\]: ")
            terminal.type("get_ipython().run_cell_magic('ai', 'answer', 'Hello')\n")
            first = terminal.wait_for(r"w3 ")
            assert terminal.wait_for(r"w12 ") - first > 0.1
            terminal.type("\x03")
            terminal.wait_for(r"Interrupted: stopped; the \d+ characters that came are in _ai")
            terminal.wait_for(r"In \[3\]: ")
            terminal.type("print('kept', answer.interrupted, answer.text[:8])\n")
            terminal.wait_for(r"kept True w0 w1 w2")
        finally:
            terminal.close()
        deadline = time.monotonic() + 5
        while openai.paid_calls[-1].ended is None and time.monotonic() < deadline:
            time.sleep(0.01)

        assert openai.paid_calls[-1].outcome == "disconnected"
