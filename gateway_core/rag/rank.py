"""Which sentences answer the question.

A chunk of fixed size mixes the sentence that answers with others that do not. Here every unit (a sentence, a line)
is scored by BM25 over a *window* around it: its own words count in full, those of its neighbours less, those of the
head it stands under half. Rare words weigh more than frequent ones; a unit gains when it covers more of the question,
when it holds the kind of thing that is asked for (a date, a number, a name), and when its block scored well. In code
the line that opens a definition is scored by the whole body it opens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from .corpus import Corpus
from .places import walls
from .split import units
from .words import Style, content_words, stems, words

Counts = dict[int, float]  # position of a key in the query -> how often, weighted


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much; the ablation in docs/rag.md shows what each brings."""

    neighbours: tuple[float, ...] = (1.0, 0.5, 0.25)  # by distance in units
    k1: float = 1.2
    b: float = 0.5
    head: float = 0.5
    block: float = 0.3
    coverage: float = 0.5
    kind: float = 0.3
    body: float = 0.5  # of the lines below a definition, for its first line
    body_lines: int = 40
    named: float = 0.5  # for documents that the question names


DEFAULT = Weights()
_BY_DOCUMENT = Weights(k1=1.5, b=0.75)


@dataclass(frozen=True, slots=True)
class Block:
    """A candidate from the full-text table. `number` is its place among all blocks."""

    number: int
    document: int
    start: int
    end: int
    score: float


