"""What a simulator knows of each request: the frozen record it shows, and what it works with meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .answers import Plan, Question
from .dialects import Dialect
from .wire import Connection, Reply, Request, Step


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a simulator.

    `paid`: it asked for an answer, and the provider's own rules let it. `fault`: the script entry it met.
    `outcome`: running, answered (with the end marker), error (a status of 400 or more), cut (the simulator gave less
    than an answer), disconnected (the client hung up before the end). `connection` counts accepted connections from 1.
    `missing`: headers that the provider wants of a client but does not insist on.
    """

    number: int
    path: str
    method: str
    headers: Mapping[str, str]
    body: Any
    when: float
    connection: int
    query: Mapping[str, str] = field(default_factory=dict)
    paid: bool = False
    fault: str = "ok"
    outcome: str = "running"
    status: int | None = None
    tokens_sent: int = 0
    disconnected: bool = False
    missing: tuple[str, ...] = ()
    ended: float | None = None


class Refused(Exception):
    """The provider's own rules refuse the request."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(slots=True)
class Exchange:
    """One request under way; `call` is its record so far, `path` has lost the base path.

    `before` runs before a reply that is no answer. What is in `at_end` is called when the request is over, however
    it ended.
    """

    request: Request
    connection: Connection
    call: Call
    path: str
    base: str = ""
    before: Callable[[], Awaitable[object]] | None = None
    at_end: list[Callable[[], None]] = field(default_factory=list)
    finished: bool = False  # the end marker has left

    def note(self, **changes: Any) -> None:
        self.call = replace(self.call, **changes)

    @property
    def bearer(self) -> str:
        scheme, _, token = self.request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() in ("bearer", "token") else ""


@dataclass(slots=True)
class Answering:
    """A request that passed the provider's checks: what is answered, in which dialect, after which preparation.

    `prepare` runs before the first byte: a cold load, a queue.
    """

    question: Question
    plan: Plan
    dialect: Callable[[Plan], Dialect]
    stream: bool
    headers: tuple[tuple[str, str], ...] = ()
    prepare: Callable[[Exchange], Awaitable[None]] | None = None


@dataclass(slots=True)
class Progress:
    """A stream that is no answer, such as a download's: free, but stream faults work on it."""

    steps: Iterator[Step]
    dialect: Dialect


Handled = Reply | Progress | Answering
Handler = Callable[[Any, Exchange], Handled]
Routes = Mapping[tuple[str, str], Handler]
