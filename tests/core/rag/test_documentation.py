"""What the documentation shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[3] / "docs" / "rag.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]):
    code = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert code is not None

    exec(compile(code.group(1), "docs/rag.md", "exec"), {})

    assert capsys.readouterr().out == re.search(r"^# (.*)$", code.group(1), re.MULTILINE).group(1) + "\n"
