"""How soon each tier began to answer in the last hour, for the page's plot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_HOUR = 3600.0
_MOST = 200


class Speeds:
    """Reads what the gateway tells anyway; keeps nothing."""

    def __init__(self, telemetry: Any, wall: Callable[[], float] = time.time) -> None:
        self._telemetry = telemetry
        self._wall = wall

    def last_hour(self) -> dict[str, list[dict[str, float]]]:
        """By tier, oldest first: how many seconds ago, and how many milliseconds until the first text."""
        now = self._wall()
        found: dict[str, list[dict[str, float]]] = {}
        for happening in self._telemetry.recent("answer")[-_MOST:]:
            first, ago = happening.facts.get("first_token_ms"), now - happening.at
            if first is not None and ago <= _HOUR:
                point = {"ago": round(max(0.0, ago), 1), "ms": round(float(first), 1)}
                found.setdefault(str(happening.facts.get("backend")), []).append(point)
        return found
