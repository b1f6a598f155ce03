"""Where one place of a document ends and the next begins, so that what is cited stands where it is said to stand.

A *part* (a page, a slide, a section, a cell of a notebook) is never left by a passage. The *rows* of a table follow
each other freely in a passage, but are quoted one by one. The *lines* of code and data belong together, and so do the
sections of Markdown, which are often no more than a line.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import itemgetter

from ..types import Document

_LINE = re.compile(r"line \d+")
_ROW = re.compile(r"^(?:row \d+|header|sheet .*![A-Z]{1,3}\d+)")
_COMMON = re.compile(r"^(?:row |line |sheet .*!)")
_OFFSET = itemgetter(0)
_TITLE = re.compile(r" {0,3}#{1,6}[ \t]+(\S.*)")
_CODE_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_MARKDOWN = "markdown"
_LONGEST_HEADING = 60
_NEAR = 700  # a passage seldom reaches farther
MOST_PLACES = 20_000


def lines_in(text: str) -> tuple[tuple[int, str], ...]:
    """Where each line begins: `line 42`."""
    return _at_most((start, f"line {n}") for n, (start, _) in enumerate(_lines(text), 1))


def headings_in(text: str) -> tuple[tuple[int, str], ...]:
    """Where each section of a Markdown text begins: `§ heading`. A `#` within code is a comment."""
    found = []
    in_code = False
    for start, line in _lines(text):
        if _CODE_FENCE.match(line):
            in_code = not in_code
        elif not in_code and (title := _TITLE.match(line)):
            found.append((start, f"§ {_without_closing(title[1])[:_LONGEST_HEADING]}"))
    return _at_most(found)


def _without_closing(title: str) -> str:
    """`# Title ##` is called `Title`, `# C#` is called `C#`."""
    title = title.rstrip()
    bare = title.rstrip("#")
    return bare.rstrip() if bare.endswith((" ", "\t")) else title


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.split("\n"):
        yield at, line
        at += len(line) + 1


def _at_most(places: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """Of very many places every second, third ..."""
    listed = tuple(places)
    return listed[:: len(listed) // MOST_PLACES + 1]


def walls(document: Document, start: int, end: int) -> Iterator[tuple[int, bool]]:
    """The offsets in `[start, end)` where a row or a part begins; true for a part."""
    if document.kind == _MARKDOWN:
        return
    places = document.places
    for at in range(bisect_left(places, start, key=_OFFSET), len(places)):
        offset, place = places[at]
        if offset >= end:
            return
        if not _LINE.fullmatch(place):
            yield offset, not _ROW.fullmatch(place)


def parts(document: Document) -> list[tuple[int, int]]:
    """The spans of the document's parts, those without text left out; they cover all of its text."""
    text = document.text
    inner = (
        ((at, True) for at, _ in document.places if at) if document.kind == _MARKDOWN else walls(document, 1, len(text))
    )
    starts = [0, *(offset for offset, is_part in inner if is_part)]
    ends = [*starts[1:], len(text)]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if text[start:end].strip()]


def place_of(document: Document, start: int, end: int) -> str | None:
    """What a span covers: `p. 12`, or `row 40 to 52` where it runs over several places."""
    first, last = document.place_of(start), document.place_of(max(start, end - 1))
    if first is None or last is None or first == last or last.startswith(f"{first}!"):
        return first or last
    shared = _COMMON.match(first)
    return f"{first} to {last.removeprefix(shared.group()) if shared else last}"


def longest_place(document: Document, offset: int) -> str | None:
    """About the longest place that a passage from there on can be said to cover: what a label has to have room for."""
    place = document.place_of(offset)
    if document.kind == _MARKDOWN:
        following = document.place_of(offset + _NEAR)
        return following if place in (None, following) else f"{place} to {following}"
    return f"{place} to {place[-5:]}" if place and (_LINE.fullmatch(place) or _ROW.fullmatch(place)) else place
