"""What happened since the start, in Prometheus' text form: counted from telemetry, so nothing is counted twice.

No label holds anything a caller sent: tiers, modes and the closed lists of outcomes and reasons only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from gateway_core import Gateway, __version__

MEDIA_TYPE = "text/plain; version=0.0.4"
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # seconds
CIRCUIT_STATES = {"closed": 0, "half_open": 1, "open": 2}

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
    """How many took how long."""

    kind = "histogram"

    def __init__(self, name: str, told: str) -> None:
        self.name, self.told = name, told
        self._counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._sums: dict[Labels, float] = defaultdict(float)

    def see(self, seconds: float, **labels: object) -> None:
        key = _labels(labels)
        self._counts[key][bisect_left(BUCKETS, seconds)] += 1
        self._sums[key] += seconds

    def lines(self) -> Iterator[str]:
        for labels, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                yield _line(f"{self.name}_bucket", (*labels, ("le", bound)), total)
            yield _line(f"{self.name}_sum", labels, self._sums[labels])
            yield _line(f"{self.name}_count", labels, total)


class Metrics:
    """Listens to a gateway from now on; `page` is what a scraper reads."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._info = Gauge("ai_gateway_info", "Always 1; the version is a label.")
        self._info.put(1, version=__version__)
        self._attempts = Counter("ai_gateway_attempts_total", "Tiers asked or left out, by outcome and reason.")
        self._answers = Counter("ai_gateway_answers_total", "Answers, by the tier that finished them.")
        self._unanswered = Counter("ai_gateway_unanswered_total", "Requests that no tier could answer.")
        self._unanswered.add(0)
        self._takeovers = Counter("ai_gateway_takeovers_total", "Answers that more than one tier wrote.")
        self._takeovers.add(0)
        self._tokens = Counter("ai_gateway_tokens_total", "Tokens as the providers counted them.")
        self._credits = Counter("ai_gateway_credits_total", "Copilot AI credits.")
        self._trips = Counter("ai_gateway_circuit_changes_total", "Circuits that changed, by their new state.")
        self._first = Histogram("ai_gateway_first_token_seconds", "From the request to the first visible text.")
        self._whole = Histogram("ai_gateway_answer_seconds", "From the request to the end of the answer.")
        self._state = Gauge("ai_gateway_circuit_state", "0 closed, 1 half open, 2 open.")
        self._lit = Gauge("ai_gateway_tier_available", "1: the next plain request would ask it.")
        self._hear = {"attempt": self._attempt, "answer": self._answer, "circuit": self._circuit}
        self.stop = gateway.telemetry.listen(self._listen)

    async def page(self) -> str:
        self._state.clear()
        self._lit.clear()
        for tier in (await self._gateway.status()).tiers:
            labels = {"backend": tier.backend, "mode": tier.mode}
            self._state.put(CIRCUIT_STATES.get(tier.circuit.state, 0), **labels)
            self._lit.put(int(tier.available), **labels)
        lines = []
        for family in (
            self._info, self._attempts, self._answers, self._unanswered, self._takeovers, self._tokens, self._credits,
            self._trips, self._first, self._whole, self._state, self._lit,
        ):  # fmt: skip
            lines += [f"# HELP {family.name} {family.told}", f"# TYPE {family.name} {family.kind}", *family.lines()]
        return "\n".join(lines) + "\n"

    def _listen(self, happening: Any) -> None:
        if happening.kind == "unanswered":
            self._unanswered.add()
        elif hear := self._hear.get(happening.kind):
            hear(happening.facts)

    def _attempt(self, facts: Mapping[str, Any]) -> None:
        self._attempts.add(
            backend=facts["backend"], mode=facts["mode"], outcome=facts["outcome"], reason=facts["reason"] or ""
        )

    def _answer(self, facts: Mapping[str, Any]) -> None:
        labels = {"backend": facts["backend"], "mode": facts["mode"]}
        self._answers.add(**labels, finish_reason=facts["finish_reason"])
        if facts["segments"] > 1:
            self._takeovers.add()
        for direction in ("input", "output"):
            if count := facts.get(f"{direction}_tokens"):
                self._tokens.add(count, **labels, direction=direction)
        if facts.get("credits"):
            self._credits.add(facts["credits"])
        if facts["first_token_ms"] is not None:
            self._first.see(facts["first_token_ms"] / 1000, **labels)
        self._whole.see(facts["total_ms"] / 1000, **labels)

    def _circuit(self, facts: Mapping[str, Any]) -> None:
        self._trips.add(backend=facts["backend"], state=facts["state"])


def _labels(labels: Mapping[str, object]) -> Labels:
    return tuple(sorted((name, str(value)) for name, value in labels.items()))


def _line(name: str, labels: Labels, number: float) -> str:
    told = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{name}{{{told}}} {number:g}" if told else f"{name} {number:g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
