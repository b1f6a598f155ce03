"""Keep a model's thinking out of its answer when the server leaves it in the text.

Servers that know a model's template report thinking apart. Those that do not pass on `<think>...</think>` at the
head of the answer; later in the text the same words are the answer's own.
"""

from __future__ import annotations

from enum import Enum, auto

_PAIRS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"))


class _Place(Enum):
    HEAD = auto()
    THOUGHT = auto()
    AFTER_THOUGHT = auto()
    ANSWER = auto()


class ThinkingFilter:
    """Feed the text as it comes; get back what is answer. Split anywhere, the result is the same."""

    def __init__(self) -> None:
        self._place = _Place.HEAD
        self._held = ""
        self._end = ""

    @property
    def is_thinking(self) -> bool:
        return self._place is _Place.THOUGHT

    def feed(self, text: str) -> str:
        if self._place is _Place.ANSWER:
            return text
        self._held += text
        if self._place is _Place.HEAD:
            self._look_for_start()
        if self._place is _Place.THOUGHT:
            self._look_for_end()
        if self._place is _Place.AFTER_THOUGHT:
            self._held = self._held.lstrip()
            if self._held:
                self._place = _Place.ANSWER
        return self._release() if self._place is _Place.ANSWER else ""

    def finish(self) -> str:
        """What was held back for want of a decision. A thought without an end is not an answer."""
        return self._release() if self._place is _Place.HEAD else ""

    def _look_for_start(self) -> None:
        head = self._held.lstrip()
        for start, end in _PAIRS:
            if head.startswith(start):
                self._place, self._held, self._end = _Place.THOUGHT, head[len(start) :], end
                return
        if not any(start.startswith(head) for start, _ in _PAIRS):
            self._place = _Place.ANSWER

    def _look_for_end(self) -> None:
        _, found, rest = self._held.partition(self._end)
        if found:
            self._place, self._held = _Place.AFTER_THOUGHT, rest
        else:
            self._held = self._held[-len(self._end) :]  # a long thought must not pile up

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held
