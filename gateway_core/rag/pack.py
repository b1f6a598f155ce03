"""Which spans go into a context of so many characters.

The best unit goes in first and grows towards its better neighbour into a short passage; then the next best. Many
short passages hold more answers than a few long ones. Passages that touch become one; what repeats a passage already
packed is left out; labels and the fence count. Everything here only *chooses*: spans stay the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .rank import Unit
from .words import words

LABEL = 7  # "[12]" and two line ends
SHINGLE = 5
ALIKE = 0.8
TRIES = 25  # passages that did not fit before we stop looking
SMALLEST_CUT = 40
_REPEATED = -1


@dataclass(frozen=True, slots=True)
class Span:
    document: int
    start: int
    end: int
    score: float = 0.0


@dataclass(slots=True)
class Choice:
    """The chosen spans in reading order, and how many were passed over because they repeat another."""

    spans: list[Span] = field(default_factory=list)
    repeated: int = 0


def passage_length(budget: int) -> int:
    """How long a passage should grow: short ones in small contexts."""
    return 320 if budget <= 6000 else 700


LabelCost = Callable[[int, int, bool], int]  # document, offset, whether the document's name is said: characters


class Packer:
    """Packs ranked units greedily into a budget."""

    def __init__(self, units: Sequence[Unit], text_of: Callable[[int], str], label_cost: LabelCost) -> None:
        self._units = units
        self._text_of = text_of
        self._label_cost = label_cost

    def choose(self, budget: int, first: Iterable[int] = ()) -> Choice:
        """At most about `budget` characters of passages with labels. Documents in `first` get a passage each first."""
        units = self._units
        self._goal = passage_length(budget)
        self._left = budget
        self._owner: dict[int, int] = {}  # unit -> the passage it is in, _REPEATED when it was passed over
        self._ranges: dict[int, tuple[int, int]] = {}
        self._labelled: set[int] = set()
        self._said = Said()
        self._repeated = 0
        order = best_first(units)
        reserved = [next((at for at in order if units[at].document == document), None) for document in first]
        misses = 0
        for at in [*(at for at in reserved if at is not None), *order]:
            if at not in self._owner and not self._take(at):
                misses += 1
                if misses > TRIES or self._left < SMALLEST_CUT:
                    break
        spans = [
            Span(units[low].document, units[low].start, units[high].end, max(u.score for u in units[low : high + 1]))
            for low, high in self._ranges.values()
        ]
        if not spans and order:
            spans = self._cut(units[order[0]])
        return Choice(sorted(spans, key=lambda span: (span.document, span.start)), self._repeated)

    def _take(self, at: int) -> bool:
        """Put the passage around a unit in, shorter if need be; `False` when not even the unit fits."""
        units = self._units
        for goal in (self._goal, 0):
            low, high = grow(units, at, self._owner, goal)
            below, above = self._passage_at(low, low - 1), self._passage_at(high, high + 1)
            cost = units[high].end - units[low].start
            if below is None and above is None:
                cost += self._cost_of_label(units[low])
            if cost <= self._left:
                break
        else:
            return False
        passage = self._text_of(units[at].document)[units[low].start : units[high].end]
        if passage.isspace() or self._said.again(passage):
            self._repeated += not passage.isspace()
            self._owner.update(dict.fromkeys(range(low, high + 1), _REPEATED))
            return True
        self._left -= cost
        self._labelled.add(units[at].document)
        if below is not None:
            low = self._ranges.pop(below)[0]
        if above is not None:
            high = self._ranges.pop(above)[1]
        self._ranges[at] = (low, high)
        self._owner.update(dict.fromkeys(range(low, high + 1), at))
        return True

    def _passage_at(self, edge: int, beyond: int) -> int | None:
        """The passage that a new one would touch beyond its edge."""
        passage = self._owner.get(beyond)
        if passage is None or passage == _REPEATED or not _belong_together(self._units[beyond], self._units[edge]):
            return None
        return passage

    def _cost_of_label(self, unit: Unit) -> int:
        return LABEL + self._label_cost(unit.document, unit.start, unit.document not in self._labelled)

    def _cut(self, unit: Unit) -> list[Span]:
        """As much of the best unit as fits, when nothing fits whole."""
        room = self._left - self._cost_of_label(unit)
        if room < SMALLEST_CUT:
            return []
        end = self._text_of(unit.document).rfind(" ", unit.start + room // 2, unit.start + room)
        return [Span(unit.document, unit.start, end if end > 0 else unit.start + room, unit.score)]


def best_first(units: Sequence[Unit]) -> list[int]:
    """The units that match, best first."""
    matching = (at for at, unit in enumerate(units) if unit.score > 0)
    return sorted(matching, key=lambda at: (-units[at].score, at))


def _belong_together(one: Unit, other: Unit) -> bool:
    """Whether a passage may hold both, when everything between them is in it."""
    return one.run == other.run and one.part == other.part


def _in_one_row(one: Unit, other: Unit) -> bool:
    return _belong_together(one, other) and one.row == other.row


def grow(
    units: Sequence[Unit],
    at: int,
    taken: dict[int, int],
    goal: int,
    together: Callable[[Unit, Unit], bool] = _belong_together,
) -> tuple[int, int]:
    """The units around `at`, better neighbour first, while they stay `together` and within `goal` characters."""
    low = high = at
    while True:
        size = units[high].end - units[low].start
        sides = [
            (units[side].score, side)
            for side in (low - 1, high + 1)
            if 0 <= side < len(units)
            and together(units[side], units[at])
            and side not in taken
            and size + units[side].end - units[side].start <= goal
        ]
        if not sides:
            return low, high
        _, best = max(sides)
        low, high = min(low, best), max(high, best)


class Said:
    """What has been said already: every five words in a row, and every name and number."""

    def __init__(self) -> None:
        self._shingles: set[int] = set()
        self._marks: set[str] = set()

    def again(self, text: str) -> bool:
        """Whether nearly all of a text has been said; if not, it now is.

        Forms and records resemble each other in all but a name or a number: one that is new is reason enough.
        """
        said = words(text)
        shingles = {hash(tuple(said[at : at + SHINGLE])) for at in range(len(said) - SHINGLE + 1)}
        marks = {word for word in said if not word.islower()}
        if len(shingles) > SHINGLE and len(shingles & self._shingles) >= ALIKE * len(shingles) and marks <= self._marks:
            return True
        self._shingles |= shingles
        self._marks |= marks
        return False


def best_quotes(units: Sequence[Unit], k: int, max_chars: int, text_of: Callable[[int], str]) -> list[Span]:
    """The `k` best short runs of units, best first; none overlaps another, says the same again, or
    runs over two places.
    """
    taken: dict[int, int] = {}
    said = Said()
    found: list[Span] = []
    for at in best_first(units):
        if len(found) == k:
            break
        if at in taken:
            continue
        low, high = grow(units, at, taken, max_chars, _in_one_row)
        taken.update(dict.fromkeys(range(low, high + 1), at))
        end = min(units[high].end, units[low].start + max_chars)
        quote = text_of(units[low].document)[units[low].start : end]
        if not quote.isspace() and not said.again(quote):
            found.append(Span(units[low].document, units[low].start, end, units[at].score))
    return found
