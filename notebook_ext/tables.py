"""Tables as text: a card that says what is in them, then one line per row that makes sense alone.

    df: 100,000 rows, 3 columns
    city (object): 812 different, most often Oslo (401)
    ...
    id=4711; city=Oslo; paid=2019-05-01

Of a large table only the rows that match the question are written, found by the words of the question, rare words
counting more. Column values are read through `to_list`; no package is imported for it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from .secrets import HIDDEN, is_secret_name

LARGE = 20_000  # rows: beyond, only those that match the question
MATCHING = 400
LONGEST = 2_000_000  # characters
LONGEST_CELL = 2_000
SAMPLED = 20_000  # values a column's card looks at


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length. `labels` are the rows' own names where they have any."""

    columns: Mapping[str, Sequence[Any]]
    types: Mapping[str, str]
    rows: int
    labels: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    text: str
    places: tuple[tuple[int, str], ...]
    warnings: tuple[str, ...] = ()


def write(name: str, table: Table, question: str) -> Written:
    """Card and rows; `places` name the row at each offset."""
    shown = {column: _hidden(column, values) for column, values in table.columns.items()}
    cells = {str(column): _cells(values) for column, values in shown.items()}
    lines = _lines(cells, table.labels)
    numbers: Iterable[int] = range(table.rows)
    warnings: tuple[str, ...] = ()
    if table.rows > LARGE:
        numbers = matching(lines, question)
        warnings = (_searched(table.rows, len(numbers)),)
    card = _card(name, table, shown)
    parts, places, at = [card], [(0, "overview")], len(card)
    for number in numbers:
        line = "\n" + lines[number]
        if at + len(line) > LONGEST:
            warnings += (f"longer than {LONGEST:,} characters: rows from {number:,} on were left out",)
            break
        places.append((at + 1, f"row {number}"))
        parts.append(line)
        at += len(line)
    return Written("".join(parts), tuple(places), warnings)


def _searched(rows: int, found: int) -> str:
    if not found:
        return f"none of {rows:,} rows matches the question's words; only the overview was searched"
    if found == 1:
        return f"of {rows:,} rows the only one that matches the question was searched"
    return f"of {rows:,} rows the {found:,} that match the question best were searched"


def matching(lines: Sequence[str], question: str, most: int = MATCHING) -> list[int]:
    """The rows whose words match the question best, in their order."""
    terms = list(dict.fromkeys(_terms(question)))[:40]
    if not terms:
        return []
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    text = "\n".join(lines).lower()
    if len(text) != at - 1:  # lower-casing a few letters lengthens them
        text = "\n".join("".join(c.lower() if len(c.lower()) == 1 else c for c in line) for line in lines)
    longest_first = sorted(terms, key=len, reverse=True)
    found: dict[str, set[int]] = {term: set() for term in terms}
    # Rows of plain words are searched by one pass over the whole text: rows by the thousand cost no Python each.
    for match in re.finditer(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", text):
        found[match[0]].add(bisect_right(starts, match.start()) - 1)
    scores: Counter[int] = Counter()
    for rows in found.values():
        if rows and len(rows) <= len(lines) / 2:
            worth = math.log(len(lines) / len(rows)) ** 2
            for row in rows:
                scores[row] += worth  # type: ignore[assignment]
    return sorted(row for row, _ in scores.most_common(most))


def _terms(question: str) -> Iterable[str]:
    for word in re.findall(r"\w[\w.@+-]*\w|\w", question.lower()):
        yield word
        parts = re.findall(r"\w+", word)
        if len(parts) > 1:
            yield from (part for part in parts if len(part) > 1)


def _hidden(column: str, values: Sequence[Any]) -> Sequence[Any]:
    return [HIDDEN] * len(values) if is_secret_name(str(column)) else values


def _cells(values: Sequence[Any]) -> list[str]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN and NaT are not equal to themselves
        return ""
    text = value if isinstance(value, str) else str(value)
    if text == "<NA>":
        return ""
    if len(text) > LONGEST_CELL:
        text = text[:LONGEST_CELL] + " ..."
    return " ".join(text.split()) if "\n" in text or "\r" in text else text


def _lines(cells: Mapping[str, list[str]], labels: Sequence[Any] | None) -> list[str]:
    named = {"index": _cells(labels), **cells} if labels is not None else dict(cells)
    columns = [[f"{name}={value}" if value else "" for value in values] for name, values in named.items()]
    return ["; ".join(filter(None, row)) for row in zip(*columns, strict=True)]


def _card(name: str, table: Table, shown: Mapping[str, Sequence[Any]]) -> str:
    lines = [f"{name}: {table.rows:,} rows, {len(table.columns)} columns"]
    for column, values in shown.items():
        kind = table.types.get(column, "")
        lines.append(f"{column}{f' ({kind})' if kind else ''}: {_told(values)}")
    return "\n".join(lines)


def _told(values: Sequence[Any]) -> str:
    """`2 % empty, from 1 to 99`, or the commonest values."""
    if len(values) and values[0] == HIDDEN and all(value == HIDDEN for value in values[:3]):
        return HIDDEN
    present = [value for value in values if value is not None and value == value]
    told = []
    if len(present) < len(values):
        told.append(f"{100 * (len(values) - len(present)) / len(values):.0f} % empty")
    if not present:
        return "empty"
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present[:100]):
        try:
            low, high, mean = min(present), max(present), sum(present) / len(present)
            told.append(f"from {_number(low)} to {_number(high)}, mean {_number(mean)}")
        except (TypeError, OverflowError):
            told.append("mixed values")
        return ", ".join(told)
    if all(isinstance(value, date) for value in present[:100]):
        try:
            told.append(f"from {min(present)} to {max(present)}")
        except TypeError:  # days among moments, or moments with a time zone among those without
            told.append("mixed dates")
        return ", ".join(told)
    counts = Counter(_cell(value)[:60] for value in present[:SAMPLED])
    of = "" if len(present) <= SAMPLED else f" in the first {SAMPLED:,}"
    told.append(f"{len(counts):,} different{of}")
    if len(counts) < min(len(present), SAMPLED):  # where each stands once, none is common
        told.append("most often " + ", ".join(f"{value} ({count:,})" for value, count in counts.most_common(5)))
    return ", ".join(told)


def _number(value: float) -> str:
    """Whole numbers in full; of others as many digits as can be relied on."""
    return str(value) if isinstance(value, int) else f"{value:.12g}"
