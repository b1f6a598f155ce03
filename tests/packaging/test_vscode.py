"""What VS Code is told about this folder is true: every path, command and module exists."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
from typing import Any

import pytest

from gateway_core.cli.arguments import parser
from tests.environments import ROOT

FOLDER = ROOT / ".vscode"


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["settings.json", "launch.json", "extensions.json", "tasks.json"])
def test_each_file_is_plain_json_and_tracked(name: str) -> None:
    assert isinstance(read(name), dict)
    ignored = subprocess.run(["git", "check-ignore", "--no-index", "-q", f".vscode/{name}"], cwd=ROOT)
    assert ignored.returncode == 1


def test_the_settings_name_the_environment_that_our_scripts_make_and_tests_that_exist() -> None:
    settings = read("settings.json")
    interpreter = settings["python.defaultInterpreterPath"].removeprefix("${workspaceFolder}/")
    assert interpreter in (ROOT / "scripts" / "environment").read_text()
    assert settings["python.testing.pytestEnabled"] is True
    folder, option, marks = settings["python.testing.pytestArgs"]
    assert (ROOT / folder).is_dir()
    assert (option, marks) == ("-m", "not slow")
    assert re.search(r'markers = \["slow:', (ROOT / "pyproject.toml").read_text())


def test_every_launch_starts_a_module_that_exists_with_arguments_that_it_understands() -> None:
    launches = read("launch.json")
    inputs = {entry["id"] for entry in launches["inputs"]}
    commands = []
    for launch in launches["configurations"]:
        assert importlib.util.find_spec(launch["module"]) is not None, launch["module"]
        assert launch["cwd"] == "${workspaceFolder}"
        arguments = launch.get("args", [])
        assert set(re.findall(r"\$\{input:(\w+)\}", " ".join(arguments))) <= inputs
        if launch["module"] == "gateway_core":
            commands.append(parser().parse_args(arguments).command)
    assert commands == ["serve", "ask"]
    assert any(launch["module"] == "pytest" and "${file}" in launch["args"] for launch in launches["configurations"])


def test_every_task_runs_a_script_of_ours_or_the_compose_file() -> None:
    tasks = {task["label"]: task for task in read("tasks.json")["tasks"]}
    assert set(tasks) >= {"run", "test", "check"}
    for task in tasks.values():
        program, *rest = shlex.split(task["command"])
        if program == "docker":
            assert rest[0] == "compose"
            assert (ROOT / "docker-compose.yml").is_file()
        else:
            assert os.access(ROOT / program, os.X_OK), program
        if "windows" in task:
            assert (ROOT / task["windows"]["command"]).is_file()


def test_recommended_extensions_are_names_of_extensions() -> None:
    recommended = read("extensions.json")["recommendations"]
    assert len(recommended) == len(set(recommended)) > 3
    assert all(re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", name) for name in recommended)
    assert {"ms-python.python", "charliermarsh.ruff", "github.copilot-chat"} <= set(recommended)
