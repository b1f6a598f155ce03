"""The drill that waits for the page's next question: chosen there, met once, over after a few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway_core import Drill, Gateway, drilled

SECONDS_A_DRILL_WAITS = 300.0
TIERS = ("copilot", "cloud", "local")


class DrillRoom:
    """Holds the drill that waits for the next question, if there is one."""

    def __init__(self, gateway: Gateway, now: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._now = now
        self._waiting: tuple[Drill, float] | None = None

    @property
    def waiting(self) -> Drill | None:
        if self._waiting is not None and self._now() - self._waiting[1] > SECONDS_A_DRILL_WAITS:
            self._waiting = None
        return self._waiting[0] if self._waiting is not None else None

    def begin(self, drill: Drill) -> None:
        self._waiting = (drill, self._now())

    def end(self) -> None:
        self._waiting = None

    def gateway_for_next(self) -> tuple[Gateway, str]:
        """The gateway of the next question and what it is drilled with, if it is; the drill is over with that."""
        drill = self.waiting
        self.end()
        if drill is None:
            return self._gateway, ""
        return drilled(self._gateway, drill), drill.words
