"""Time for tests: a clock to turn by hand, and an event loop in which sleeping costs nothing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ManualClock:
    """All three readings stand still until `advance`; the wall can be set, and a suspend only moves `span`."""

    def __init__(self, now: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._now = self._span = now
        self._wall = wall

    def now(self) -> float:
        return self._now

    def span(self) -> float:
        return self._span

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._span += seconds
        self._wall += seconds

    def suspend(self, seconds: float) -> None:
        """The laptop sleeps: the process's own clock stops."""
        self._span += seconds
        self._wall += seconds

    def set_wall(self, wall: float) -> None:
        self._wall = wall

    def set_span(self, span: float) -> None:
        """What no kernel does, but a restored virtual machine may: the long clock jumps."""
        self._span = span


class _Selector(selectors.DefaultSelector):
    """Never waits: instead of sleeping until the next timer, the loop's time jumps there."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        if not ready and timeout:
            self.time += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer whenever there is nothing to do.

    It is also a `Clock`, so that deadlines, circuits and timers share one virtual time.
    """

    def __init__(self) -> None:
        self._selector_with_time = _Selector()
        super().__init__(self._selector_with_time)

    def time(self) -> float:
        return self._selector_with_time.time

    now = span = time

    def wall(self) -> float:
        return 1_800_000_000.0 + self.time()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time. `asyncio.get_running_loop()` is the clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
