"""A clock that stands still until a test moves it."""

from __future__ import annotations


class ManualClock:
    """All three readings of time, moved by hand."""

    def __init__(self, now: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._now = now
        self._span = now
        self._wall = wall

    def now(self) -> float:
        return self._now

    def span(self) -> float:
        return self._span

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self.suspend(seconds)

    def suspend(self, seconds: float) -> None:
        """The laptop sleeps: the process stands still, the world does not."""
        self._span += seconds
        self._wall += seconds

    def set_wall(self, wall: float) -> None:
        """Somebody sets the calendar clock."""
        self._wall = wall

    def set_span(self, span: float) -> None:
        """What no kernel does, but a restored virtual machine may: the long clock jumps."""
        self._span = span
