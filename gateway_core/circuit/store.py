"""Where circuits live. Because a change is a pure function, a store only has to make it indivisible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from .machine import CLOSED, Circuit

T = TypeVar("T")


class CircuitStore(Protocol):
    """`update` is one indivisible read-change-write; it never fails a request.

    A store that loses its file or server keeps working from memory and says so in `trouble`.
    `change` may be run more than once and must be pure.
    """

    kind: str
    trouble: str | None

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
