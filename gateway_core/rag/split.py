"""Where a text may be cut: blocks to search, units to score, heads that say what they stand under.

Everything here is a pair of offsets into the caller's own text. Blocks tile a document and units tile a block, so
nothing is lost between two of them, and a passage made of them is always an exact span.

A *block* (about 700 characters) is what the full-text index finds. A *unit* is a sentence, a line of code or a row:
what is scored and packed. A *head* is a markdown or HTML heading, or the line that opens a definition in code; it
lends its words to everything below it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

Form = Literal["prose", "code", "lines"]

BLOCK = 700
LONGEST_UNIT = 400
SHORTEST_UNIT = 40

_CODE = """py pyi js jsx ts tsx java kt go rs c h cc cpp hpp cs rb php swift scala sh bash ps1 sql r jl lua pl m mm vue
    tf proto gradle dart ex exs clj hs"""
_PROSE = "md markdown rst txt html htm pdf docx pptx odt eml tex"
_LINES = "csv tsv xlsx json jsonl ndjson log yaml yml toml ini cfg"
_CODE_NAMES, _PROSE_NAMES, _LINE_NAMES = frozenset(_CODE.split()), frozenset(_PROSE.split()), frozenset(_LINES.split())
_HEADING_MARKS = ("#", "<h", "<H", "\n==", "\n--")
_CODE_LINE = re.compile(
    r"^[ \t]*+(?:def |class |import |from \w[\w.]* import|return\b|func |fn |public |private |static |const |let |var "
    r"|#include|package |using |if ?\(|if .+:$|for ?\(|for .+:$|while ?\(|else\b|elif |try\b|except|}|.*[;{]$"
    r"|self\.\w+|@\w+|[\w.\[\]]+ = |[\w.]+\()",
    re.MULTILINE,
)
_DEFINITION = re.compile(
    r"^[ \t]*(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\(\w+\))?|const"
    r"|override|virtual|inline|unsafe|data|sealed)[ \t]+)*"
    r"(?:def|class|func|fn|fun|function|interface|struct|trait|impl|enum|type|module|namespace|sub|proc)"
    r"[ \t]+[\w(~*&<].*",
    re.MULTILINE,
)
_HEADING = re.compile(
    r"^[ \t]{0,3}#{1,6}[ \t]+\S.*|<[Hh][1-6][^<>]*>[^<\n]*(?:<(?!/?[Hh][1-6])[^<\n]*)*</[Hh][1-6]>"
    r"|^[^\s#=\-].{0,80}\n(?:={3,}|-{3,})[ \t]*$",
    re.MULTILINE,
)
# After a sentence's last mark and the white space behind it, or before the tag of a paragraph, row or list item.
# The set of first characters stands in front so that the engine can skip to them.
_SENTENCE = re.compile(
    r"""[.!?。！？｡؟।॥۔;；\n<](?:"""
    r"""(?<=[.!?])["'”’»)\]]*[ \t\n]\s*(?=["'“‘«(\[]*[^\W_a-zß-öø-ÿа-я])"""
    r"""|(?<=[。！？｡؟।॥۔；])["'”’»)\]」』]*\s*"""
    r"""|(?<=\n)[ \t]*(?:\n\s*|(?=(?:[-*+•|>]|\d{1,3}[.)]|\#{1,6})[ \t]))"""
    r"""|(?<=<)(?:[Pp]|[Tt][rR]|[Ll][iI]|[Hh][1-6]|[Dd][lt])\b)"""
)
_PHRASE = re.compile(r"\s+")  # where sentences have no mark (Thai, Lao, Khmer, Burmese), spaces part phrases
_UNMARKED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_LINE_END = re.compile(r"\n")
_ABBREVIATION = re.compile(
    r"\b(?:[A-Z]|e\.g|i\.e|etc|vs|cf|al|Fig|Figs|Eq|No|Nos|Dr|Mr|Mrs|Ms|Prof|St|Sr|Jr|vol|pp|p|ca|approx|Inc|Ltd|Co"
    r"|Corp|Sec|Art|bzw|z\.B|d\.h|Nr|Abb|u\.a)\.\s+$"
)
_SOFT_BREAKS = (re.compile(r"[;:。，、]\s*"), re.compile(r",\s+"), re.compile(r"\s+"))


@dataclass(frozen=True, slots=True)
class Outline:
    """The form of one document, and its heads in order."""

    form: Form
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def is_code(self) -> bool:
        """In code a definition is found by its body, and brackets are indices."""
        return self.form == "code"

    def head_at(self, offset: int) -> tuple[int, int] | None:
        """The last head that starts at or before `offset`."""
        at = bisect_right(self.starts, offset) - 1
        return (self.starts[at], self.ends[at]) if at >= 0 else None

    def section_end(self, offset: int, length: int) -> int:
        """Where the section around `offset` ends, in a text of `length` characters."""
        at = bisect_right(self.starts, offset)
        return self.starts[at] if at < len(self.starts) else length


def outline(text: str, name: str = "", kind: str = "") -> Outline:
    form = form_of(text, name, kind)
    if form != "code" and not any(mark in text for mark in _HEADING_MARKS):
        return Outline(form, (), ())
    spans = [match.span() for match in (_DEFINITION if form == "code" else _HEADING).finditer(text)]
    return Outline(form, tuple(start for start, _ in spans), tuple(end for _, end in spans))


def form_of(text: str, name: str = "", kind: str = "") -> Form:
    """By what it is said to be where that tells, else by the look of the first lines."""
    ending = PurePath(name).suffix[1:].lower() if name else ""
    if ending in _CODE_NAMES:
        return "code"
    if kind in _LINE_NAMES or ending in _LINE_NAMES:
        return "lines"
    if ending in _PROSE_NAMES:
        return "prose"
    lines = [line for line in text[:4000].splitlines() if line.strip()]
    if len(lines) >= 5 and sum(bool(_CODE_LINE.match(line)) for line in lines) > len(lines) / 2:
        return "code"
    return "lines" if looks_delimited(text) else "prose"


def looks_delimited(text: str) -> bool:
    """A text is a table when its first lines have the same number of separators, at least two each."""
    lines = text[:4000].splitlines()[:8]
    if len(lines) < 4:
        return False
    mark = delimiter(text)
    counts = {line.count(mark) for line in lines[:-1]}
    return len(counts) == 1 and counts.pop() >= 2 and not any(line.rstrip().endswith((".", ":")) for line in lines[:-1])


def delimiter(text: str) -> str:
    head = text.lstrip("\ufeff \n").partition("\n")[0]
    return max("\t;,|", key=head.count)


def blocks(text: str, shape: Outline, size: int = BLOCK) -> list[tuple[int, int]]:
    """The text in pieces of about `size` characters that end, where possible, before a head or after a sentence."""
    found: list[tuple[int, int]] = []
    start, length = 0, len(text)
    while length - start > size * 4 // 3:
        end = _block_end(text, shape, start + size // 2, start + size)
        found.append((start, end))
        start = end
    if start < length:
        found.append((start, length))
    return found


def _block_end(text: str, shape: Outline, earliest: int, latest: int) -> int:
    at = bisect_right(shape.starts, latest) - 1
    if at >= 0 and shape.starts[at] > earliest:
        return shape.starts[at]
    for mark in ("\n\n", ".\n", ". ", "\n", "。", " "):
        found = text.rfind(mark, earliest, latest)
        if found >= 0:
            return found + len(mark)
    return latest


def units(text: str, start: int, end: int, form: Form = "prose") -> list[tuple[int, int]]:
    """Sentence-like spans that tile `text[start:end]`, none longer than `LONGEST_UNIT`."""
    found: list[tuple[int, int]] = []
    begin = start
    for cut in _cuts(text, start, end, form):
        if cut - begin < SHORTEST_UNIT and form != "code" and "\n\n" not in text[begin:cut]:
            continue
        _append_cut(found, text, begin, cut)
        begin = cut
    if begin < end:
        _append_cut(found, text, begin, end)
    return found


def _cuts(text: str, start: int, end: int, form: Form) -> list[int]:
    if form != "prose":
        return [match.end() for match in _LINE_END.finditer(text, start, end)]
    if _UNMARKED.search(text, start, min(end, start + 200)):
        return [match.end() for match in _PHRASE.finditer(text, start, end)]
    cuts = []
    for match in _SENTENCE.finditer(text, start, end):
        mark, cut = text[match.start()], match.end()
        if mark == "<":
            cut = match.start()
        elif mark == "." and _ABBREVIATION.search(text, max(start, cut - 12), cut):
            continue
        if start < cut < end:
            cuts.append(cut)
    return cuts


def _append_cut(found: list[tuple[int, int]], text: str, begin: int, end: int) -> None:
    while end - begin > LONGEST_UNIT:
        cut = _soft_cut(text, begin + LONGEST_UNIT // 2, begin + LONGEST_UNIT)
        found.append((begin, cut))
        begin = cut
    found.append((begin, end))


def _soft_cut(text: str, earliest: int, latest: int) -> int:
    """The last place in a long sentence where a pause is likely."""
    for pause in _SOFT_BREAKS:
        pauses = [match.end() for match in pause.finditer(text, earliest, latest) if match.end() < latest]
        if pauses:
            return pauses[-1]
    return latest
