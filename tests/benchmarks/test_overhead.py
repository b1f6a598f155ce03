"""The overhead benchmark runs; what it measures depends on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_prints_a_row_for_each_way():
    command = [sys.executable, "-m", "benchmarks.overhead", "--requests", "20", "--rounds", "1"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True).stdout

    assert [line.split(" | ")[0] for line in told.splitlines()[2:]] == ["| one piece", "| stream"]
