"""When nothing can be searched for: "summarise this", "how many records are there?".

Then the context is spread over all documents and their sections, and each document shows its *card*: what can be
counted without reading it (records, columns, items, characters).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

from ..types import Document
from .corpus import Corpus
from .pack import LABEL, LabelCost, Span
from .split import delimiter, looks_delimited, units
from .words import content_words

PIECE = 280  # characters from each place
PARSED = 2_000_000  # longer JSON is not parsed just to be counted

_ASKS_FOR_ALL = re.compile(
    r"\b(?:summar[iy]\w*|sum up|overview|outline|tl;?dr|abstract of|gist|recap|main (?:points?|topics?|ideas?|themes?)"
    r"|key (?:points?|takeaways?|ideas?|findings?)"
    r"|what (?:is|are|does|do) (?:this|these|the|my|all)\b.{0,30}\b(?:about|say|contain|cover)"
    r"|describe (?:this|these|the|my|all)|explain (?:this|these) (?:file|document|text|code)"
    r"|zusammenfass\w*|fass\w* .{0,40}zusammen|überblick|worum geht|r[ée]sum\w*|aperçu|riassu\w+|resum\w+|sintetiz\w+"
    r"|özetle\w*|özet)\b|总结|概述|摘要|要約|まとめ|요약|สรุป|резюм|обобщ|кратко|لخص|ملخص",
    re.IGNORECASE,
)
_COUNTS = re.compile(
    r"\b(?:how many|number of|count(?: of| the)?|total)\b.{0,40}\b(?:records?|rows?|lines?|entries|entry|items?"
    r"|columns?|fields?|files?|documents?|sheets?|pages?|elements?|observations?|samples?|data ?points?|lists?|keys?)\b"
    r"|\b(?:which|what|list (?:all|the)?|names? of (?:all|the)?) ?(?:columns?|fields?|sheets?|files?|documents?)\b"
    r"|\bwie ?viele\b.{0,30}\b(?:zeilen|datensätze|einträge|spalten|dateien)\b",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    r"\b(?:how many|number of|count(?: of| the)?|wie ?viele|combien|cu[aá]nt[oa]s|quant[ei]|kaç)\b|多少|сколько",
    re.IGNORECASE,
)
_ASKING = """
    summarise summarize summary summaries summarizing summarising overview outline tldr tl dr gist recap main point
    points topic topics idea ideas theme themes key takeaway takeaways finding findings describe explain cover covers
    contain contains content contents say says document documents file files text texts data report reports article
    articles paper papers page pages attached attachment attachments upload uploaded following short brief briefly
    sentence sentences word words bullet bullets list write make give show paragraph paragraphs detail details detailed
    one two three four five six seven eight nine ten 1 2 3 4 5 6 7 8 9 10 whole entire everything each
    record records row rows line lines entry entries item items column columns field fields sheet sheets count number
    total table tables dataset csv fasse zusammen zusammenfassung datei dateien dokument dokumente überblick résumé
    résume résumer résumez fichier fichiers resumen resume resumir archivo archivos documento documentos riassumi
    riassunto özetle özet dosya"""
_ABOUT_THE_ASKING = frozenset(_ASKING.split())


def asks_for_all(question: str) -> bool:
    """Whether the question is about the documents as a whole and names nothing to look for in them."""
    if not (_ASKS_FOR_ALL.search(question) or asks_for_count(question)):
        return False
    return not names_something(question)


def asks_for_count(question: str) -> bool:
    """Whether the question wants to know how many parts the documents have, or which."""
    return bool(_COUNTS.search(question))


def counts_something(question: str) -> bool:
    """Whether the question wants to know how many of anything there are: a table's card may be the answer."""
    return bool(_HOW_MANY.search(question)) or asks_for_count(question)


def names_something(question: str) -> bool:
    """Whether a word remains that could be looked for once the words of the asking itself are taken away."""
    rest = _ASKS_FOR_ALL.sub(" ", question).strip(" ?!.,:;\n")
    return any(word.lower() not in _ABOUT_THE_ASKING for word in content_words(rest))


