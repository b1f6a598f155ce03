"""Indexes kept by the content of their documents, so that a second question indexes nothing.

In memory always; in a file too where one is given, for documents that come back after a restart. What lies in the
file are word stems and offsets, never text; documents marked private are not written there at all.
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..types import Document
from .blobs import BlobFile
from .corpus import Searchable
from .fulltext import FullTextTable, has_fts5
from .index import PassageIndex
from .split import Outline

SCHEMA = 2  # raise it when split, words or fulltext change what an index holds
MEMORY_BYTES = 256 * 1024 * 1024
FILE_BYTES = 512 * 1024 * 1024

Key = tuple[tuple[str, str], ...]


class IndexCache:
    """Hands out indexes. `max_bytes` bounds those in memory (text not counted), `max_file_bytes` those in the file."""

    def __init__(
        self, max_bytes: int = MEMORY_BYTES, *, path: Path | None = None, max_file_bytes: int = FILE_BYTES
    ) -> None:
        self._max_bytes = max_bytes
        self._file = BlobFile(path, max_file_bytes) if path is not None and has_fts5() else None
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, Searchable] = OrderedDict()
        self._keeping = threading.Lock()
        self._cleared = 0

    def index(self, documents: Sequence[Document | str]) -> PassageIndex:
        """An index of these documents; what was indexed before, under whatever ids, is not indexed again."""
        return PassageIndex(documents, cache=_View(self, self._cleared))

    def find(self, documents: Sequence[Document]) -> Searchable | None:
        key = _key(documents)
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                return held
        cleared = self._cleared
        stored = self._file.get(_digest(key)) if self._file is not None else None
        found = _restored(stored) if stored is not None else None
        if found is not None:
            with self._keeping:
                if self._cleared == cleared:
                    self._hold(key, found)
        return found

    def keep(self, documents: Sequence[Document], made: Searchable) -> None:
        key = _key(documents)
        self._hold(key, made)
        if self._file is not None and isinstance(made.table, FullTextTable) and not any(d.private for d in documents):
            self._file.put(_digest(key), _stored(made, made.table))

    def clear(self) -> None:
        """Forget everything, the file included, and keep nothing of what is being indexed at this moment."""
        with self._keeping:
            self._cleared += 1
            with self._lock:
                self._held.clear()
            if self._file is not None:
                self._file.clear()

    def keep_unless_cleared(self, documents: Sequence[Document], made: Searchable, cleared: int) -> None:
        """`keep`, if the cache was cleared no more often than that."""
        with self._keeping:
            if self._cleared == cleared:
                self.keep(documents, made)

    def _hold(self, key: Key, made: Searchable) -> None:
        with self._lock:
            self._held[key] = made
            while sum(held.size for held in self._held.values()) > self._max_bytes:
                self._held.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _View:
    """The cache for one index: what it makes is not kept if the cache is cleared meanwhile."""

    cache: IndexCache
    cleared: int

    def find(self, documents: Sequence[Document]) -> Searchable | None:
        return self.cache.find(documents)

    def keep(self, documents: Sequence[Document], made: Searchable) -> None:
        self.cache.keep_unless_cleared(documents, made, self.cleared)


def _key(documents: Sequence[Document]) -> Key:
    """The content itself: strings remember their hash, so looking up the same objects again costs nothing."""
    return tuple((document.text, document.name) for document in documents)


def _digest(key: Key) -> str:
    digest = hashlib.sha256(b"%d" % SCHEMA)
    for text, name in key:
        for part in (text, name):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


def _stored(made: Searchable, table: FullTextTable) -> bytes:
    """A length, the shape as JSON, then the image of the table."""
    shape = {
        "spans": made.spans.tolist(),
        "outlines": [[o.form, o.starts, o.ends] for o in made.outlines],
        "styles": made.styles,
    }
    head = json.dumps(shape).encode()
    return struct.pack("<Q", len(head)) + head + table.image()


def _restored(stored: bytes) -> Searchable | None:
    """`None` for what another version wrote or a disk spoilt."""
    try:
        (length,) = struct.unpack_from("<Q", stored)
        shape = json.loads(stored[8 : 8 + length])
        return Searchable(
            table=FullTextTable(stored[8 + length :]),
            spans=array("L", shape["spans"]),
            outlines=tuple(Outline(form, tuple(starts), tuple(ends)) for form, starts, ends in shape["outlines"]),
            styles=tuple(shape["styles"]),
        )
    except (ValueError, KeyError, TypeError, struct.error):
        return None
