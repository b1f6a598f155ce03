"""How an extra is added to this installation: what a message about a missing one tells."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "ai-failover-gateway"
_HOME = Path(__file__).parent.parent  # the repository's folder, if we run from one


def how_to_add(extra: str, *, home: Path = _HOME, prefix: str = sys.prefix) -> str:
    """The command that installs `extra`.

    Who runs from the repository's folder is told to install from there, by the pip of its `.venv`: an index need not
    have the package, and another pip would put it where nobody looks. No path of this machine is in it.
    """
    if not (home / "pyproject.toml").is_file():
        return f'pip install "{NAME}[{extra}]"'
    has_own = Path(prefix) == home / ".venv"
    pip = (r".venv\Scripts\pip" if os.name == "nt" else ".venv/bin/pip") if has_own else "pip"
    return f'{pip} install -e ".[{extra}]" in the folder of AI Gateway'
