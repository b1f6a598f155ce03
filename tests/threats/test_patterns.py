"""S12: patterns that a text could make slow. A pattern at work holds the whole process up, so one is enough."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .pumped import SLOW

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a pattern at work is stopped by a POSIX timer")
@pytest.mark.parametrize(
    "modules",
    [
        pytest.param(["gateway_core.rag"], id="documents"),
        pytest.param(["gateway_core.tiers", "gateway_core.routing"], id="answers"),
        pytest.param(["notebook_ext", "server", "webui", "gateway_core.markdown", "gateway_core.secrets"], id="doors"),
    ],
)
def test_s12_no_text_makes_a_pattern_of_ours_slow(modules: list[str]):
    command = [sys.executable, "-m", "tests.threats.pumped", *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    tried = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    slow = [line for line in tried if float(line[0]) >= SLOW]

    assert done.returncode == 0, done.stderr
    assert len(tried) >= 15
    assert slow == []
