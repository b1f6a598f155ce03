"""Documents, ready to be asked: the one place that puts the pure parts of retrieval together."""

from __future__ import annotations

import secrets
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ..types import Document
from . import cite, overview
from .clean import clean, suspicions
from .corpus import Corpus, Searchable, names_of, read, with_ids
from .embed import Candidate
from .fulltext import BlockTable, Row, new_table
from .pack import Packer, Span, best_quotes
from .passages import DocumentId, Mode, PackedContext, Passage, Quote
from .places import longest_place, parts, place_of
from .rank import DEFAULT, Block, Query, Unit, Weights, query_keys, rank_documents, rank_units, rarity, wanted
from .split import BLOCK, blocks
from .words import keys_of, stems, words

CANDIDATES = 60
MOST_KEYS = 500  # a whole page may be pasted as a question
TELLING_KEYS = 64
LONGEST_NAME = 8  # words
REMEMBERED_QUESTIONS = 4
NAMES_TOLD = 5
MANY_BLOCKS = 5_000  # from here on, words that stand nearly everywhere are not worth looking up


_Asked = tuple[str, int, frozenset[tuple[int, float]]]  # question, candidates, boosts


class SearchableCache(Protocol):
    """Remembers what was indexed; see `cache.IndexCache`."""

    def find(self, documents: Sequence[Document]) -> Searchable | None: ...
    def keep(self, documents: Sequence[Document], made: Searchable) -> None: ...


