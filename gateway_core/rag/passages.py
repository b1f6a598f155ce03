"""What retrieval hands out: passages of documents, contexts made of them, quotes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..types import Source

DocumentId = str | int
Mode = Literal["whole", "passages", "overview"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A numbered piece of a document: `text == document.text[start:end]`, always.

    `document` is the document's id. `suspicious` names what in it looks like an attempt to give the model orders.
    """

    n: int
    document: DocumentId
    name: str
    start: int
    end: int
    text: str
    place: str | None = None
    score: float = 0.0
    suspicious: tuple[str, ...] = ()

    def as_source(self, *, cited: bool = False) -> Source:
        """The passage as an answer reports it."""
        return Source(self.n, str(self.document), self.start, self.end, self.text, cited, self.place)


@dataclass(frozen=True, slots=True)
class PackedContext:
    """A context for one question.

    `text` is what a model reads: cleaned, labelled, fenced with `nonce`, never longer than was asked for; empty when
    nothing fits. `mode` says whether the documents are given whole, by passages, or in overview. `notes` tell the
    user what was left out and what looks suspicious.
    """

    text: str
    passages: tuple[Passage, ...]
    notes: tuple[str, ...]
    nonce: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Quote:
    """Consecutive sentences that match a question best: `text == document.text[start:end]`.

    `card`, in an overview: what can be counted in the document, told with the first quote from it.
    """

    document: DocumentId
    name: str
    start: int
    end: int
    text: str
    score: float
    place: str | None = None
    card: str = ""
