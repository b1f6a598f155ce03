"""The login that editors keep on disk: read, never changed.

Since May 2026 a SQLite file `auth.db`; before that `apps.json`, before that `hosts.json`. Tokens that are encrypted
with a key from the keychain are left alone. In WSL the editor may run on the Windows side.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...secrets import Secret

WINDOWS_PROFILES = Path("/mnt/c/Users")  # where a WSL sees them
PLAIN = 0  # token_schema_version of a token that is not encrypted
QUERY = (
    "SELECT token_ciphertext FROM oauth_tokens WHERE auth_authority = ? AND token_schema_version = ?"
    " ORDER BY last_used_at DESC LIMIT 1"
)


def environment() -> Mapping[str, str]:
    return os.environ


def editor_tokens(host: str, home: Path | None = None) -> list[tuple[Secret, str]]:
    """What editors have saved, the newest form first, each with the place it was found."""
    found = []
    for folder, is_foreign in _folders(home):
        for name, read in (("auth.db", _auth_db), ("apps.json", _apps_json), ("hosts.json", _hosts_json)):
            path = folder / name
            try:
                value = read(path, host, is_foreign)
            except (OSError, sqlite3.Error, ValueError, RecursionError):
                continue  # not there, locked, or of another shape
            secret = Secret.of(value)
            if secret is not None:
                found.append((secret, f"editor login ({name})"))
    return found


def _folders(home: Path | None) -> Iterator[tuple[Path, bool]]:
    """Folders to look in; the second part: it is on the Windows side of a WSL."""
    base = home or Path.home()
    if sys.platform == "win32":
        yield base / "AppData" / "Local" / "github-copilot", False
        return
    chosen = os.environ.get("XDG_CONFIG_HOME", "")
    if home is None and chosen.startswith("/"):
        yield Path(chosen) / "github-copilot", False
    yield base / ".config" / "github-copilot", False
    if home is None and "WSL_DISTRO_NAME" in os.environ:
        try:
            profiles = sorted(WINDOWS_PROFILES.iterdir())
        except OSError:
            return
        for profile in profiles:
            yield profile / "AppData" / "Local" / "github-copilot", True


def _auth_db(path: Path, host: str, is_foreign: bool) -> str | None:
    if not path.is_file():
        return None
    if not is_foreign:
        return _query(path, host)
    # SQLite's shared memory does not work across the border to Windows: read a copy
    with tempfile.TemporaryDirectory() as folder:
        for name in ("auth.db", "auth.db-wal"):
            if (path.parent / name).is_file():
                shutil.copyfile(path.parent / name, Path(folder) / name)
        return _query(Path(folder) / "auth.db", host)


def _query(path: Path, host: str) -> str | None:
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.5)) as database:
        row = database.execute(QUERY, (host, PLAIN)).fetchone()
    if row is None:
        return None
    return row[0].decode("utf-8") if isinstance(row[0], bytes) else str(row[0])


def _apps_json(path: Path, host: str, is_foreign: bool) -> str | None:
    return next((value for key, value in _saved(path) if key.partition(":")[0] == host), None)


def _hosts_json(path: Path, host: str, is_foreign: bool) -> str | None:
    return next((value for key, value in _saved(path) if key == host), None)


def _saved(path: Path) -> Iterator[tuple[str, str]]:
    found: Any = json.loads(path.read_text("utf-8"))
    if isinstance(found, dict):
        for key, entry in found.items():
            token = entry.get("oauth_token") if isinstance(entry, dict) else None
            if isinstance(token, str):
                yield key, token
