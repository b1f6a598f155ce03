"""What was spent, in a SQLite file that notebook, page and server of one user share.

One statement adds to a row, so nothing is lost or counted twice between processes. The file is opened for each look, in
a thread, and waits at most `patience` seconds for another process: the event loop never stands still for it, and of
many requests that meet trouble at once one finds it out for all. Trouble (locked, full, read-only, damaged, newer)
never fails a request: this process goes on counting in memory, says so in `trouble`, tries again every `retry_every`
seconds, and adds what it has counted meanwhile.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from .budget import Spent, row_of
from .circuit.own_files import file_id, make_private, set_aside
from .clock import Clock
from .telemetry import Telemetry

APPLICATION = 0x41494742  # marks the file as ours
SCHEMA = 1
DAYS_KEPT = 40

_CREATE = """
CREATE TABLE IF NOT EXISTS spent (
    day TEXT NOT NULL, tier TEXT NOT NULL, tokens INTEGER NOT NULL, estimated INTEGER NOT NULL, cost REAL NOT NULL,
    PRIMARY KEY (day, tier)
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO spent (day, tier, tokens, estimated, cost) VALUES (?, ?, ?, ?, ?) ON CONFLICT (day, tier) DO UPDATE SET
    tokens = tokens + excluded.tokens, estimated = estimated + excluded.estimated, cost = cost + excluded.cost
"""


_Counts = dict[tuple[str, str], Spent]  # by day and tier


class _Unusable(Exception):
    """The file cannot be used. The message says why, and what to do."""


class FileLedger:
    """A `Ledger` in the file at `path`."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        telemetry: Telemetry | None = None,
        patience: float = 0.2,
        retry_every: float = 10.0,
    ) -> None:
        self.path = path
        self.trouble: str | None = None
        self._clock = clock
        self._telemetry = telemetry
        self._patience = patience
        self._retry_every = retry_every
        self._retry_at: float | None = None
        self._found: str | None = None  # the trouble that was met last
        self._one_at_a_time = threading.Lock()  # held while the file is used, by threads alone
        self._memory = threading.Lock()  # held for moments: the event loop takes it
        self._seen: _Counts = {}  # as the file had it last
        self._writing: _Counts = {}  # on its way into the file
        self._unwritten: _Counts = {}

    async def read(self, day: str) -> Mapping[str, Spent]:
        await self._kept()
        with self._memory:
            known = _sum(self._seen, self._writing, self._unwritten)
        return {tier: spent for (when, tier), spent in known.items() if when == day}

    async def add(self, day: str, tier: str, spent: Spent) -> None:
        with self._memory:
            self._unwritten = _sum(self._unwritten, {(day, tier): spent})
        await self._kept()

    # ---- the file

    async def _kept(self) -> None:
        """Bring file and memory together, unless the file was in trouble just now."""
        if self._is_left_alone():
            return
        trouble = await asyncio.to_thread(self._exchange)
        if trouble != self.trouble:
            self.trouble = trouble
            if self._telemetry is not None:
                self._telemetry.tell("store", store="budgets", trouble=trouble)

    def _is_left_alone(self) -> bool:
        return self._retry_at is not None and 0 < self._retry_at - self._clock.span() <= self._retry_every

    def _exchange(self) -> str | None:
        """Add what is not written and read what is there; the trouble with it, if any."""
        with self._one_at_a_time:
            if self._is_left_alone():  # another has met the trouble while this one waited
                return self._found
            self._found = self._trouble_met()
            self._retry_at = self._clock.span() + self._retry_every if self._found else None
            return self._found

    def _trouble_met(self) -> str | None:
        found = file_id(self.path)
        with self._memory:
            self._writing, self._unwritten = self._unwritten, {}
        try:
            try:
                self._add_and_read()
            except sqlite3.DatabaseError as exc:
                if found is None or not _is_damage(exc):
                    raise
                if set_aside(self.path, found) is not None:  # else another process did, and has put into the new one
                    with self._memory:  # what is remembered of it goes into the new one
                        self._writing, self._seen = _sum(self._writing, self._seen), {}
                self._add_and_read()
        except (_Unusable, OSError, OverflowError, sqlite3.Error) as exc:
            return f"Budgets are counted in memory: {self.path} {_told(exc)}."
        finally:
            with self._memory:  # nothing, unless it failed
                self._unwritten, self._writing = _sum(self._writing, self._unwritten), {}
        return None

    def _add_and_read(self) -> None:
        with self._open() as db:
            if self._writing:
                db.execute("BEGIN IMMEDIATE")
                for (day, tier), spent in self._writing.items():
                    db.execute(_ADD, (day, tier, *row_of(spent)))
                    db.execute("DELETE FROM spent WHERE day < date(?, ?)", (day, f"-{DAYS_KEPT} days"))
                db.execute("COMMIT")
                with self._memory:  # until the file is read again, it counts here
                    self._seen, self._writing = _sum(self._seen, self._writing), {}
            rows = db.execute("SELECT day, tier, tokens, estimated, cost FROM spent").fetchall()
        seen = {(str(day), str(tier)): Spent(int(t), int(e), float(c)) for day, tier, t, e, c in rows}
        with self._memory:
            self._seen = seen

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        make_private(self.path)
        with closing(sqlite3.connect(self.path, timeout=self._patience, isolation_level=None)) as db:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (schema,) = db.execute("PRAGMA user_version").fetchone()
            if application == APPLICATION and schema > SCHEMA:
                raise _Unusable("was written by a newer version; update ai-failover-gateway")
            if application not in (0, APPLICATION) or (schema and not application):
                raise _Unusable("belongs to another program; set AI_GATEWAY_STATE_DIR to a folder of its own")
            if schema != SCHEMA:
                db.execute("BEGIN IMMEDIATE")
                db.execute(_CREATE)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {SCHEMA}")
                db.execute("COMMIT")
            db.execute("PRAGMA synchronous = NORMAL")
            yield db


def _sum(*counts: _Counts) -> _Counts:
    total: _Counts = {}
    for count in counts:
        for key, spent in count.items():
            total[key] = total.get(key, Spent()).plus(spent)
    return total


def _is_damage(exc: sqlite3.Error) -> bool:
    return (getattr(exc, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _told(exc: BaseException) -> str:
    if isinstance(exc, _Unusable):
        return str(exc)
    name = getattr(exc, "sqlite_errorname", None) or getattr(exc, "strerror", None) or type(exc).__name__
    return f"cannot be used ({name}); look at its disk and its rights, or set AI_GATEWAY_STATE_DIR to another folder"
