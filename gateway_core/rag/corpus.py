"""The documents a question is asked of, with what the ranking needs to know about each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..types import Document
from .fulltext import BlockTable
from .split import Outline, outline
from .words import Style, style_of, words


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents in the caller's order, with their ids filled in; `outlines` and `styles` go with them."""

    documents: tuple[Document, ...]
    outlines: tuple[Outline, ...]
    styles: tuple[Style, ...]

    def name(self, at: int) -> str:
        """What a reader is shown: the name, or `document 3` counted from 1."""
        return self.documents[at].name or f"document {at + 1}"


@dataclass(frozen=True, slots=True)
class Searchable:
    """What indexing makes of a corpus, independent of ids. `spans` holds document, start and end of each block."""

    table: BlockTable
    spans: array[int]
    outlines: tuple[Outline, ...]
    styles: tuple[Style, ...]

    @property
    def blocks(self) -> int:
        return len(self.spans) // 3

    def span(self, block: int) -> tuple[int, int, int]:
        document, start, end = self.spans[3 * block : 3 * block + 3]
        return document, start, end

    @property
    def size(self) -> int:
        """Bytes it takes in memory, about."""
        return self.table.size + 8 * len(self.spans) + sum(64 * len(shape.starts) for shape in self.outlines)


def with_ids(documents: Sequence[Document | str]) -> tuple[Document, ...]:
    """Plain strings made documents, and every document without an id given its position."""
    found = []
    for at, item in enumerate(documents):
        document = Document(item) if isinstance(item, str) else item
        found.append(document if document.id is not None else replace(document, id=at))
    return tuple(found)


def read(documents: tuple[Document, ...]) -> Corpus:
    outlines = tuple(outline(d.text, d.name, d.kind) for d in documents)
    return Corpus(documents, outlines, tuple(style_of(d.text) for d in documents))


def names_of(documents: Sequence[Document]) -> dict[str, list[int]]:
    """Which documents bear a name, written in lower-case words, with the ending and (from four letters) without."""
    found: dict[str, list[int]] = {}
    for at, document in enumerate(documents):
        name = document.name.lower()
        stem = name.rpartition(".")[0]
        for called in {" ".join(words(name)), " ".join(words(stem)) if len(stem) > 3 else ""} - {""}:
            found.setdefault(called, []).append(at)
    return found
