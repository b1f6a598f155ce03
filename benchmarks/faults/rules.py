"""The faults, and the rule by which an outcome is judged. No I/O: the rule can be tested, and can fail.

held   the whole answer, word for word
told   not the whole answer, but the caller knows: an error, a broken reply, a note that it is empty
lost   less than the answer and no sign of it, or no end at all
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gateway_core.testing.simulators import DEFAULT_ANSWER

REFUSED = "refused"  # not a script: nobody listens


@dataclass(frozen=True, slots=True)
class Fault:
    """`script` is what every answer of the first tier meets; `streams_only`: a reply in one piece cannot have it."""

    number: int
    name: str
    script: str
    streams_only: bool = False

    @property
    def key(self) -> str:
        return f"f{self.number:02}"


FAULTS = (
    Fault(1, "500", "status_500"),
    Fault(2, "503", "status_503"),
    Fault(3, "429", "status_429"),
    Fault(4, "401", "status_401"),
    Fault(5, "402", "status_402"),
    Fault(6, "400, the prompt is too long for it", "context_too_long"),
    Fault(7, "connection refused", REFUSED),
    Fault(8, "connection closed before the reply", "close_before_reply"),
    Fault(9, "not one byte", "hang"),
    Fault(10, "stream cut before its first word", "role_only_then_drop", streams_only=True),
    Fault(11, "first event is an error", "error_first", streams_only=True),
    Fault(12, "200 with a login page", "html_200"),
    Fault(13, "200 with an empty answer", "empty_text"),
    Fault(14, "clean end after 40 of 60 words, no end marker", "end_after:40"),
    Fault(15, "reset after 40 words", "cut_after:40"),
    Fault(16, "error event after 20 words", "error_after:20", streams_only=True),
    Fault(17, "silence after 20 words", "stall_after:20"),
    Fault(18, "one broken line after 10 words", "bad_line_after:10", streams_only=True),
)
HEALTHY = Fault(0, "none", "ok")


class End(Enum):
    """How the caller's reply ended."""

    DONE = "end marker"
    BARE = "no end marker"  # a stream that just ends; the usual client libraries do not notice
    ERROR = "error"
    BROKEN = "broken"  # the connection, or what should be JSON: the client raises
    NEVER = "no end"


class Verdict(Enum):
    HELD = "held"
    TOLD = "told"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one caller got. `why`: the words of the error, or of the note on an empty answer."""

    text: str
    end: End
    why: str = ""
    by: tuple[str, ...] = ()


def judge(seen: Seen) -> Verdict:
    if seen.end is End.DONE and seen.text == DEFAULT_ANSWER:
        return Verdict.HELD
    knows = {
        End.DONE: not seen.text and bool(seen.why.strip()),
        End.BARE: False,
        End.ERROR: bool(seen.why.strip()),
        End.BROKEN: True,
        End.NEVER: False,
    }
    return Verdict.TOLD if knows[seen.end] else Verdict.LOST


def story(seen: Seen) -> str:
    """What the caller saw and who wrote it, in a few words."""
    if judge(seen) is Verdict.HELD:
        return f"whole ({' + '.join(seen.by) or '?'})"
    if seen.end is End.DONE and not seen.text and seen.why.strip():
        return "empty answer, flagged"
    words = len(seen.text.split())
    garbled = "" if DEFAULT_ANSWER.startswith(seen.text) else " (garbled)"
    shown = f"{words or 'no'} words{garbled}, "
    return (
        shown
        + {
            End.DONE: "looks complete",
            End.BARE: "just ends",
            End.ERROR: "explained error" if seen.why.strip() else "error without a word",
            End.BROKEN: "broken reply",
            End.NEVER: "no end",
        }[seen.end]
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Several requests in a row that met the same fault; `calls` of them reached the broken tier."""

    seen: Sequence[Seen]
    calls: int

    @property
    def verdict(self) -> Verdict:
        """That of the worst."""
        verdicts = {judge(seen) for seen in self.seen}
        return next(v for v in (Verdict.LOST, Verdict.TOLD, Verdict.HELD) if v in verdicts)

    @property
    def cell(self) -> str:
        told = Counter(story(seen) for seen in self.seen)
        stories = "; ".join(f"{times}× {words}" if len(told) > 1 else words for words, times in told.items())
        verdict = self.verdict.value if self.verdict is Verdict.HELD else f"**{self.verdict.value}**"
        return f"{verdict}: {stories}; {self.calls}/{len(self.seen)}"


def table(columns: dict[str, dict[int, Outcome]]) -> list[str]:
    """A row for each fault, a column for each way to ask; a fault that was not run there is a dash."""
    rows = [["#", "Fault of the first tier", *columns], ["---"] * (2 + len(columns))]
    for fault in FAULTS:
        cells = [told[fault.number].cell if fault.number in told else "–" for told in columns.values()]
        rows.append([str(fault.number), fault.name, *cells])
    return [f"| {' | '.join(row)} |" for row in rows]
