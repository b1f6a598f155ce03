"""The recipes of docs/clients.md, as they stand on the page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environments import environment
from .running import HERE, install_modules, variables
from .table import PAGE
from .world import World

ADDRESS = "http://127.0.0.1:8000"
_BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<where>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


# A notebook's cells, one by one; the last shows its result.
_CELLS = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in sys.argv[1:]:
    done = shell.run_cell(cell)
    done.raise_error()
print(done.result)
"""


@dataclass(frozen=True)
class Recipe:
    """A code block: its language, and the environment or file named behind it."""

    language: str
    where: str
    text: str

    def at(self, world: World) -> str:
        """The text, with only the address replaced."""
        assert ADDRESS in self.text
        return self.text.replace(ADDRESS, world.url)


def recipes(*languages: str) -> list[Recipe]:
    blocks = _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    found = [Recipe(b["language"], b["where"] or "", b["text"]) for b in blocks]
    return [recipe for recipe in found if recipe.language in languages]


def run(recipe: Recipe, world: World, home: Path) -> subprocess.CompletedProcess[str]:
    """The recipe in its environment, in a home of its own."""
    programs = environment(recipe.where) if recipe.where else None
    folder = home
    if recipe.language == "bash":
        command = ["bash", "-e", "-c", recipe.at(world)]
    elif recipe.language == "js":
        assert programs is not None
        install_modules(programs)
        command, folder = [str(programs / "node"), "--input-type=module", "-e", recipe.at(world)], HERE / "js"
    elif "%ai" in recipe.text:
        assert programs is not None
        command = [str(programs / "python"), "-c", _CELLS, recipe.at(world), "%%ai gateway -f text\nTell me."]
    else:
        assert programs is not None
        command = [str(programs / "python"), "-c", recipe.at(world)]
    around = variables(world.url, home, programs)
    return subprocess.run(
        command, env=around, cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def values(found: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a configuration with its value, however deep."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield key, value
            yield from values(value)
    elif isinstance(found, list):
        for item in found:
            yield from values(item)
