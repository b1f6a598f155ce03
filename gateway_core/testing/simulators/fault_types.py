"""What a fault is, and what it is handed at each of the five places where one can act."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from .answers import Plan, Question
from .dialects import Dialect
from .wire import Connection, Outgoing, Reply, Step


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a script: `status_429:retry_after=60` has the name `status_429` and one option."""

    name: str
    value: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def number(self, default: float) -> float:
        return float(self.value) if self.value else default

    def count(self, default: int) -> int:
        return int(self.number(default))


class Provider(Protocol):
    """What a fault needs to know of the simulator it acts in."""

    named_errors: Mapping[str, Reply]

    def error_reply(self, status: int, **words: str) -> Reply: ...

    def stream_error(self, **words: str) -> dict[str, Any]: ...


ConnectionFault = Callable[[Fault, Connection], Awaitable[bool]]  # True: nothing more is to be sent
ReplyFault = Callable[[Fault, Provider, str], Outgoing]  # the content type that the caller expects
PlanFault = Callable[[Fault, Plan, Question], Plan]
StreamFault = Callable[[Fault, Iterator[Step], Dialect, Provider], Iterator[Step]]
BytesFault = Callable[[Fault, Outgoing], None]
Act = TypeVar("Act")


class Entry(NamedTuple, Generic[Act]):
    """What a fault does, and the line that tells it. A line that begins with a word in capitals takes a value."""

    act: Act
    line: str


Table = Mapping[str, Entry[Act]]
