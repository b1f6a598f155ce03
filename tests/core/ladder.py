"""What router tests share: a ladder of scripted tiers in virtual time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from gateway_core.circuit import CircuitPolicy, MemoryStore
from gateway_core.deadline import Deadline
from gateway_core.errors import GatewayError
from gateway_core.routing.course import Ask
from gateway_core.routing.router import Router
from gateway_core.telemetry import Telemetry
from gateway_core.testing import ScriptedTier, run_virtual
from gateway_core.types import Answer, Delta, Done, Event, Message, OnInterrupt, Prompt, SegmentStarted


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a loop in which waiting costs nothing."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(test(*args, **kwargs))

    return run


def router(*tiers: ScriptedTier, **options: Any) -> Router:
    """A router on the running virtual loop's clock or another, with the default limits."""
    clock = options.pop("clock", None) or asyncio.get_running_loop()
    options.setdefault("policy", CircuitPolicy())
    options.setdefault("telemetry", Telemetry(clock.wall))
    return Router(tiers, options.pop("store", MemoryStore()), clock, **options)


def prompt(text: str = "Why is the sky blue?", **fields: Any) -> Prompt:
    return Prompt((Message("user", text),), question=text, **fields)


def asking(
    text: str = "Why is the sky blue?",
    *,
    seconds: float = 300,
    on_interrupt: str | None = None,
    tier: str | None = None,
    local_only: bool = False,
    whole: bool = False,
    **fields: Any,
) -> Ask:
    return Ask(
        "ans_1",
        prompt(text, **fields),
        Deadline.after(seconds, asyncio.get_running_loop()),
        OnInterrupt(on_interrupt) if on_interrupt else None,
        tier,
        local_only,
        whole,
    )


@dataclass
class Seen:
    """What a reader saw: events in order, and the answer or the error at the end."""

    events: list[Event] = field(default_factory=list)
    answer: Answer | None = None
    error: GatewayError | None = None
    seconds: float = 0.0

    @property
    def deltas(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, Delta)]

    @property
    def text(self) -> str:
        """The text on a reader's screen: a restart discards."""
        shown = ""
        for event in self.events:
            if isinstance(event, SegmentStarted) and event.action == "restart":
                shown = ""
            elif isinstance(event, Delta):
                shown += event.text
        return shown

    @property
    def whole(self) -> Answer:
        assert self.answer is not None, f"no answer but {self.error!r}"
        return self.answer

    def reasons(self, backend: str) -> list[str | None]:
        of = self.answer.attempts if self.answer else getattr(self.error, "attempts", ())
        return [a.reason for a in of if a.backend == backend]


async def read(router: Router, ask: Ask | None = None) -> Seen:
    """Read one answer to its end."""
    loop = asyncio.get_running_loop()
    seen, begun = Seen(), loop.time()
    try:
        async with aclosing(router.stream(ask or asking())) as events:
            async for event in events:
                if isinstance(event, Done):
                    seen.answer = event.answer
                else:
                    seen.events.append(event)
    except GatewayError as exc:
        seen.error = exc
    seen.seconds = loop.time() - begun
    return seen
