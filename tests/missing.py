"""What becomes of a test whose program, packages or Debian are not here: skipped, or failed where they are owed.

`./scripts/test --all` says by `AI_GATEWAY_TEST_ALL` that everything is to be proven. As root on Debian it installs what
the tests drive, so nothing may be missing there. What a kernel forbids (namespaces, mounts) is skipped everywhere.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where `reason` is no excuse."""
    if is_owed(os.environ, is_root=hasattr(os, "geteuid") and os.geteuid() == 0, system=_system()):
        pytest.fail(f"{reason}; with --all it has to be here", pytrace=False)
    pytest.skip(reason)


def needs(program: str) -> str:
    """Where the program is; `missing` where it is not."""
    found = shutil.which(program)
    return found if found is not None else missing(f"{program} is not installed here")


def is_owed(variables: Mapping[str, str], *, is_root: bool, system: str) -> bool:
    return bool(variables.get("AI_GATEWAY_TEST_ALL")) and is_root and system == "debian"


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("ID", "")
    except OSError:
        return ""
