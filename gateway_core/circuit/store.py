"""Where circuits live. Because a change is a pure function, a store only has to make it indivisible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from ..telemetry import Telemetry
from .machine import CLOSED, Circuit

T = TypeVar("T")
MOST_PENDING = 16


class CircuitStore(Protocol):
    """`update` is one indivisible read-change-write; it never fails a request.

    A store that loses its file or server keeps working from memory and says so in `trouble`.
    `change` may be run more than once and must be pure.
    `may_lose_a_reader`: a caller who is cancelled in `update` cannot know whether the change was made.
    """

    kind: str
    trouble: str | None
    may_lose_a_reader: bool

    async def update(self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]]) -> T: ...

    async def read(self, identity: str) -> Circuit: ...

    async def change_all(self, change: Callable[[Circuit], Circuit]) -> None:
        """Apply a change to every circuit, those of other processes too (reset, link back)."""
        ...

    async def aclose(self) -> None: ...


class MemoryStore:
    """Circuits of this process only. No await inside `update`, so one event loop makes it indivisible."""

    kind = "memory"
    trouble: str | None = None
    may_lose_a_reader = False

    def __init__(self) -> None:
        self._circuits: dict[str, Circuit] = {}

    async def update(self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        circuit, result = change(self._circuits.get(identity, CLOSED))
        self._circuits[identity] = circuit
        return result

    async def read(self, identity: str) -> Circuit:
        return self._circuits.get(identity, CLOSED)

    async def change_all(self, change: Callable[[Circuit], Circuit]) -> None:
        for identity, circuit in list(self._circuits.items()):
            self._circuits[identity] = change(circuit)

    async def aclose(self) -> None:
        return


class Shared:
    """What stores with a place outside this process have in common: the copy from which they go on without it."""

    kind: str
    may_lose_a_reader = False

    def __init__(self, telemetry: Telemetry | None) -> None:
        self.trouble: str | None = None
        self._telemetry = telemetry
        self._known: dict[str, tuple[int, Circuit]] = {}  # version in the place (0: not there), circuit
        self._unwritten: set[str] = set()
        self._pending: list[Callable[[Circuit], Circuit]] = []  # changes to all, made while the place was away

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            if self._telemetry is not None:
                self._telemetry.tell("store", store=self.kind, trouble=trouble)

    def _read_memory(self, identity: str) -> Circuit:
        return self._known.get(identity, (0, CLOSED))[1]

    def _update_memory(self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        version, circuit = self._known.get(identity, (0, CLOSED))
        changed, result = change(circuit)
        self._known[identity] = (version, changed)
        if changed != circuit:
            self._unwritten.add(identity)
        return result

    def _change_memory(self, change: Callable[[Circuit], Circuit]) -> None:
        for identity in list(self._known):
            self._update_memory(identity, lambda circuit: (change(circuit), None))
        self._pending = [*self._pending, change][-MOST_PENDING:]
