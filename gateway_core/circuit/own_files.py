"""The folder and the file that hold the circuits: for this user's eyes only, and nobody else's files touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..secrets import private_folder

COMPANIONS = ("", "-wal", "-shm")  # SQLite's own files beside the database

FileId = tuple[int, int]


def make_private(path: Path) -> None:
    """Make the folder (0700) and the file (0600) if they are missing; close those of ours to others if they are open.

    Raises `OSError`. The file is never opened when it exists: closing any descriptor of it would drop the locks
    that another connection of this process holds.
    """
    private_folder(path.parent)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        _close_to_others(path)


def file_id(path: Path) -> FileId | None:
    """Which file stands at this path now; `None` when there is none, or it cannot be known."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path, damaged: FileId) -> Path | None:
    """Rename the damaged file and its companions; `None` if another process has already done so."""
    if file_id(path) != damaged:
        return None
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    kept = path.with_name(stem)
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{stem}-{number}")
    for companion in reversed(COMPANIONS):  # a log left behind would be played into the new file
        old = path.with_name(path.name + companion)
        if old.exists():
            old.replace(kept.with_name(kept.name + companion))
    return kept


def _close_to_others(path: Path) -> None:
    if os.name != "posix":
        return
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o077:
        path.chmod(0o600)
