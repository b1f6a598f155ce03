"""The drill that waits for a page's next question: chosen there, met once, over after a few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway_core import Drill, Gateway, drilled

SECONDS_A_DRILL_WAITS = 300.0
TIERS = ("copilot", "cloud", "local")


class DrillRoom:
    """Holds the drill that waits for the next question of each page. A page is known by a word of its own."""

    def __init__(self, gateway: Gateway, now: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._now = now
        self._waiting: dict[str, tuple[Drill, float]] = {}

    def waiting(self, page: str = "") -> Drill | None:
        over = self._now() - SECONDS_A_DRILL_WAITS
        self._waiting = {page: told for page, told in self._waiting.items() if told[1] >= over}
        return self._waiting[page][0] if page in self._waiting else None

    def begin(self, drill: Drill, page: str = "") -> None:
        self._waiting[page] = (drill, self._now())

    def end(self, page: str = "") -> None:
        self._waiting.pop(page, None)

    def end_all(self) -> None:
        self._waiting.clear()

    def gateway_for_next(self, page: str = "") -> tuple[Gateway, str]:
        """The gateway of a page's next question and what it is drilled with, if it is; then the drill is over."""
        drill = self.waiting(page)
        self.end(page)
        if drill is None:
            return self._gateway, ""
        return drilled(self._gateway, drill), drill.words
