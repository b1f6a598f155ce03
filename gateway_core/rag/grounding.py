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
from .words import content_words, keys_of, style_of

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
    unsupported = [
        finding
        for start, end in _sentences(marked)
        for finding in _unsupported(
            answer,
            marked,
            start,
            end,
            citations[bisect_left(places, start) : bisect_left(places, end)],
            passages,
            question,
        )
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


def _unsupported(
    answer: str,
    marked: str,
    start: int,
    end: int,
    citations: Sequence[Citation],
    passages: Sequence[Passage],
    question: str,
) -> Iterable[Finding]:
    numbers = tuple(dict.fromkeys(c.n for c in citations))
    cited = [passage for passage in passages if passage.n in numbers]
    # The marker's own digits are not a claim.
    sentence = _CITATION.sub(lambda marker: " " * len(marker.group()), marked[start:end])
    for quote in _QUOTED.finditer(sentence):
        said = squeezed(quote.group(1))
        if not any(said in squeezed(passage.text) for passage in cited or passages):
            yield _finding("quote", answer, quote.span(1), start, numbers, _holder(said, passages))
    if not cited:
        return
    asked = squeezed(question)
    held = "|".join(squeezed(f"{passage.name} {passage.text}") for passage in cited)
    told = {
        number.replace(",", "") for passage in cited for number in _NUMBER.findall(f"{passage.name} {passage.text}")
    }
    told |= {number.replace(",", "") for number in _NUMBER.findall(question)}
    # A capital tells a name only in English, and only where the passage is in English too.
    named = style_of(answer) == style_of(" ".join(passage.text for passage in cited)) == "english"
    for kind, pattern in (("number", _NUMBER), ("name", _NAME)) if named else (("number", _NUMBER),):
        for match in pattern.finditer(sentence):
            said = squeezed(match.group())
            if kind == "number":
                supported = match.group().replace(",", "") in told
            else:
                supported = said in held or said in asked or len(said) < 3
            if not supported:
                yield _finding(kind, answer, match.span(), start, numbers, _holder(said, passages))
    yield from _unshared(answer, sentence, start, cited, passages, numbers)


def _unshared(
    answer: str,
    sentence: str,
    start: int,
    cited: Sequence[Passage],
    passages: Sequence[Passage],
    numbers: tuple[int, ...],
) -> Iterable[Finding]:
    """A cited sentence that has hardly a word in common with what it cites."""
    style = style_of(answer)
    said = set(keys_of(" ".join(content_words(sentence)), style))
    if len(said) < 4:
        return
    if style_of(" ".join(passage.text for passage in cited)) != style:
        return  # an answer in another language shares no words, and rightly so
    shares = {passage.n: len(said & set(keys_of(passage.text, style))) / len(said) for passage in passages}
    together = set().union(*(keys_of(passage.text, style) for passage in cited))
    if len(said & together) / len(said) >= SHARED_WORDS:
        return
    best = max(shares, key=lambda n: shares[n])
    suggested = best if best not in numbers and shares[best] >= 2 * SHARED_WORDS else None
    span = len(sentence) - len(sentence.lstrip()), len(sentence.rstrip())
    yield _finding("sentence", answer, span, start, numbers, suggested)


def _finding(
    kind: str, answer: str, span: tuple[int, int], offset: int, numbers: tuple[int, ...], suggested: int | None
) -> Finding:
    start, end = span[0] + offset, span[1] + offset
    return Finding(kind, answer[start:end], start, end, numbers, suggested if suggested not in numbers else None)


def _holder(said: str, passages: Sequence[Passage]) -> int | None:
    return next((passage.n for passage in passages if said and said in squeezed(passage.text)), None)


def squeezed(text: str) -> str:
    """Letters and digits only, in one form and case: what is left when typography is no matter."""
    return _NOT_ALNUM.sub("", unicodedata.normalize("NFKC", text).casefold())