@dataclass(slots=True)
class Unit:
    """A span of a candidate block. Units of the same `run` follow each other without a gap.

    `part` and `row` number the places they stand in: no unit runs over two of them.
    """

    document: int
    start: int
    end: int
    run: int
    hits: Counts
    length: int
    score: float = 0.0
    part: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A question as the ranking sees it: its keys, how rare each is, what the answer should look like."""

    keys: tuple[str, ...]
    rarity: tuple[float, ...]
    wants: re.Pattern[str] | None = None
    named: frozenset[int] = frozenset()


_NUMBER_WORDS = "one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand|million|billion|half|twice"
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_WANTS = tuple(
    (re.compile(asks, re.IGNORECASE), re.compile(answers))
    for asks, answers in (
        (
            r"\bwhen\b|\b(?:what|which) (?:year|date|day|month)\b",
            rf"\b(?:1\d|20)\d\d\b|\b(?:{_MONTHS})\b|\b\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}\b",
        ),
        (
            r"\bhow (?:many|much|long|old|often|far|high|large|big|tall|deep|fast)\b"
            r"|\b(?:number|percentage|rate|amount|share|population|length) of\b"
            r"|\bwhat (?:percentage|percent|number|proportion)\b",
            rf"\d|\b(?i:{_NUMBER_WORDS})\b",
        ),
        (r"\bwho(?:se|m)?\b", r"[^\W\d_a-z][\w'’.-]{0,40}\s+(?:(?:of|de|van|von|al|the)\s+)?[A-Z][\w'’-]+"),
        (r"\bwhere\b", r"\b(?:in|at|near|from|to|on|of)\s+(?:the\s+)?[A-Z]\w+"),
    )
)


def wanted(question: str) -> re.Pattern[str] | None:
    """What the answer to such a question looks like, if the question tells."""
    return next((answers for asks, answers in _WANTS if asks.search(question)), None)


def rarity(holders: int, total: int) -> float:
    return math.log(1 + (total - holders + 0.5) / (holders + 0.5))


def query_keys(question: str, styles: Sequence[Style]) -> list[str]:
    """The keys of a question, in every style that the documents were read in."""
    told = content_words(question)
    found = (key for style in dict.fromkeys(styles) for word in told for key in stems(style)[word].split())
    return list(dict.fromkeys(found))


class _Hits(dict[str, tuple[int, ...]]):
    """Surface form to the positions, in the query, of the keys it carries: empty for nearly all forms."""

    def __init__(self, keys: Sequence[str], style: Style) -> None:
        super().__init__()
        self._position = {key: at for at, key in enumerate(keys)}
        self._stems = stems(style)

    def __missing__(self, word: str) -> tuple[int, ...]:
        keys = self._stems[word]
        if " " in keys:
            found = tuple(self._position[key] for key in keys.split() if key in self._position)
        else:
            at = self._position.get(keys)
            found = () if at is None else (at,)
        self[word] = found
        return found

    def count(self, text: str) -> tuple[Counts, int]:
        """The hits in a text, and how many words it has."""
        counts: Counts = {}
        surface = words(text)
        for word in surface:
            for at in self[word]:
                counts[at] = counts.get(at, 0.0) + 1.0
        return counts, len(surface)


def rank_units(
    query: Query,
    blocks: Sequence[Block],
    corpus: Corpus,
    weights: Weights = DEFAULT,
    boosts: Mapping[int, float] | None = None,
) -> list[Unit]:
    """The units of the candidate blocks in reading order, each with its score.

    `boosts` adds to the units of a block, as a share of the best score (an embedding's opinion, say).
    """
    hits = {style: _Hits(query.keys, style) for style in set(corpus.styles)}
    found, block_of = _units_of(blocks, corpus, hits)
    if not found:
        return found
    windows = _windows(found, weights.neighbours)
    full_window = 2 * sum(weights.neighbours) - weights.neighbours[0]
    average = full_window * max(1.0, sum(unit.length for unit in found) / len(found))
    lent = _Lent(corpus, hits, weights)
    whole = sum(query.rarity) or 1.0
    for at, unit in enumerate(found):
        counts, length = windows[at]
        counts = lent.added(found, at, counts)
        unit.score = _bm25(query, counts, length / average, weights, whole)
        if (
            unit.score
            and query.wants
            and query.wants.search(corpus.documents[unit.document].text, unit.start, unit.end)
        ):
            unit.score *= 1 + weights.kind
    _add_block_scores(found, block_of, weights, boosts or {})
    if query.named:
        for unit in found:
            if unit.document in query.named:
                unit.score *= 1 + weights.named
    return found


def _units_of(blocks: Sequence[Block], corpus: Corpus, hits: Mapping[Style, _Hits]) -> tuple[list[Unit], list[Block]]:
    found: list[Unit] = []
    block_of: list[Block] = []
    part = row = 0
    run, last = -1, None
    for block in sorted(blocks, key=lambda b: b.number):
        if last is None or block.number != last.number + 1 or block.document != last.document:
            run += 1
        last = block
        document = corpus.documents[block.document]
        text, form = document.text, corpus.outlines[block.document].form
        count = hits[corpus.styles[block.document]].count
        begin = block.start
        for wall, is_part in (*walls(document, block.start, block.end), (block.end, False)):
            for start, end in units(text, begin, wall, form):
                found.append(Unit(block.document, start, end, run, *count(text[start:end]), part=part, row=row))
                block_of.append(block)
            begin, part, row = wall, part + is_part, row + (wall < block.end)
    return found, block_of


def _windows(found: Sequence[Unit], neighbours: Sequence[float]) -> list[tuple[Counts, float]]:
    """For each unit the weighted hits and length of itself and its neighbours."""
    reach, total = len(neighbours) - 1, len(found)
    lengths = [0.0] * total
    windows: list[Counts] = [{} for _ in found]
    for at, unit in enumerate(found):
        for other in range(max(0, at - reach), min(total, at + reach + 1)):
            if found[other].run != unit.run:
                continue
            weight = neighbours[abs(other - at)]
            lengths[other] += weight * unit.length
            if unit.hits:
                into = windows[other]
                for key, count in unit.hits.items():
                    into[key] = into.get(key, 0.0) + weight * count
    return list(zip(windows, lengths, strict=True))


def _bm25(query: Query, counts: Counts, relative_length: float, weights: Weights, whole: float) -> float:
    norm = weights.k1 * (1 - weights.b + weights.b * relative_length)
    score = covered = 0.0
    for key, count in counts.items():
        value = query.rarity[key]
        score += value * count * (weights.k1 + 1) / (count + norm)
        covered += value
    return score * (1 + weights.coverage * covered / whole)


class _Lent:
    """Hits that a unit has from elsewhere: from the head above it or, for a definition's first line, from its body."""

    def __init__(self, corpus: Corpus, hits: Mapping[Style, _Hits], weights: Weights) -> None:
        self._corpus = corpus
        self._weights = weights
        self._hits = hits
        self._heads: dict[tuple[int, int], Counts] = {}

    def added(self, found: Sequence[Unit], at: int, own: Counts) -> Counts:
        unit = found[at]
        shape = self._corpus.outlines[unit.document]
        head = shape.head_at(unit.end - 1)
        if head is None:
            return own
        if head[0] >= unit.start:
            return self._from_body(found, at, own) if shape.is_code else own
        lent = self._from_head(unit.document, head)
        if not lent:
            return own
        merged = dict(own)
        for key, count in lent.items():
            merged[key] = merged.get(key, 0.0) + self._weights.head * count
        return merged

    def _from_head(self, document: int, head: tuple[int, int]) -> Counts:
        known = self._heads.get((document, head[0]))
        if known is None:
            text = self._corpus.documents[document].text[head[0] : head[1]]
            known, _ = self._hits[self._corpus.styles[document]].count(text)
            self._heads[document, head[0]] = known
        return known

    def _from_body(self, found: Sequence[Unit], at: int, own: Counts) -> Counts:
        unit = found[at]
        end = self._corpus.outlines[unit.document].section_end(unit.end, unit.end + 100_000)
        merged = dict(unit.hits)
        for below in found[at + 1 : at + 1 + self._weights.body_lines]:
            if below.run != unit.run or below.start >= end:
                break
            for key, count in below.hits.items():
                merged[key] = merged.get(key, 0.0) + self._weights.body * count
        return {key: max(merged.get(key, 0.0), own.get(key, 0.0)) for key in merged.keys() | own.keys()}


def _add_block_scores(
    found: Sequence[Unit], block_of: Sequence[Block], weights: Weights, boosts: Mapping[int, float]
) -> None:
    best = max(unit.score for unit in found)
    best_block = max(block.score for block in block_of) or 1.0
    for unit, block in zip(found, block_of, strict=True):
        if unit.score or block.number in boosts:
            unit.score += best * (weights.block * block.score / best_block + boosts.get(block.number, 0.0))


def rank_documents(query: Query, blocks: Sequence[Block], corpus: Corpus) -> list[int]:
    """Documents by BM25 over their whole length, best first; what short documents are ranked by.

    The name counts twice. Covering more of the question, and its words in their order, counts extra.
    """
    hits = {style: _Hits(query.keys, style) for style in set(corpus.styles)}
    average = max(1.0, sum(len(d.text) for d in corpus.documents) / max(1, len(corpus.documents)))
    texts: dict[int, list[str]] = {}
    for block in sorted(blocks, key=lambda b: b.number):
        document = corpus.documents[block.document]
        texts.setdefault(block.document, [document.name, document.name]).append(document.text[block.start : block.end])
    whole = sum(query.rarity) or 1.0
    scores: dict[int, float] = {}
    for at, parts in texts.items():
        of_word = hits[corpus.styles[at]]
        found = [of_word[word] for part in parts for word in words(part)]
        counts: Counts = {}
        for key in chain.from_iterable(found):
            counts[key] = counts.get(key, 0.0) + 1.0
        in_order = {one for before, after in pairwise(found) for one in before if one + 1 in after}
        length = (len(corpus.documents[at].text) + 2 * len(corpus.documents[at].name)) / average
        score = _bm25(query, counts, length, _BY_DOCUMENT, whole)
        scores[at] = score * (1 + 0.3 * len(in_order) / max(1, len(query.keys) - 1))
    return sorted((at for at, score in scores.items() if score > 0), key=lambda at: (-scores[at], at))
