"""Circuits in a SQLite file, shared by every process of one user on one machine.

One row per identity, with a version: a change is read, computed, and written only if the version is still the one
that was read; else it is computed anew. Each process keeps a copy in memory, and one `PRAGMA data_version` per request
tells whether another process has written since. A change that changes nothing is not written.

Where the work is done: on the event loop. Measured: 3 µs for the check and 24 µs for a whole update with its guarded
write (99 of 100: 80 µs; one in a thousand 5 ms, when the log is folded into the file). A thread alone costs 30 µs more
each way and would let changes overtake each other. What can take long is another process's lock; SQLite's own waiting
would stop the loop, so it is switched off and the store waits in the loop instead, for `patience` seconds at most.

Trouble never fails a request. A file that is locked, full, read-only, damaged or from a newer version leaves the store
working from memory, with one sentence in `trouble`; the file is tried again every `retry_every` seconds, and changes
made meanwhile are written unless another process has changed the same circuit since.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ..clock import Clock
from ..telemetry import Telemetry
from .machine import CLOSED, Circuit, CircuitState
from .own_files import FileId, file_id, make_private, set_aside
from .rows import COLUMNS, boot_of, from_row, is_same_boot, to_row
from .store import Shared

T = TypeVar("T")

APPLICATION = 0x41494757  # marks the file as ours
SCHEMA = 1

_CREATE = """
CREATE TABLE IF NOT EXISTS circuit (
    identity TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL, failures INTEGER NOT NULL,
    generation INTEGER NOT NULL, wait REAL NOT NULL, trips INTEGER NOT NULL, holds INTEGER NOT NULL, reason TEXT,
    reset_at INTEGER NOT NULL, since_span REAL NOT NULL, since_wall REAL NOT NULL, boot TEXT NOT NULL
) WITHOUT ROWID
"""
_READ = f"SELECT identity, version, {', '.join(COLUMNS)} FROM circuit"
_INSERT = (
    f"INSERT OR IGNORE INTO circuit ({', '.join(COLUMNS)}, identity, version)"
    f" VALUES ({', '.join('?' * len(COLUMNS))}, ?, 1)"
)
_UPDATE = (
    f"UPDATE circuit SET {', '.join(f'{column} = ?' for column in COLUMNS)}, version = version + 1"
    " WHERE identity = ? AND version = ?"
)

# SQLite's locks do not survive a fork: stores close their files before one, and open them when next used. The fork
# may happen in another thread, which must not close what is in use.
_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_in_use = threading.RLock()
# Connections that a fork carried over all the same. Closing them in the child could harm the parent's.
_abandoned: list[sqlite3.Connection] = []


class _Unusable(Exception):
    """The file cannot be used. The message says why, and what to do."""


class _Damaged(sqlite3.DatabaseError):
    """SQLite's own check of the file found a fault."""


