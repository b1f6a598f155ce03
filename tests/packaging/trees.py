"""The repository as it would be cloned: tracked files only, in their present state."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.environments import ROOT


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def clone_into(folder: Path) -> Path:
    """Copy it there, so that nothing which lies about in the working directory can creep into what is built."""
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return folder
