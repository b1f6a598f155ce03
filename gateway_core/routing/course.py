"""One request on its way down the ladder: what was asked, what was shown, who did what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..account import facts_of
from ..deadline import Deadline
from ..types import (
    Answer,
    Attempt,
    AttemptOutcome,
    Delta,
    InLine,
    OnInterrupt,
    Prompt,
    Reason,
    Segment,
    SegmentStarted,
    Usage,
)
from .splice import tokens_in


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as the router takes it. `whole`: the caller sees nothing until the answer is finished.

    `told` collects what observers hear of each attempt, for whoever tells of the whole request at its end; moments in
    it count from `begun`, a reading of `clock.now()`; `None`: from when the router begins.
    """

    id: str
    prompt: Prompt
    deadline: Deadline
    on_interrupt: OnInterrupt | None = None
    tier: str | None = None
    local_only: bool = False
    whole: bool = False
    begun: float | None = None
    told: list[Mapping[str, Any]] = field(default_factory=list)
    in_line: InLine = lambda before: None

    @property
    def after_a_cut(self) -> OnInterrupt:
        """The policy in force. Half a tool call or half a JSON document is never carried on by another tier."""
        if self.tier is not None:
            return OnInterrupt.STOP
        chosen = self.on_interrupt or (OnInterrupt.RESTART if self.whole else OnInterrupt.CONTINUE)
        if chosen is OnInterrupt.CONTINUE and not self.prompt.can_be_spliced:
            return OnInterrupt.RESTART
        return chosen

    @property
    def after_nobody_went_on(self) -> str:
        """The cure for an answer that stays broken off."""
        if self.tier is not None:
            return f"ask again, or ask without naming {self.tier}, so that another tier can go on"
        if self.after_a_cut is OnInterrupt.STOP:
            return "ask again, or let another tier go on (`on_interrupt`)"
        return "ask again; no other tier could go on"


@dataclass(frozen=True, slots=True)
class Draft:
    """What had been written when a writer broke off."""

    text: str = ""
    segments: tuple[Segment, ...] = ()
    mode: str = ""
    prompt: Prompt | None = None


@dataclass
class Course:
    """The text and its writers. Mutable; lives as long as one request."""

    ask: Ask
    started: float
    attempts: list[Attempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prompt: Prompt | None = None  # as the last tier was asked
    model: str | None = None
    mode: str = ""
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    first_text_at: float | None = None
    cut: Reason | None = None  # why the last writer broke off
    segment: int = -1  # number of the present one; grows over restarts
    spent: int = 0  # tokens of the segments that broke off
    longest: Draft = field(default_factory=Draft)  # of all that broke off; of two the later
    _parts: list[str] = field(default_factory=list)
    _length: int = 0
    _segments: list[Segment] = field(default_factory=list)
    _tool_calls: list[Mapping[str, Any]] = field(default_factory=list)
    _chunks: int = 0
    _seq: int = 0

    @property
    def has_begun(self) -> bool:
        return self.segment >= 0

    @property
    def goes_on(self) -> bool:
        """The next writer carries on what is there."""
        return self.has_begun and self.ask.after_a_cut is OnInterrupt.CONTINUE

    @property
    def tokens_left(self) -> int | None:
        """Of those that were asked for; `None` when none were named."""
        most = self.ask.prompt.max_tokens
        return None if most is None else max(0, most - self.spent)

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def note(self, *told: str) -> None:
        self.notes.extend(n for n in told if n not in self.notes)

    def open_segment(self, backend: str, mode: str) -> SegmentStarted | None:
        """Another tier begins to write; `None` for the first one."""
        self.segment += 1
        self.mode = mode
        restarts = self.segment > 0 and self.ask.after_a_cut is OnInterrupt.RESTART
        if restarts:
            self._parts, self._length, self._segments, self._tool_calls, self.spent = [], 0, [], [], 0
        self._segments.append(Segment(backend, self._length, self._length))
        self._chunks = 0
        if self.segment == 0:
            return None
        reason = self.cut or Reason.STREAM_INTERRUPTED
        return SegmentStarted(self.segment, backend, reason, "restart" if restarts else "continue")

    def write(self, text: str, tool_calls: tuple[Mapping[str, Any], ...]) -> Delta:
        self._parts.append(text)
        self._length += len(text)
        self._chunks += 1
        last = self._segments[-1]
        self._segments[-1] = Segment(last.backend, last.start, self._length)
        self._tool_calls.extend(tool_calls)
        delta = Delta(text, self.segment, self._seq, tool_calls)
        self._seq += 1
        return delta

    def break_off(self, reason: Reason, usage: Usage | None) -> None:
        """The present writer stops without an end marker."""
        self.cut = reason
        if self._length >= len(self.longest.text):
            self.longest = Draft(self.text, tuple(self._segments), self.mode, self.prompt)
        self.spent += tokens_in(self.text[self._segments[-1].start :], self._chunks)
        if usage is not None:
            self.usage = self.usage.plus(usage)

    def finish(self, finish_reason: str, model: str | None, usage: Usage | None) -> None:
        self.finish_reason, self.model = finish_reason, model
        if usage is not None:
            self.usage = self.usage.plus(usage)

    def add(
        self,
        attempt: Attempt,
        *,
        begun: float,
        first_at: float | None = None,
        usage: Usage | None = None,
        has_written: bool = False,
        **facts: Any,
    ) -> Mapping[str, Any]:
        """Note an attempt that has ended; gives what observers are told of it. Moments are of `clock.now()`."""
        self.attempts.append(attempt)
        start = self.started if self.ask.begun is None else self.ask.begun
        goes_on = "restart" if self.ask.after_a_cut is OnInterrupt.RESTART else "continue"
        part = {"segment": self.segment, "action": goes_on if self.segment else None} if has_written else {}
        told = facts_of(
            attempt,
            begun_ms=(begun - start) * 1000,
            first_token_ms=None if first_at is None else (first_at - start) * 1000,
            usage=usage,
            **part,
            **facts,
        )
        self.ask.told.append(told)
        return told

    def last_cut(self) -> Attempt | None:
        return next((a for a in reversed(self.attempts) if a.outcome is AttemptOutcome.INTERRUPTED), None)

    def answer(self, state: str, now: float) -> Answer:
        """What came of it: whole if `finish_reason` was seen, else the partial text, "interrupted"."""
        prompt = self.prompt or self.ask.prompt
        first = self.first_text_at
        return Answer(
            id=self.ask.id,
            text=self.text,
            backend=self._segments[-1].backend,
            mode=self.mode,
            model=self.model,
            state=state,
            finish_reason=self.finish_reason or "interrupted",
            segments=tuple(self._segments),
            attempts=tuple(self.attempts),
            sources=prompt.sources,
            usage=self.usage,
            notes=tuple(dict.fromkeys((*prompt.notes, *self.notes))),
            first_token_ms=None if first is None else round((first - self.started) * 1000, 1),
            total_ms=round((now - self.started) * 1000, 1),
            tool_calls=tuple(self._tool_calls),
            left_out=prompt.left_out,
        )

    def partial(self, state: str, now: float) -> Answer | None:
        """The longest text that broke off, for whoever was shown none of it; `None` when there is none."""
        draft = self.longest
        if not draft.text:
            return None
        return replace(
            self.answer(state, now),
            text=draft.text,
            backend=draft.segments[-1].backend,
            mode=draft.mode,
            segments=draft.segments,
            sources=draft.prompt.sources if draft.prompt else (),
            tool_calls=(),
        )
