"""Who answered and why, in words. Pure: answers and errors in, lines out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import EXPECTED, AllTiersFailed
from ..types import Answer, Attempt, AttemptOutcome, Reason, Source
from .terminal import in_one_line

_NEVER_PRINTABLE = re.compile("[\x7f-\x9f\ud800-\udfff]")
_FIELD = re.compile(r"`([a-z_]+)`")
_LONGEST_REASON = 160


def as_json(value: Mapping[str, Any]) -> str:
    """Readable in any language, and exact: what a terminal or an encoding would trip over is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    return _NEVER_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def byline(answer: Answer) -> str:
    """One line: who wrote the answer, what else there is to know of it, why others did not answer."""
    parts = [_writers(answer)]
    if answer.finish_reason == "length":
        parts.append("cut at the longest allowed answer")
    elif answer.finish_reason == "content_filter":
        parts.append("cut by the provider's content filter")
    elif answer.finish_reason != "stop":
        parts.append(f"ended by {answer.finish_reason}")
    parts += [f"{name}: {why(attempt)}" for name, attempt in _last_of_each(_troubles(answer), answer.backend)]
    parts += answer.notes
    return "— " + in_one_line("; ".join(parts))


def is_notable(answer: Answer) -> bool:
    """Whether a user who sees only the answer must hear something about it."""
    return bool(
        _troubles(answer)
        or answer.notes
        or len(answer.segments) > 1
        or answer.finish_reason != "stop"
        or answer.mode == "extractive"
    )


def source_lines(answer: Answer) -> list[str]:
    """The cited passages; when none is cited, all that were sent."""
    cited = [source for source in answer.sources if source.cited]
    if cited or not answer.sources:
        return [_source(source) for source in cited]
    return ["passages sent, none of them cited:", *(_source(source) for source in answer.sources)]


def nobody_answered(error: AllTiersFailed) -> list[str]:
    """Each tier, its reason and its one cure."""
    rows = _last_of_each(error.telling)
    if not rows:
        return ["no tier could answer: none is set up"]
    width = max(len(name) for name, _ in rows)
    lines = ["no tier could answer"]
    for name, attempt in rows:
        lines.append(f"  {name:<{width}}  {why(attempt)}")
        if attempt.cure:
            lines.append(f"  {'':<{width}}  → {in_one_line(in_options(attempt.cure))}")
    if error.retry_after is not None:
        lines.append(f"asking again may help in {duration(error.retry_after)}")
    return lines


def why(attempt: Attempt) -> str:
    told = in_one_line(attempt.detail) or str(attempt.reason or attempt.outcome).replace("_", " ")
    if len(told) > _LONGEST_REASON:
        told = told[: _LONGEST_REASON - 1] + "…"
    wait = attempt.retry_after
    if wait is not None and math.isfinite(wait) and wait > 0:
        told += f" (asked again in {duration(wait)})"
    return told


def in_options(cure: str) -> str:
    """A cure that names fields (`on_interrupt`), in the words of this program: its options."""
    return _FIELD.sub(lambda found: "--" + found[1].replace("_", "-"), cure)


def reason_words(reason: Reason) -> str:
    return str(reason).replace("_", " ")


def duration(seconds: float) -> str:
    """`4 s`, `5 min`, `3 h`, `2 days`: as exact as a person wants it."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(1, math.ceil(seconds / unit))} {name}"
    return f"{round(seconds / 86_400)} days"


def _writers(answer: Answer) -> str:
    names = list(dict.fromkeys(segment.backend for segment in answer.segments)) or [answer.backend]
    last = _named(answer.backend, answer.mode, answer.model)
    told = ", then ".join([*names[:-1], last])
    if answer.mode == "extractive":
        told += ", no AI model answered"
    return f"{told}, {answer.total_ms / 1000:.1f} s"


def _named(backend: str, mode: str | None, model: str | None) -> str:
    marks = [mark for mark in (mode, model) if mark and mark != backend]
    return f"{backend} ({', '.join(marks)})" if marks else backend


def _source(source: Source) -> str:
    return in_one_line(f"[{source.n}] {source.document} {source.place or ''}")


def _troubles(answer: Answer) -> list[Attempt]:
    """Attempts that made another tier answer. A tier that was asked twice and answered is no trouble."""
    return [
        attempt
        for attempt in answer.attempts
        if attempt.outcome is not AttemptOutcome.ANSWERED
        and (attempt.backend, attempt.mode) != (answer.backend, answer.mode)
        and not (attempt.outcome is AttemptOutcome.SKIPPED and attempt.reason in EXPECTED)
    ]


def _last_of_each(attempts: Iterable[Attempt], *others: str) -> list[tuple[str, Attempt]]:
    """The last attempt of each rung, in the order they were first asked.

    `local` may have several rungs: a backend that is named twice, here or in `others`, is told with its mode.
    """
    last = {(attempt.backend, attempt.mode): attempt for attempt in attempts}
    backends = [*others, *(backend for backend, _ in last)]
    return [
        (f"{backend} {mode}" if mode and backends.count(backend) > 1 else backend, attempt)
        for (backend, mode), attempt in last.items()
    ]
