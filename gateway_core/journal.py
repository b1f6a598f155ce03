"""How the last requests were decided, for `ai-gateway explain`: who was asked, why not, how long, at what cost.

It keeps what `gateway_core.account` tells of a request: facts, and nothing that was said. In memory, and, with a path,
in a SQLite file that all processes of this user share. A thread of its own writes it, after the answer has ended: no
request waits for the file. A file that is locked, full or damaged leaves one sentence in `trouble`, and what could not
be written is tried again with the next request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from .circuit.own_files import file_id, make_private, set_aside
from .telemetry import Happening

log = logging.getLogger("ai_gateway")

FILE = "requests.db"
MOST = 200
APPLICATION = 0x4149474A  # marks the file as ours
SCHEMA = 1
PATIENCE = 0.5  # seconds for another process's lock
_PAUSE = 0.1  # seconds between two writes: a burst of requests is written in one
_GOODBYE = 1.0  # seconds that closing waits for what is still to be written

_CREATE = (
    "CREATE TABLE IF NOT EXISTS request (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL)"
)
_INSERT = "INSERT OR REPLACE INTO request (id, record) VALUES (?, ?)"
_PRUNE = "DELETE FROM request WHERE number NOT IN (SELECT number FROM request ORDER BY number DESC LIMIT ?)"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Record = dict[str, Any]


class JournalUnreadable(Exception):
    """The file is there and cannot be read; the message says why, and what to do."""


class Journal:
    """The last `most` requests. `hear` is a listener of telemetry; used from one event loop."""

    def __init__(self, path: Path | None = None, most: int = MOST) -> None:
        self.path = path
        self.most = most
        self.trouble: str | None = None
        self._own: deque[Record] = deque(maxlen=most)
        self._unwritten: deque[Record] = deque(maxlen=most)
        self._work = threading.Condition()
        self._heard = 0
        self._forgotten = 0
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def hear(self, happening: Happening) -> None:
        if happening.kind != "request" or not self.most:
            return
        record = _record(happening.facts)
        self._own.append(record)
        if self.path is None:
            return
        if self._process != os.getpid():  # threads do not survive a fork, and a lock may be held for ever
            self._process, self._thread, self._work = os.getpid(), None, threading.Condition()
            self._unwritten.clear()
        with self._work:
            self._unwritten.append(record)
            self._heard += 1
            self._is_closing = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="ai-gateway-journal", daemon=True)
                self._thread.start()
            self._work.notify()

    async def find(self, id: str | None = None) -> Record | None:
        """The request `id`, or the one that ended last; `None` when it is not kept, or not to be read just now."""
        own = next((r for r in reversed(self._own) if id is None or r["id"] == id), None)
        if self.path is None or (own is not None and id is not None):
            return own
        try:
            shared = await asyncio.to_thread(read, self.path, id)
        except JournalUnreadable as exc:
            self.trouble, shared = str(exc), None
        return max((r for r in (own, shared) if r is not None), key=_ended, default=None)

    def forget(self) -> None:
        """Before the file is erased: nothing of before is told or written again."""
        self._own.clear()
        with self._work:
            self._forgotten += 1
            self._unwritten.clear()

    async def aclose(self) -> None:
        """Write what is left, within a second."""
        thread = self._thread
        if thread is None or self._process != os.getpid():
            return
        with self._work:
            self._is_closing = True
            self._work.notify()
        await asyncio.to_thread(thread.join, _GOODBYE)

    def _write(self) -> None:
        """The thread's work. It ends when the journal is closed, after one last try."""
        assert self.path is not None
        tried = 0
        while True:
            with self._work:
                self._work.wait_for(partial(self._has_work, tried))
                batch, tried, forgotten = list(self._unwritten), self._heard, self._forgotten
                self._unwritten.clear()
            trouble = None
            try:
                if batch:
                    _append(self.path, batch, self.most)
            except (sqlite3.Error, OSError, JournalUnreadable) as exc:
                trouble = _told(self.path, exc)
            if trouble != self.trouble:
                self.trouble = trouble
                if trouble:
                    log.warning("%s", trouble)
            with self._work:
                if (
                    trouble and forgotten == self._forgotten
                ):  # tried again with the next request; the newest win, as ever
                    self._unwritten = deque((*batch, *self._unwritten), self.most)
                if self._is_closing and self._heard == tried:
                    self._thread = None
                    return
                self._work.wait_for(self._closes, _PAUSE)

    def _closes(self) -> bool:
        return self._is_closing

    def _has_work(self, tried: int) -> bool:
        return self._heard > tried or self._is_closing


def read(path: Path, id: str | None = None) -> Record | None:
    """One request from the file: `id`, or the last that was written; `None` when it is not there.

    Raises `JournalUnreadable`.
    """
    if file_id(path) is None:
        return None
    try:
        with closing(_opened(path)) as connection:
            if id is None:
                row = connection.execute("SELECT record FROM request ORDER BY number DESC LIMIT 1").fetchone()
            else:
                row = connection.execute("SELECT record FROM request WHERE id = ?", (id,)).fetchone()
            found = json.loads(row[0]) if row else None
    except (sqlite3.Error, OSError, ValueError) as exc:
        raise JournalUnreadable(_told(path, exc)) from None
    return found if isinstance(found, dict) else None


def _append(path: Path, records: Sequence[Record], most: int) -> None:
    make_private(path)
    before = file_id(path)
    try:
        _insert(path, records, most)
    except sqlite3.DatabaseError as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE or before is None:
            raise
        set_aside(path, before)
        make_private(path)
        _insert(path, records, most)


def _insert(path: Path, records: Sequence[Record], most: int) -> None:
    rows = [(record["id"], json.dumps(record, ensure_ascii=False)) for record in records]
    with closing(_opened(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, rows)
        connection.execute(_PRUNE, (most,))
        connection.execute("COMMIT")


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to our own file, made ready if it is new. Connections are short: files may come and go."""
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if application == APPLICATION and schema > SCHEMA:
            raise JournalUnreadable(f"{path} was written by a newer version; update ai-failover-gateway")
        if application != APPLICATION:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application or schema or tables:
                raise JournalUnreadable(
                    f"{path} belongs to another program; set AI_GATEWAY_STATE_DIR to another folder"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _record(facts: Mapping[str, Any]) -> Record:
    """As it is kept: plain JSON values, without what only traces need."""
    return {name: _plain(value) for name, value in facts.items() if name != "traceparent"}


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return str(value).encode("utf-8", "replace").decode()  # half a surrogate pair can be in no file


def _ended(record: Record) -> float:
    return float(record["begun"]) + float(record["ms"]) / 1000


def _told(path: Path, exc: BaseException) -> str:
    """One sentence. SQLite's own words (locked, full, read-only) name no content."""
    if isinstance(exc, JournalUnreadable):
        return f"What `ai-gateway explain` tells is not up to date: {exc}."
    fault = (exc.strerror if isinstance(exc, OSError) else str(exc)) or type(exc).__name__
    return (
        f"What `ai-gateway explain` tells is not up to date: {path} cannot be used ({fault}); "
        "look at its folder and its disk, or delete it."
    )
