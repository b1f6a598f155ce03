"""Does the answer stand on the passages it cites? Checks flag, they never rewrite.

Citations are mapped back to passages; numbers that do not exist are reported. A quotation of some length must stand
in the passage it is cited from; numbers and names of a cited sentence must stand in its passages or in the question;
and a cited sentence should share words with what it cites. Where another passage holds it, that one is suggested.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .passages import DocumentId, Passage
from .split import units
from .words import Style, content_words, keys_of, style_of

SHORTEST_QUOTE = 20
SHARED_WORDS = 0.3

_NUMBERS = r"\^?\d{1,3}(?:\s*[-–]\s*\^?\d{1,3})?"
_CITATION = re.compile(
    rf"[\[【［](?:\s*(?:passages?|sources?|docs?|documents?)\s*)?({_NUMBERS}(?:\s*[,;、]\s*{_NUMBERS})*)\s*"
    r"(?:†[^\]】］]{0,60})?[\]】］](?![(:])",
    re.IGNORECASE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_QUOTED = re.compile(rf"[\"“„«「]([^\"“”„«»「」]{{{SHORTEST_QUOTE},}}?)[\"”“»」]")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,:/]\d+)*")
_NAME = re.compile(r"(?<![.!?:]\s)(?<![.!?:]\s[\"“(])(?<!^)\b[A-Z][\w'’-]+(?:\s+[A-Z][\w'’-]+)*", re.MULTILINE)
_NOT_ALNUM = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Citation:
    """One number in the answer and the passage it means. `start, end` are the marker's place in the answer."""

    n: int
    start: int
    end: int
    document: DocumentId
    name: str
    place: str | None
    passage_start: int
    passage_end: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the answer that its citations do not hold. `kind` is quote, number, name or sentence.

    `n` are the passages cited for it (none: it is cited from nowhere), `suggested` the passage that holds it, if any.
    """

    kind: str
    text: str
    start: int
    end: int
    n: tuple[int, ...] = ()
    suggested: int | None = None


@dataclass(frozen=True, slots=True)
class Grounding:
    citations: tuple[Citation, ...]
    invalid: tuple[int, ...]
    unsupported: tuple[Finding, ...]

    @property
    def cited(self) -> frozenset[int]:
        """The numbers of the passages that are cited."""
        return frozenset(citation.n for citation in self.citations)

    def as_dict(self) -> dict[str, Any]:
        kinds = {finding.kind for finding in self.unsupported}
        return {
            "citations": [
                {
                    "n": c.n,
                    "start": c.start,
                    "end": c.end,
                    "document": c.document,
                    "name": c.name,
                    "place": c.place,
                    "passage_start": c.passage_start,
                    "passage_end": c.passage_end,
                }
                for c in self.citations
            ],
            "invalid_citations": list(self.invalid),
            "quotes_ok": "quote" not in kinds,
            "numbers_ok": "number" not in kinds,
            "names_ok": "name" not in kinds,
            "unsupported": [
                {
                    "kind": f.kind,
                    "text": f.text,
                    "start": f.start,
                    "end": f.end,
                    "n": list(f.n),
                    "suggested": f.suggested,
                }
                for f in self.unsupported
            ],
        }


def check_citations(answer: str, passages: Sequence[Passage], question: str = "") -> Grounding:
    """What the answer cites, and what of it the cited passages do not hold."""
    by_number = {passage.n: passage for passage in passages}
    marked = _CODE.sub(lambda code: " " * len(code.group()), answer)
    citations: list[Citation] = []
    invalid: list[int] = []
    for marker in _CITATION.finditer(marked):
        for n in _numbers(marker.group(1)):
            passage = by_number.get(n)
            if passage is None:
                if n not in invalid:
                    invalid.append(n)
            else:
                citations.append(
                    Citation(
                        n, *marker.span(), passage.document, passage.name, passage.place, passage.start, passage.end
                    )
                )
    places = [citation.start for citation in citations]
    check = _Check(answer, marked, passages, question)
    unsupported = [
        finding
        for start, end in _sentences(marked)
        for finding in check.sentence(start, end, citations[bisect_left(places, start) : bisect_left(places, end)])
    ]
    return Grounding(tuple(citations), tuple(invalid), tuple(unsupported))


def _numbers(inside: str) -> Iterable[int]:
    """`1, 3-5` is 1, 3, 4, 5."""
    for part in re.split(r"[,;、]", inside):
        ends = [int(number) for number in re.findall(r"\d+", part)]
        yield from range(ends[0], min(ends[-1], ends[0] + 50) + 1) if len(ends) > 1 else ends


def _sentences(text: str) -> list[tuple[int, int]]:
    """Sentences of the answer; a citation that follows the full stop belongs to the sentence before it."""
    found: list[tuple[int, int]] = []
    for start, end in units(text, 0, len(text)):
        leading = re.match(rf"(?:\s*{_CITATION.pattern})+", text[start:end], re.IGNORECASE)
        if leading and found:
            found[-1] = (found[-1][0], start + leading.end())
            start += leading.end()
        if start < end:
            found.append((start, end))
    return found


@dataclass(frozen=True, slots=True)
class _Cited:
    """What the passages that a sentence cites hold together, in the forms it is compared with."""

    squeezed: str
    numbers: frozenset[str]
    keys: frozenset[str]
    style: Style


class _Check:
    """One answer against its passages. What is compared again and again is worked out once."""

    def __init__(self, answer: str, marked: str, passages: Sequence[Passage], question: str) -> None:
        """`marked` is the answer with its code blanked out, place by place."""
        self._answer = answer
        self._marked = marked
        self._question = question
        self._asked = squeezed(question)
        self._style = style_of(answer)
        self._passages = {passage.n: passage for passage in passages}
        self._squeezed = {passage.n: squeezed(passage.text) for passage in passages}
        self._keys = {passage.n: frozenset(keys_of(passage.text, self._style)) for passage in passages}
        self._known: dict[tuple[int, ...], _Cited] = {}

    def sentence(self, start: int, end: int, citations: Iterable[Citation]) -> Iterable[Finding]:
        """What the sentence at `start, end` says that the passages it cites do not hold."""
        numbers = tuple(sorted({citation.n for citation in citations}))
        # The marker's own digits are not a claim.
        sentence = _CITATION.sub(lambda marker: " " * len(marker.group()), self._marked[start:end])
        for quote in _QUOTED.finditer(sentence):
            said = squeezed(quote.group(1))
            if not any(said in self._squeezed[n] for n in numbers or self._squeezed):
                yield self._finding("quote", quote.span(1), start, numbers, self._holder(said))
        if not numbers:
            return
        cited = self._cited(numbers)
        for match in _NUMBER.finditer(sentence):
            if match.group().replace(",", "") not in cited.numbers:
                yield self._finding("number", match.span(), start, numbers, self._holder(squeezed(match.group())))
        # A capital tells a name only in English, and only where the passage is in English too.
        if self._style == cited.style == "english":
            for match in _NAME.finditer(sentence):
                said = squeezed(match.group())
                if len(said) >= 3 and said not in cited.squeezed and said not in self._asked:
                    yield self._finding("name", match.span(), start, numbers, self._holder(said))
        yield from self._unshared(sentence, start, numbers, cited)

    def _unshared(self, sentence: str, start: int, numbers: tuple[int, ...], cited: _Cited) -> Iterable[Finding]:
        """A cited sentence that has hardly a word in common with what it cites."""
        said = set(keys_of(" ".join(content_words(sentence)), self._style))
        if len(said) < 4:
            return
        if cited.style != self._style:
            return  # an answer in another language shares no words, and rightly so
        if len(said & cited.keys) / len(said) >= SHARED_WORDS:
            return
        shares = {n: len(said & keys) / len(said) for n, keys in self._keys.items()}
        best = max(shares, key=lambda n: shares[n])
        suggested = best if best not in numbers and shares[best] >= 2 * SHARED_WORDS else None
        span = len(sentence) - len(sentence.lstrip()), len(sentence.rstrip())
        yield self._finding("sentence", span, start, numbers, suggested)

    def _cited(self, numbers: tuple[int, ...]) -> _Cited:
        if numbers not in self._known:
            cited = [self._passages[n] for n in numbers]
            named = [f"{passage.name} {passage.text}" for passage in cited]
            self._known[numbers] = _Cited(
                squeezed="|".join(map(squeezed, named)),
                numbers=frozenset(
                    number.replace(",", "") for text in (*named, self._question) for number in _NUMBER.findall(text)
                ),
                keys=frozenset().union(*(self._keys[n] for n in numbers)),
                style=style_of(" ".join(passage.text for passage in cited)),
            )
        return self._known[numbers]

    def _holder(self, said: str) -> int | None:
        return next((n for n, text in self._squeezed.items() if said and said in text), None)

    def _finding(
        self, kind: str, span: tuple[int, int], offset: int, numbers: tuple[int, ...], suggested: int | None
    ) -> Finding:
        start, end = span[0] + offset, span[1] + offset
        text = self._answer[start:end]
        return Finding(kind, text, start, end, numbers, suggested if suggested not in numbers else None)


def squeezed(text: str) -> str:
    """Letters and digits only, in one form and case: what is left when typography is no matter."""
    return _NOT_ALNUM.sub("", unicodedata.normalize("NFKC", text).casefold())