class PassageIndex:
    """Answers questions with passages of the documents it was made from.

    Nothing is indexed before the first question that needs it, and then once. Safe to use from several threads.
    """

    def __init__(
        self,
        documents: Sequence[Document | str],
        *,
        weights: Weights = DEFAULT,
        cache: SearchableCache | None = None,
        table: Callable[[], BlockTable] = new_table,
    ) -> None:
        self.documents = with_ids(documents)
        self._weights = weights
        self._lock = threading.RLock()
        self._corpus_: Corpus | None = None
        self._searchable_: Searchable | None = None
        self._cache = cache
        self._new_table = table
        self._names: dict[str, list[int]] | None = None
        self._cards: dict[tuple[int, bool], str] = {}
        self._ranked: OrderedDict[_Asked, list[Unit]] = OrderedDict()

    def pack(
        self,
        question: str,
        max_chars: int,
        *,
        nonce: str | None = None,
        boosts: Mapping[int, float] | None = None,
    ) -> PackedContext:
        """The context for a question in at most `max_chars` characters, labels and fence included.

        Documents that fit are given whole and in order. A second call with another budget ranks nothing anew.
        """
        nonce = nonce or secrets.token_hex(4)
        whole = self._whole(max_chars, nonce)
        if whole is not None:
            return whole
        budget = max_chars - cite.frame_length(nonce)
        if not overview.asks_for_all(question):
            ranked = self._rank(question, boosts, _candidates_for(budget))
            first = self._wanted_first(question)
            choice = Packer(ranked, self._text, self._label_cost).choose(budget, first)
            if any(unit.score > 0 for unit in ranked):
                return self._context(choice.spans, max_chars, nonce, "passages", choice.repeated)
        spans = overview.overview_spans(self._corpus, budget, self._overview_label_cost)
        return self._context(spans, max_chars, nonce, "overview")

    def prepare(self) -> None:
        """Index now rather than at the first question."""
        _ = self._searchable

    def rank(self, question: str, k: int) -> list[DocumentId]:
        """The ids of the `k` documents that match best, best first; fewer when fewer match."""
        query, candidates = self._candidates(question, max(CANDIDATES, 5 * k))
        return [self._id(at) for at in rank_documents(query, candidates, self._corpus)[:k]]

    def quotes(self, question: str, k: int = 3, max_chars: int = 400) -> list[Quote]:
        """The best `k` runs of sentences, best first, each within `max_chars`; empty when nothing matches."""
        return [self._quote(span) for span in best_quotes(self._rank(question), k, max_chars, self._text)]

    def overview(self, question: str, max_chars: int = 1200) -> list[Quote]:
        """How the documents and their sections begin, each document with its card; empty unless the question is
        about them as a whole, or about how many there are of something in a table."""
        counts = overview.counts_something(question)
        has_table = counts and any(self._card(at, "passages") for at in range(len(self.documents)))
        if not has_table and not overview.asks_for_all(question):
            return []
        quotes: list[Quote] = []
        for span in overview.overview_spans(self._corpus, max_chars, self._overview_label_cost):
            if not quotes or quotes[-1].document != self._id(span.document):
                quotes.append(replace(self._quote(span), card=self._card(span.document, "overview")))
            elif not counts:
                quotes.append(self._quote(span))
        return quotes

    def _quote(self, span: Span) -> Quote:
        start, end = self._trimmed(span)
        document = self.documents[span.document]
        return Quote(
            document=self._id(span.document),
            name=self._corpus.name(span.document),
            start=start,
            end=end,
            text=document.text[start:end],
            score=span.score,
            place=place_of(document, start, end),
        )

    def must_choose(self, question: str, max_chars: int) -> bool:
        """Whether `pack` would rank: not everything fits, and the question names something to look for."""
        return not overview.asks_for_all(question) and self._whole(max_chars, "0" * 8) is None

    def candidates(self, question: str) -> list[Candidate]:
        """The blocks that the words of a question found, for `embed.rerank`; its result goes to `pack` as `boosts`."""
        _, found = self._candidates(question, CANDIDATES)
        return [
            Candidate(
                block.number,
                self.documents[block.document].text[block.start : block.end],
                block.score,
                self.documents[block.document].private,
            )
            for block in found
        ]

    @property
    def _corpus(self) -> Corpus:
        with self._lock:
            if self._corpus_ is None:
                self._corpus_ = read(self.documents)
            return self._corpus_

    @property
    def _searchable(self) -> Searchable:
        with self._lock:
            if self._searchable_ is None:
                known = self._cache.find(self.documents) if self._cache is not None else None
                self._searchable_ = known or self._indexed()
                self._corpus_ = Corpus(self.documents, self._searchable_.outlines, self._searchable_.styles)
            return self._searchable_

    def _indexed(self) -> Searchable:
        corpus = self._corpus
        made = Searchable(self._new_table(), array("L"), corpus.outlines, corpus.styles)
        made.table.add(self._rows(corpus, made.spans))
        if self._cache is not None:
            self._cache.keep(self.documents, made)
        return made

    def _rows(self, corpus: Corpus, spans: array[int]) -> Iterator[Row]:
        number = 0
        for at, document in enumerate(corpus.documents):
            style, shape, text = corpus.styles[at], corpus.outlines[at], document.text
            key_of = stems(style).__getitem__
            title = " ".join(keys_of(document.name, style))
            for start, end in blocks(text, shape):
                head = shape.head_at(start)
                above = title
                if head is not None and head[0] < start:
                    above = " ".join([title, *keys_of(text[head[0] : head[1]], style)])
                spans.extend((at, start, end))
                yield number, " ".join(map(key_of, words(text[start:end]))), above
                number += 1

    def _rank(self, question: str, boosts: Mapping[int, float] | None = None, limit: int = CANDIDATES) -> list[Unit]:
        asked = (question, limit, frozenset((boosts or {}).items()))
        with self._lock:
            if asked not in self._ranked:
                query, candidates = self._candidates(question, limit)
                self._ranked[asked] = rank_units(query, candidates, self._corpus, self._weights, boosts)
            self._ranked.move_to_end(asked)
            if len(self._ranked) > REMEMBERED_QUESTIONS:
                self._ranked.popitem(last=False)
            return self._ranked[asked]

    def _candidates(self, question: str, limit: int) -> tuple[Query, list[Block]]:
        searchable = self._searchable
        total = searchable.blocks
        keys = query_keys(question, self._corpus.styles)[:MOST_KEYS]
        holders = searchable.table.frequencies(keys)
        rarest = sorted(holders, key=lambda key: (holders[key], key))[:TELLING_KEYS]
        keys = [key for key in keys if key in rarest]
        telling = keys
        if total > MANY_BLOCKS:
            telling = [key for key in keys if holders[key] < total / 4] or keys
        found = searchable.table.search(telling, limit)
        named = frozenset(self._named(question))
        query = Query(tuple(keys), tuple(rarity(holders[key], total) for key in keys), wanted(question), named)
        return query, [Block(number, *searchable.span(number), score) for number, score in found]

    def _named(self, question: str) -> list[int]:
        """Documents whose name, with or without its ending, stands in the question."""
        with self._lock:
            if self._names is None:
                self._names = names_of(self.documents)
        asked = words(question.lower())
        runs = (" ".join(asked[at : at + n]) for at in range(len(asked)) for n in range(1, LONGEST_NAME + 1))
        found = (at for run in dict.fromkeys(runs) for at in self._names.get(run, ()))
        return list(dict.fromkeys(found))[:NAMES_TOLD]

    def _wanted_first(self, question: str) -> list[int]:
        named = self._named(question)
        if overview.asks_for_count(question):
            named += [
                at for at in range(min(100, len(self.documents))) if at not in named and self._card(at, "passages")
            ]
        return named

    def _whole(self, max_chars: int, nonce: str) -> PackedContext | None:
        if sum(len(d.text) for d in self.documents) + cite.frame_length(nonce) > max_chars:
            return None
        by_part = [Span(at, start, end) for at, d in enumerate(self.documents) for start, end in parts(d)]
        by_document = [Span(at, 0, len(d.text)) for at, d in enumerate(self.documents) if d.text.strip()]
        for spans in (by_part, by_document):
            text, passages = self._written(spans, nonce, "whole")
            if len(text) <= max_chars:
                return PackedContext(text, passages, tuple(_warnings(passages)), nonce, "whole")
        return None

    def _context(self, spans: list[Span], max_chars: int, nonce: str, mode: Mode, repeated: int = 0) -> PackedContext:
        text, passages = self._written(spans, nonce, mode)
        while len(text) > max_chars and spans:
            # Costs were estimated before passages were joined and numbered: give up the least useful one.
            worst = min(range(len(spans)), key=lambda at: (spans[at].score, -at))
            spans = [span for at, span in enumerate(spans) if at != worst]
            text, passages = self._written(spans, nonce, mode)
        if not spans:
            text, passages = "", ()
        return PackedContext(text, passages, tuple(self._notes(passages, mode, repeated)), nonce, mode)

    def _written(self, spans: Sequence[Span], nonce: str, mode: Mode) -> tuple[str, tuple[Passage, ...]]:
        parts: list[str] = []
        passages: list[Passage] = []
        before: int | None = None
        for n, span in enumerate(spans, 1):
            document = self.documents[span.document]
            start, end = self._trimmed(span)
            text, place = document.text[start:end], place_of(document, start, end)
            new = span.document != before
            before = span.document
            name = self._corpus.name(span.document)
            parts.append(
                cite.label(n, nonce, name if new else "", place, self._card(span.document, mode) if new else "")
            )
            parts.append(clean(text, nonce, is_code=self._corpus.outlines[span.document].is_code))
            passages.append(
                Passage(n, self._id(span.document), name, start, end, text, place, span.score, suspicions(text))
            )
        return cite.fenced(parts, nonce), tuple(passages)

    def _trimmed(self, span: Span) -> tuple[int, int]:
        piece = self.documents[span.document].text[span.start : span.end]
        start = span.start + len(piece) - len(piece.lstrip())
        return start, max(start, span.start + len(piece.rstrip()))

    def _card(self, at: int, mode: Mode) -> str:
        """Counted once: a large table takes its time."""
        known = (at, mode == "overview")
        if known not in self._cards:
            count = overview.card if mode == "overview" else overview.table_card
            self._cards[known] = count(self.documents[at])
        return self._cards[known]

    def _label_cost(self, at: int, offset: int, with_name: bool) -> int:
        return self._cost(at, offset, with_name, "passages")

    def _overview_label_cost(self, at: int, offset: int, with_name: bool) -> int:
        return self._cost(at, offset, with_name, "overview")

    def _cost(self, at: int, offset: int, with_name: bool, mode: Mode) -> int:
        document = self.documents[at]
        name, card = (self._corpus.name(at), self._card(at, mode)) if with_name else ("", "")
        return len(cite.label(0, "", name, longest_place(document, offset), card)) - len(cite.label(0, ""))

    def _text(self, at: int) -> str:
        return self.documents[at].text

    def _id(self, at: int) -> DocumentId:
        document_id = self.documents[at].id
        return at if document_id is None else document_id

    def _notes(self, passages: Sequence[Passage], mode: Mode, repeated: int) -> Iterator[str]:
        total = sum(len(d.text) for d in self.documents)
        used = sum(p.end - p.start for p in passages)
        shown = {p.document for p in passages}
        if mode == "overview":
            yield "overview: no word of the question to search for, so beginnings of documents and sections are given"
        yield f"{used:,} of {total:,} characters given, from {len(shown)} of {len(self.documents)} documents"
        missing = [self._corpus.name(at) for at in range(len(self.documents)) if self._id(at) not in shown]
        if missing:
            more = f" and {len(missing) - NAMES_TOLD:,} more" if len(missing) > NAMES_TOLD else ""
            yield f"nothing from: {', '.join(map(cite.tidy, missing[:NAMES_TOLD]))}{more}"
        if repeated:
            yield f"{repeated} passages that repeat others left out"
        yield from _warnings(passages)


def _candidates_for(budget: int) -> int:
    """Enough blocks to fill a large context twice over; the same number for all usual ones, so that they share."""
    limit = CANDIDATES
    while limit * BLOCK < 2 * budget:
        limit *= 2
    return limit


def _warnings(passages: Sequence[Passage]) -> Iterator[str]:
    for passage in passages:
        if passage.suspicious:
            held = ", ".join(passage.suspicious)
            name = cite.tidy(passage.name)
            yield f"{name} (passage {passage.n}) holds {held}: given to the model as a quotation, not as an order"
