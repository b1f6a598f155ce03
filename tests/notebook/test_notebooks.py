"""The notebooks of the repository run, say what they say, and can be read without running them."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))
NOTEBOOKS = [pytest.param(SCRIPT["FOLDER"] / name, id=name) for name in SCRIPT["NOTEBOOKS"]]


def outputs_of(path: Path) -> list[Any]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_it_is_stored_with_outputs_and_nothing_of_a_machine(path):
    text = path.read_text(encoding="utf-8")

    assert len(outputs_of(path)) >= 6
    assert not re.search(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|var|usr|private)/|[A-Z]:\\\\Users", text)
    assert "Traceback" not in text
    assert "sk-simulated" not in json.dumps(outputs_of(path))
    assert "asking ..." not in text


def test_the_last_one_draws_who_answered():
    shown = outputs_of(SCRIPT["FOLDER"] / "03-when-the-internet-goes.ipynb")

    assert any("image/png" in output.get("data", {}) for output in shown)
    assert any("<sup>⟫ cloud</sup>" in "".join(output.get("data", {}).get("text/markdown", "")) for output in shown)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS)
def test_it_runs_with_growing_answers(path):
    with SCRIPT["providers"](pace=0.01) as environment:
        notebook = SCRIPT["execute"](path, environment)

    answers = [
        output for cell in notebook.cells if cell.source.startswith("%%ai") for output in cell.get("outputs", ())
        if output.output_type == "display_data"
    ]  # fmt: skip
    assert answers
    assert all(output.data["text/plain"] and "asking ..." not in output.data["text/plain"] for output in answers)


@pytest.mark.slow
@pytest.mark.parametrize("time", [1, 2])
def test_what_does_not_depend_on_the_words_of_a_model_is_the_same_each_time(time, tmp_path):
    """nbval compares every output that is not a model's words; the words come in another order each time."""
    clean = tmp_path / "sanitize.ini"
    clean.write_text("[ports]\nregex: 127\\.0\\.0\\.1:\\d+\nreplace: ADDRESS\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout", "60", "--nbval-sanitize-with",
               str(clean), "-p", "no:cacheprovider", "-q", "--rootdir", str(SCRIPT["FOLDER"]), "-c", str(clean),
               str(SCRIPT["FOLDER"])]  # fmt: skip
    with SCRIPT["providers"](SCRIPT["shuffled"]) as environment:
        ran = subprocess.run(
            command, env={**environment, "AI_GATEWAY_STREAM": "0"}, cwd=ROOT, capture_output=True, text=True
        )

    assert ran.returncode == 0, ran.stdout[-6000:]