def table_card(document: Document) -> str:
    """`159 records, 7 columns: id, name ...` for a table, `159 items` for a list; empty for anything else."""
    ending = document.name.rpartition(".")[2].lower()
    kinds = {document.kind.lower(), ending}
    if kinds & {"csv", "tsv"}:
        return _delimited_card(document.text)
    if kinds & {"json"} and len(document.text) <= PARSED:
        return _json_card(document.text)
    if kinds & {"jsonl", "ndjson"}:
        return f"{_lines(document.text):,} records"
    if ending == document.name.lower() and looks_delimited(document.text):
        return _delimited_card(document.text)
    return ""


def card(document: Document) -> str:
    """What can be said about any document without reading it."""
    return table_card(document) or f"{len(document.text):,} characters"


def _lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip())


def _delimited_card(text: str) -> str:
    mark = delimiter(text)
    try:
        header = next(csv.reader(io.StringIO(text), delimiter=mark), [])
        # Line ends inside quotes are part of a record; without quotes the lines can simply be counted.
        records = (
            sum(1 for row in csv.reader(io.StringIO(text), delimiter=mark) if row) if '"' in text else _lines(text)
        )
    except csv.Error:
        return f"{_lines(text):,} lines"
    columns = ", ".join(name.strip() for name in header[:12]) + (" ..." if len(header) > 12 else "")
    return f"{max(0, records - 1):,} records, {len(header)} columns: {columns}"


def _json_card(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if isinstance(value, list):
        return f"a list of {len(value):,} items"
    if isinstance(value, dict):
        lists = [f"{key}: {len(part):,} items" for key, part in value.items() if isinstance(part, list)]
        return "; ".join([f"an object of {len(value):,} keys", *lists[:6]])
    return ""


def overview_spans(corpus: Corpus, budget: int, label_cost: LabelCost) -> list[Span]:
    """Pieces from the beginnings of documents and of their sections, spread evenly, in reading order."""
    readable = [at for at, document in enumerate(corpus.documents) if document.text.strip()]
    if not readable:
        return []
    rounds = max(1, budget // (len(readable) * (PIECE + LABEL)))
    places = {at: _places(corpus, at, rounds) for at in readable}
    chosen: dict[int, list[Span]] = {at: [] for at in readable}
    left = budget
    for turn in range(rounds):
        for at in readable:
            if turn >= len(places[at]):
                continue
            before = chosen[at]
            room = left - LABEL - label_cost(at, places[at][turn], not before)
            piece = _piece(corpus, at, places[at][turn], min(PIECE, room))
            if piece is None or (before and before[-1].end > piece.start):
                continue
            if before and before[-1].end == piece.start:
                left -= piece.end - piece.start
                before[-1] = Span(at, before[-1].start, piece.end)
            else:
                left -= piece.end - piece.start + LABEL + label_cost(at, piece.start, not before)
                before.append(piece)
    return [span for at in readable for span in chosen[at]]


def _places(corpus: Corpus, at: int, wanted: int) -> Sequence[int]:
    """Where to look into a document: its beginning, then sections or, where it has none, equal distances."""
    text, shape = corpus.documents[at].text, corpus.outlines[at]
    starts = [0, *(start for start in shape.starts if start > 0)]
    if len(starts) < min(wanted, 4):
        step = max(PIECE * 2, len(text) // wanted)
        starts = [0, *(_line_start(text, offset) for offset in range(step, len(text), step))]
    if len(starts) <= wanted:
        return starts
    return [starts[turn * len(starts) // wanted] for turn in range(wanted)]


def _line_start(text: str, offset: int) -> int:
    for mark in ("\n", ". "):
        found = text.find(mark, offset, offset + 400)
        if found >= 0:
            return found + len(mark)
    return offset


def _piece(corpus: Corpus, at: int, start: int, room: int) -> Span | None:
    """Whole units from `start` within `room` characters; a unit longer than that is cut at a space."""
    text = corpus.documents[at].text
    end = start
    for _, stop in units(text, start, min(len(text), start + 2 * PIECE), corpus.outlines[at].form):
        if stop - start > room:
            break
        end = stop
    if end == start and room >= 20:
        space = text.rfind(" ", start + room // 2, start + room)
        end = space if space > 0 else min(len(text), start + room)
    return Span(at, start, end) if text[start:end].strip() else None
