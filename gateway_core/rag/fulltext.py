"""The full-text table: which blocks hold which keys.

`FullTextTable` is SQLite's FTS5, contentless (only the inverted lists are kept, never the text). Where Python's
SQLite was built without FTS5, `PostingTable` keeps the same promises in plain dictionaries, slower and larger.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol

Row = tuple[int, str, str]  # block number, keys of its text, keys of its document's name and of its head

HEAD_WEIGHT = 2.0


class BlockTable(Protocol):
    """Finds blocks. Keys are as `words.keys_of` gives them; blocks are numbered from 0 by the caller."""

    def add(self, rows: Iterable[Row]) -> None: ...

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        ...

    def frequencies(self, keys: Sequence[str]) -> dict[str, int]:
        """In how many blocks each key stands."""
        ...

    def search(self, keys: Sequence[str], limit: int) -> list[tuple[int, float]]:
        """The best blocks and their BM25 score, best first. Blocks with none of the keys are not returned."""
        ...


@cache
def has_fts5() -> bool:
    try:
        with sqlite3.connect(":memory:") as probe:
            probe.execute("CREATE VIRTUAL TABLE probe USING fts5(a)")
        probe.close()
    except sqlite3.OperationalError:
        return False
    return True


def new_table() -> BlockTable:
    return FullTextTable() if has_fts5() else PostingTable()


class FullTextTable:
    """FTS5 in memory. One connection behind a lock: any thread may ask."""

    def __init__(self, image: bytes | None = None) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        if image is not None:
            self._db.deserialize(image)
            return
        self._db.executescript(
            "CREATE VIRTUAL TABLE blocks USING fts5(body, head, content='', tokenize='ascii');"
            "CREATE VIRTUAL TABLE vocabulary USING fts5vocab(blocks, row);"
            f"INSERT INTO blocks(blocks, rank) VALUES ('rank', 'bm25(1.0, {HEAD_WEIGHT})');"
            # A little more than usual is gathered before a segment is written: less merging.
            "INSERT INTO blocks(blocks, rank) VALUES ('hashsize', 1500000);"
        )

    def add(self, rows: Iterable[Row]) -> None:
        with self._lock, self._db:
            self._db.executemany("INSERT INTO blocks(rowid, body, head) VALUES (?, ?, ?)", rows)

    def frequencies(self, keys: Sequence[str]) -> dict[str, int]:
        marks = ",".join("?" * len(keys))
        with self._lock:
            return dict(self._db.execute(f"SELECT term, doc FROM vocabulary WHERE term IN ({marks})", keys))

    def search(self, keys: Sequence[str], limit: int) -> list[tuple[int, float]]:
        if not keys:
            return []
        query = " OR ".join(f'"{key}"' for key in keys)
        with self._lock:
            found = self._db.execute(
                "SELECT rowid, rank FROM blocks WHERE blocks MATCH ? ORDER BY rank LIMIT ?", (query, limit)
            ).fetchall()
        return [(block, -rank) for block, rank in found]

    def image(self) -> bytes:
        with self._lock:
            return self._db.serialize()

    @property
    def size(self) -> int:
        with self._lock:
            (pages,), (page,) = (self._db.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size"))
        return int(pages * page)

    def __del__(self) -> None:
        self._db.close()


class PostingTable:
    """The same in dictionaries, for a Python whose SQLite lacks FTS5."""

    def __init__(self) -> None:
        self._postings: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        self._lengths: dict[int, int] = {}

    def add(self, rows: Iterable[Row]) -> None:
        for block, body, head in rows:
            body_keys, head_keys = body.split(), head.split()
            counts: Counter[str] = Counter(body_keys)
            weights: defaultdict[str, float] = defaultdict(float, counts)
            for key in head_keys:
                weights[key] += HEAD_WEIGHT
            for key, weight in weights.items():
                self._postings[key].append((block, weight))
            self._lengths[block] = len(body_keys) + len(head_keys)

    @property
    def size(self) -> int:
        return 100 * sum(map(len, self._postings.values()))

    def frequencies(self, keys: Sequence[str]) -> dict[str, int]:
        return {key: len(self._postings[key]) for key in keys if key in self._postings}

    def search(self, keys: Sequence[str], limit: int) -> list[tuple[int, float]]:
        total = len(self._lengths)
        average = sum(self._lengths.values()) / total if total else 1.0
        scores: defaultdict[int, float] = defaultdict(float)
        for key in keys:
            holders = self._postings.get(key, ())
            rarity = math.log(1 + (total - len(holders) + 0.5) / (len(holders) + 0.5))
            for block, weight in holders:
                norm = 1.2 * (0.25 + 0.75 * self._lengths[block] / average)
                scores[block] += rarity * weight * 2.2 / (weight + norm)
        return sorted(scores.items(), key=lambda found: (-found[1], found[0]))[:limit]
