"""Prometheus' text form (version 0.0.4): counters, gauges and histograms as lines."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Counter:
    """Goes up only, one number for each set of labels."""

    kind = "counter"

    def __init__(self, name: str, told: str) -> None:
        self.name, self.told = name, told
        self._numbers: dict[Labels, float] = defaultdict(float)

    def add(self, amount: float = 1, **labels: object) -> None:
        self._numbers[_labels(labels)] += amount

    def lines(self) -> Iterator[str]:
        for labels, number in sorted(self._numbers.items()):
            yield _line(self.name, labels, number)


class Gauge(Counter):
    """The present value."""

    kind = "gauge"

    def put(self, number: float, **labels: object) -> None:
        self._numbers[_labels(labels)] = number

    def clear(self) -> None:
        self._numbers.clear()


class Histogram:
    """How many took how long; `bounds` are the buckets' upper ends, in the unit that the name tells."""

    kind = "histogram"

    def __init__(self, name: str, told: str, bounds: Sequence[float]) -> None:
        self.name, self.told = name, told
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: dict[Labels, float] = defaultdict(float)

    def see(self, amount: float, **labels: object) -> None:
        key = _labels(labels)
        self._counts[key][bisect_left(self._bounds, amount)] += 1
        self._sums[key] += amount

    def lines(self) -> Iterator[str]:
        for labels, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                total += count
                yield _line(f"{self.name}_bucket", (*labels, ("le", bound)), total)
            yield _line(f"{self.name}_sum", labels, self._sums[labels])
            yield _line(f"{self.name}_count", labels, total)


def page(families: Sequence[Counter | Histogram]) -> str:
    """All families, each with its meaning and kind."""
    lines = list[str]()
    for family in families:
        lines += [f"# HELP {family.name} {family.told}", f"# TYPE {family.name} {family.kind}", *family.lines()]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, object]) -> Labels:
    return tuple(sorted((name, str(value)) for name, value in labels.items()))


def _line(name: str, labels: Labels, number: float) -> str:
    told = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    value = str(int(number)) if float(number).is_integer() else repr(float(number))  # counters are told exactly
    return f"{name}{{{told}}} {value}" if told else f"{name} {value}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
