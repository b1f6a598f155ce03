"""The PowerShell scripts are parsed: no Windows is at hand to run them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.environments import ROOT, environment

PARSE = """
import pathlib, sys
import tree_sitter, tree_sitter_powershell

parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
wrong = 0
for name in sys.argv[1:]:
    waiting = [parser.parse(pathlib.Path(name).read_bytes()).root_node]
    while waiting:
        node = waiting.pop()
        waiting += node.children
        if node.type == "ERROR" or node.is_missing:
            wrong += 1
            print(f"{name}:{node.start_point[0] + 1}: {node.type}: {node.text.decode()[:60]!r}")
sys.exit(1 if wrong else 0)
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("powershell") / "python"


def parse(python: Path, *scripts: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-c", PARSE, *scripts], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_every_powershell_script_is_well_formed(python: Path) -> None:
    scripts = sorted((ROOT / "scripts").glob("*.ps1"))
    assert {"run.ps1", "setup-windows.ps1"} <= {script.name for script in scripts}

    done = parse(python, *scripts)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("function Write-Note(", "function Write-Note(("), ("    exit 0\n}", "    exit 0\n"), ('"@\n', '"\n')],
)
def test_a_broken_script_would_be_found(python: Path, tmp_path: Path, right: str, wrong: str) -> None:
    text = (ROOT / "scripts" / "setup-windows.ps1").read_text(encoding="utf-8")
    assert right in text
    broken = tmp_path / "broken.ps1"
    broken.write_text(text.replace(right, wrong, 1), encoding="utf-8")

    assert parse(python, broken).returncode == 1


def test_it_takes_the_same_options_as_the_others() -> None:
    text = (ROOT / "scripts" / "setup-windows.ps1").read_text(encoding="utf-8")
    shell = (ROOT / "scripts" / "setup-common").read_text(encoding="utf-8")

    for option in ("Yes", "DryRun", "NoOllama", "Service", "Uninstall", "Purge", "Help"):
        dashed = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in option)
        assert f"[switch]${option}" in text
        assert f"  -{dashed} " in shell