class SqliteStore(Shared):
    """A `CircuitStore` in the file at `path`. Used from one event loop; a forked child opens the file anew.

    `boot` names the boot of the machine; `None`: ask the system.
    """

    kind = "sqlite"

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        telemetry: Telemetry | None = None,
        boot: str | None = None,
        patience: float = 0.05,
        retry_every: float = 10.0,
    ) -> None:
        super().__init__(telemetry)
        self.path = path
        self._clock = clock
        self._boot = boot or boot_of(clock)
        self._patience = patience
        self._retry_every = retry_every
        self._retry_at: float | None = None  # a reading of the long clock; None: the file is in use
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._file: FileId | None = None
        self._seen: int | None = None  # the data_version of which `_known` is the copy
        self._has_set_aside = False
        self._busy_since: float | None = None
        _stores.add(self)

    async def update(self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        return await self._kept(
            lambda: self._update_file(identity, change), lambda: self._update_memory(identity, change)
        )

    async def read(self, identity: str) -> Circuit:
        def from_file() -> Circuit:
            self._refresh()
            return self._read_memory(identity)

        return await self._kept(from_file, lambda: self._read_memory(identity))

    async def change_all(self, change: Callable[[Circuit], Circuit]) -> None:
        await self._kept(lambda: self._change_file(change), lambda: self._change_memory(change))

    async def aclose(self) -> None:
        with _in_use:
            self._disconnect()

    # ---- the file, or else memory

    async def _kept(self, in_file: Callable[[], T], in_memory: Callable[[], T]) -> T:
        """Do it in the file; in memory while the file is in trouble."""
        if self._retry_at is not None and 0 < self._retry_at - self._clock.span() <= self._retry_every:
            return in_memory()
        try:
            try:
                result = await self._patiently(in_file)
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc) or self._has_set_aside:
                    raise
                await self.aclose()  # damaged while in use: opening it anew sets it aside
                result = await self._patiently(in_file)
        except (_Unusable, OSError, sqlite3.Error) as exc:
            self._fall_back(_told(exc, self.path))
            return in_memory()
        self._retry_at = None
        self._say(None)
        return result

    async def _patiently(self, work: Callable[[], T]) -> T:
        """Wait for another process's lock without stopping the loop. All callers share one patience."""
        loop = asyncio.get_running_loop()
        pause = 0.001
        while True:
            try:
                with _in_use:
                    result = work()
            except sqlite3.OperationalError as exc:
                if not _is_busy(exc):
                    raise
                now = loop.time()
                self._busy_since = now if self._busy_since is None else self._busy_since
                # While in trouble the lock is only looked at: nobody waits for it twice.
                if self._retry_at is not None or now - self._busy_since >= self._patience:
                    self._busy_since = None
                    raise
                try:
                    await asyncio.sleep(pause)
                except asyncio.CancelledError:
                    self._busy_since = None  # the patience ended with its owner
                    raise
                pause = min(2 * pause, 0.01)
                if self._retry_at is not None:  # another caller has lost patience meanwhile
                    raise
            else:
                self._busy_since = None
                return result

    def _fall_back(self, trouble: str) -> None:
        self._retry_at = self._clock.span() + self._retry_every
        with _in_use:
            self._disconnect()  # the file may be another one when we come back
        self._say(trouble)

    def _update_file(self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        while True:  # ends: each turn lost was a change won by somebody else
            connection = self._refresh()
            version, circuit = self._known.setdefault(identity, (0, CLOSED))
            changed, result = change(circuit)
            if changed == circuit or self._write(connection, identity, version, changed):
                return result
            self._seen = None

    def _change_file(self, change: Callable[[Circuit], Circuit]) -> None:
        connection = self._refresh()
        with self._transaction(connection):
            self._change_rows(connection, change, self._known)

    def _change_rows(
        self, connection: sqlite3.Connection, change: Callable[[Circuit], Circuit], identities: Iterable[str]
    ) -> None:
        for identity in list(identities):
            version, circuit = self._known[identity]
            changed = change(circuit)
            if changed != circuit:
                self._write(connection, identity, version, changed)

    def _write_back(self, connection: sqlite3.Connection) -> None:
        """The file is back: write what happened while it was away."""
        with self._transaction(connection):
            for change in self._pending:
                self._change_rows(connection, change, self._known.keys() - self._unwritten)
            for identity in list(self._unwritten):
                self._write(connection, identity, *self._known[identity])
        self._pending = []

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Nobody else writes, and memory is what the file holds. If it fails, memory is as it was before."""
        known, unwritten = dict(self._known), set(self._unwritten)
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._copy(connection)
            yield
            connection.execute("COMMIT")
        except BaseException:
            self._known, self._unwritten, self._seen = known, unwritten, None
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    # ---- the file itself

    def _refresh(self) -> sqlite3.Connection:
        """The connection, with the copy in memory brought up to date."""
        connection = self._connected()
        self._copy(connection)
        if self._unwritten or self._pending:
            self._write_back(connection)
        return connection

    def _copy(self, connection: sqlite3.Connection) -> None:
        (present,) = connection.execute("PRAGMA data_version").fetchone()
        if present == self._seen:
            return
        rows = connection.execute(_READ).fetchall()
        for gone in self._known.keys() - {row[0] for row in rows}:
            self._known[gone] = (0, self._known[gone][1])
        for identity, version, *row in rows:
            if version == self._known.get(identity, (0, CLOSED))[0]:
                continue
            circuit = from_row(row, self._clock, self._boot)
            self._known[identity] = (version, circuit)
            self._unwritten.discard(identity)  # another process was first
            if circuit.state is not CircuitState.CLOSED and not is_same_boot(str(row[-1]), self._boot):
                # The calendar was asked once; from here on the long clock counts, whatever the calendar does.
                with suppress(sqlite3.OperationalError):  # whoever reads it next will do
                    self._write(connection, identity, version, circuit)
        self._seen = present

    def _write(self, connection: sqlite3.Connection, identity: str, version: int, circuit: Circuit) -> bool:
        """Write one circuit unless somebody else has. Never in two halves: one statement is one transaction."""
        row = to_row(circuit, self._clock, self._boot)
        if version == 0:
            written = connection.execute(_INSERT, (*row, identity)).rowcount
        else:
            written = connection.execute(_UPDATE, (*row, identity, version)).rowcount
        if written:
            self._known[identity] = (version + 1, circuit)
            self._unwritten.discard(identity)
        return bool(written)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._process != os.getpid():
            _abandoned.append(self._connection)
            self._connection = None
        if self._connection is not None and self._file != file_id(self.path):
            self._disconnect()  # deleted or replaced under us: what we would write, nobody would see
            self._file = None
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        return self._connection

    def _connect(self) -> None:
        self._process = os.getpid()
        make_private(self.path)
        found = file_id(self.path)
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except sqlite3.DatabaseError as exc:
            connection.close()
            if not _is_damage(exc) or self._has_set_aside or found is None:
                raise
            self._begin_anew(found)
            return
        except BaseException:
            connection.close()
            raise
        self._connection, self._seen = connection, None
        if found != self._file:  # versions are those of another file
            self._known = {identity: (0, circuit) for identity, (_, circuit) in self._known.items()}
            self._unwritten.update(i for i, (_, circuit) in self._known.items() if circuit != CLOSED)
            self._file = found

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # one moment's view, though another process may be creating it
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        if application == APPLICATION and schema > SCHEMA:
            raise _Unusable("was written by a newer version; update ai-failover-gateway")
        if application != APPLICATION and (application or schema or tables):
            raise _Unusable("belongs to another program; set AI_GATEWAY_STATE_DIR to a folder of its own")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if schema != SCHEMA:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("COMMIT")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Damaged(verdict)

    def _begin_anew(self, damaged: FileId) -> None:
        """Keep the damaged file for whoever wants to look at it, and begin a new one; once."""
        self._has_set_aside = True
        kept = set_aside(self.path, damaged)
        if kept is not None and self._telemetry is not None:
            self._telemetry.tell(
                "store", store=self.kind, trouble=None, note=f"{self.path} was damaged and is kept as {kept.name}"
            )
        self._connect()

    def _disconnect(self) -> None:
        if self._connection is None:
            return
        if self._process == os.getpid():
            self._connection.close()
        else:
            _abandoned.append(self._connection)
        self._connection = None


def _before_fork() -> None:
    _in_use.acquire()  # until the fork is done
    for store in list(_stores):
        store._disconnect()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_use.release, after_in_child=_in_use.release)


def _code(exc: BaseException) -> int:
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def _is_busy(exc: sqlite3.Error) -> bool:
    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_damage(exc: sqlite3.Error) -> bool:
    return _code(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(exc, _Damaged)


_READ_ONLY = "cannot be written; make its folder writable, or set AI_GATEWAY_STATE_DIR to one that is"
_FULL = "cannot be written because the disk is full; free some space"
_OTHER = "cannot be used ({}); look at its disk, or set AI_GATEWAY_STATE_DIR to another folder"
_BY_CODE = {
    sqlite3.SQLITE_BUSY: "is locked by another program; close that program, or wait",
    sqlite3.SQLITE_LOCKED: "is locked by another program; close that program, or wait",
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CORRUPT: "is damaged; delete it",
    sqlite3.SQLITE_NOTADB: "is damaged; delete it",
}


def _told(exc: BaseException, path: Path) -> str:
    """One sentence with the cure."""
    if isinstance(exc, _Unusable):
        fault = str(exc)
    elif isinstance(exc, OSError):
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        denied = exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        fault = _FULL if full else _READ_ONLY if denied else _OTHER.format(exc.strerror or type(exc).__name__)
    elif isinstance(exc, _Damaged):
        fault = _BY_CODE[sqlite3.SQLITE_CORRUPT]
    else:
        fault = _BY_CODE.get(_code(exc), _OTHER.format(getattr(exc, "sqlite_errorname", None) or exc))
    return f"Circuits are kept in memory: {path} {fault}."
