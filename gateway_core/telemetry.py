"""What happens, told to whoever listens. A listener that raises never reaches a request."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .discretion import in_one_line, places_of

log = logging.getLogger("ai_gateway")

Listener = Callable[["Happening"], None]


@dataclass(frozen=True, slots=True)
class Happening:
    """One event: `kind` such as `attempt`, `circuit`, `answer`, `connectivity`, `store`; `at` is calendar time.

    `asking` is told when a call of a tier begins, `thinking` when it shows life without a text, `attempt` at its end.
    `request` is told once for each request, at its very end and whatever its end, with the facts of all its attempts:
    whoever keeps or exports requests needs no other kind (`gateway_core.account`).
    `facts` never hold a prompt, an answer, a document or its name, or a credential.
    """

    kind: str
    at: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class Telemetry:
    """A ring of the last happenings, and the listeners of the present ones."""

    def __init__(self, wall: Callable[[], float], capacity: int = 500) -> None:
        self._wall = wall
        self._recent: deque[Happening] = deque(maxlen=capacity)
        self._listeners: list[Listener] = []

    def tell(self, kind: str, /, **facts: Any) -> None:
        happening = Happening(kind, self._wall(), facts)
        self._recent.append(happening)
        for listener in list(self._listeners):
            try:
                listener(happening)
            except Exception as exc:  # noqa: BLE001 - a third party's observer
                log.warning("a listener of %s failed (%s)", kind, type(exc).__name__)
                log.debug("from:\n%s", "\n".join(places_of(exc)))

    def recent(self, kind: str | None = None) -> tuple[Happening, ...]:
        return tuple(h for h in self._recent if kind is None or h.kind == kind)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on each happening from now on; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None


_LEVELS = {
    "asking": logging.DEBUG,
    "thinking": logging.DEBUG,
    "attempt": logging.INFO,
    "answer": logging.INFO,
    "circuit": logging.WARNING,
    "request": logging.DEBUG,
}
_LOGGED = {
    "attempt": frozenset({"id", "backend", "mode", "outcome", "reason", "ms", "model"}),
    "request": frozenset({"id", "task", "outcome", "reason", "ms"}),
}


def log_happening(happening: Happening) -> None:
    """The logging observer: one line per happening, circuits as warnings."""
    level = _LEVELS.get(happening.kind, logging.INFO)
    if log.isEnabledFor(level):
        chosen = _LOGGED.get(happening.kind)
        facts = [
            f"{name}={in_one_line(value)}"
            for name, value in happening.facts.items()
            if value is not None and (chosen is None or name in chosen)
        ]
        log.log(level, "%s %s", happening.kind, " ".join(facts))
