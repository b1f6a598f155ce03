"""The ways to fill a context that are compared: the simple ones everybody starts with, and ours."""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway_core.rag import PassageIndex
from gateway_core.rag.rank import DEFAULT, Weights
from gateway_core.types import Document

PIECE = 800
_WORD = re.compile(r"\w+")


class Method(Protocol):
    def pack(self, question: str, budget: int) -> str: ...
    def rank(self, question: str, k: int) -> list[str]: ...


class JoinAndCut:
    """All documents in a row, cut at the budget."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._text = "\n\n".join(document.text for document in documents)
        self._ids = [str(document.id) for document in documents]

    def pack(self, question: str, budget: int) -> str:
        return self._text[:budget]

    def rank(self, question: str, k: int) -> list[str]:
        return self._ids[:k]


class PlainBM25:
    """Pieces of 800 characters by BM25 over lower-cased words (k1 1.2, b .75); the usual first version."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._ids = [str(document.id) for document in documents]
        self._pieces = [d.text[at : at + PIECE] for d in documents for at in range(0, len(d.text), PIECE)]
        self._by_piece = _Postings(self._pieces)
        self._by_document = _Postings([f"{document.name} {document.text}" for document in documents])

    def pack(self, question: str, budget: int) -> str:
        return _joined((self._pieces[at] for at in self._by_piece.best(question)), budget)

    def rank(self, question: str, k: int) -> list[str]:
        return [self._ids[at] for at in self._by_document.best(question)[:k]]


class _Postings:
    def __init__(self, texts: Sequence[str]) -> None:
        self._holders: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._lengths: list[int] = []
        for at, text in enumerate(texts):
            said = _WORD.findall(text.lower())
            self._lengths.append(len(said))
            for word, count in Counter(said).items():
                self._holders[word].append((at, count))
        self._average = sum(self._lengths) / max(1, len(texts)) or 1.0

    def best(self, question: str) -> list[int]:
        total = len(self._lengths)
        scores: defaultdict[int, float] = defaultdict(float)
        for word in set(_WORD.findall(question.lower())):
            holders = self._holders.get(word, ())
            rarity = math.log(1 + (total - len(holders) + 0.5) / (len(holders) + 0.5))
            for at, count in holders:
                norm = 1.2 * (0.25 + 0.75 * self._lengths[at] / self._average)
                scores[at] += rarity * count * 2.2 / (count + norm)
        return sorted(scores, key=lambda at: (-scores[at], at))


class Fts5:
    """Pieces of 800 characters by SQLite's own full-text ranking with its English stemmer."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._ids = [str(document.id) for document in documents]
        self._pieces = [d.text[at : at + PIECE] for d in documents for at in range(0, len(d.text), PIECE)]
        self._by_piece = _table(self._pieces)
        self._by_document = _table([f"{document.name} {document.text}" for document in documents])

    def pack(self, question: str, budget: int) -> str:
        return _joined((self._pieces[at] for at in _matches(self._by_piece, question, 60)), budget)

    def rank(self, question: str, k: int) -> list[str]:
        return [self._ids[at] for at in _matches(self._by_document, question, k)]


def _table(texts: Sequence[str]) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE texts USING fts5(body, content='', tokenize='porter unicode61')")
    db.executemany("INSERT INTO texts(rowid, body) VALUES (?, ?)", enumerate(texts))
    return db


def _matches(db: sqlite3.Connection, question: str, limit: int) -> list[int]:
    query = " OR ".join(f'"{word}"' for word in _WORD.findall(question))
    sql = "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT ?"
    return [at for (at,) in db.execute(sql, (query, limit))] if query else []


class Ours:
    """`PassageIndex`, labels and fence counted."""

    def __init__(self, documents: Sequence[Document], weights: Weights = DEFAULT) -> None:
        self._index = PassageIndex(documents, weights=weights)

    def pack(self, question: str, budget: int) -> str:
        return self._index.pack(question, budget).text

    def rank(self, question: str, k: int) -> list[str]:
        return [str(document) for document in self._index.rank(question, k)]

    def quotes(self, question: str) -> list[str]:
        return [quote.text for quote in self._index.quotes(question)]


def _joined(pieces, budget: int) -> str:  # type: ignore[no-untyped-def]
    parts: list[str] = []
    left = budget
    for piece in pieces:
        if left <= 0:
            break
        parts.append(piece[:left])
        left -= len(parts[-1]) + 2
    return "\n\n".join(parts)


def ours(**changed: object) -> Callable[[Sequence[Document]], Method]:
    """Our method with some weights changed, to see what each is worth."""
    from dataclasses import replace

    weights = replace(DEFAULT, **changed)  # type: ignore[arg-type]
    return lambda documents: Ours(documents, weights)


METHODS: dict[str, Callable[[Sequence[Document]], Method]] = {
    "join and cut": JoinAndCut,
    "plain BM25": PlainBM25,
    "SQLite FTS5": Fts5,
    "ours": Ours,
}
ABLATIONS: dict[str, Callable[[Sequence[Document]], Method]] = {
    "ours": Ours,
    "without neighbours": ours(neighbours=(1.0,)),
    "without heads": ours(head=0.0),
    "without bodies of definitions": ours(body_lines=0),
    "without block scores": ours(block=0.0),
    "without coverage": ours(coverage=0.0),
    "without the kind of answer": ours(kind=0.0),
}
