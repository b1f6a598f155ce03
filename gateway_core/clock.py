"""Three readings of time, each for its own purpose.

`now` runs while the process may run: deadlines. `span` also runs while the laptop sleeps: circuits, caches.
`wall` is the calendar: dates a provider names, shown times. Deadlines and circuits never look at the wall
clock, so setting it changes nothing.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float: ...
    def span(self) -> float: ...
    def wall(self) -> float: ...


class SystemClock:
    """The machine's own clocks.

    Linux stops CLOCK_MONOTONIC in suspend and offers CLOCK_BOOTTIME; on macOS CLOCK_MONOTONIC runs on;
    on Windows the monotonic clock counts from boot, sleep included.
    """

    def now(self) -> float:
        return time.monotonic()

    if sys.platform == "linux":

        def span(self) -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)

    elif sys.platform == "darwin":

        def span(self) -> float:
            return time.clock_gettime(time.CLOCK_MONOTONIC)

    else:

        def span(self) -> float:
            return time.monotonic()

    def wall(self) -> float:
        return time.time()
