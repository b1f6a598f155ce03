"""How soon each tier began to answer in the last hour, for the page's plot."""

from __future__ import annotations

from typing import Any

_HOUR = 3600.0
_MOST = 100


class Speeds:
    """Reads what the gateway tells anyway; keeps nothing."""

    def __init__(self, telemetry: Any) -> None:
        self._telemetry = telemetry

    def last_hour(self) -> dict[str, list[dict[str, float]]]:
        """By tier, oldest first: when, and how many milliseconds until the first text."""
        answers = [h for h in self._telemetry.recent("answer") if h.facts.get("first_token_ms") is not None]
        newest = max((h.at for h in answers), default=0.0)
        found: dict[str, list[dict[str, float]]] = {}
        for happening in answers[-_MOST:]:
            if newest - happening.at <= _HOUR:
                point = {"at": happening.at, "ms": round(float(happening.facts["first_token_ms"]), 1)}
                found.setdefault(str(happening.facts.get("backend")), []).append(point)
        return found
