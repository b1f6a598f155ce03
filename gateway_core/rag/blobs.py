"""Bytes kept under a key, bounded in all; what was used longest ago goes first.

A cache may be lost but must never stand in the way: whatever is wrong with the file counts as "not found".
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol


class Blobs(Protocol):
    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, value: bytes) -> None: ...
    def get_all(self, keys: Sequence[str]) -> dict[str, bytes]: ...
    def put_all(self, values: Mapping[str, bytes]) -> None: ...
    def clear(self) -> None: ...


class BlobMemory:
    """In this process only."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> bytes | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: str, value: bytes) -> None:
        if len(value) > self._max_bytes:
            return
        with self._lock:
            self._bytes += len(value) - len(self._held.pop(key, b""))
            self._held[key] = value
            while self._bytes > self._max_bytes:
                _, dropped = self._held.popitem(last=False)
                self._bytes -= len(dropped)

    def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: value for key in keys if (value := self.get(key)) is not None}

    def put_all(self, values: Mapping[str, bytes]) -> None:
        for key, value in values.items():
            self.put(key, value)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._bytes = 0


class BlobFile:
    """In an SQLite file that only its owner may read; several processes may use it at once."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # the file is not removed under another thread's transaction

    def get(self, key: str) -> bytes | None:
        return self.get_all([key]).get(key)

    def put(self, key: str, value: bytes) -> None:
        self.put_all({key: value})

    def get_all(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is there of these, in one transaction."""
        held: dict[str, bytes] = {}
        with suppress(sqlite3.Error, OSError), self._open() as db:
            for key in keys:
                found = db.execute("SELECT value FROM blobs WHERE key = ?", (key,)).fetchone()
                if found:
                    held[key] = bytes(found[0])
                    db.execute("UPDATE blobs SET used = (SELECT max(used) + 1 FROM blobs) WHERE key = ?", (key,))
        return held

    def put_all(self, values: Mapping[str, bytes]) -> None:
        with suppress(sqlite3.Error, OSError), self._open() as db:
            newest = "(SELECT coalesce(max(used), 0) + 1 FROM blobs)"
            for key, value in values.items():
                if len(value) <= self._max_bytes:
                    db.execute(f"INSERT OR REPLACE INTO blobs VALUES (?, {newest}, ?, ?)", (key, len(value), value))
            # The newest stay as long as they and everything newer fit together.
            db.execute(
                "DELETE FROM blobs WHERE key IN (SELECT key FROM (SELECT key, sum(bytes) OVER (ORDER BY used DESC) "
                "AS together FROM blobs) WHERE together > ?)",
                (self._max_bytes,),
            )

    def clear(self) -> None:
        with self._lock:
            for suffix in ("", "-journal", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            with closing(sqlite3.connect(self._path, timeout=2.0)) as db, db:
                db.execute("PRAGMA auto_vacuum = FULL")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS blobs (key TEXT PRIMARY KEY, used INTEGER, bytes INTEGER, value BLOB)"
                )
                db.execute("CREATE INDEX IF NOT EXISTS by_use ON blobs (used, bytes)")
                yield db
