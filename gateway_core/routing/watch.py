"""How long a tier may keep a request waiting, phase by phase.

    (way there)──sent()──▶ first event ──▶ visible text ──▶ ... ──▶ end marker
       its share            first token     thinking          silence between events

Timers run only while the router waits for the tier, never while the reader is slow. A timer that fires long after
its time tells of a frozen process (lid closed, debugger), not of a silent tier: it grants a short grace first,
since the answer may already stand in the socket's buffer. After a sleep the connection is probably dead though no
timer is late yet: then that grace is all that is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from ..deadline import Deadline
from ..errors import TierBroken, TierFailed, TierUnavailable, TierUnreachable
from ..types import Chunk, Reason

FROZEN = 1.0  # seconds a timer may be late before we blame the machine
GRACE = 2.0
AWAKE = 1.0  # the grace after a sleep


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. `connect` covers name look-up, TCP and TLS; `thinking` is until the first visible text."""

    connect: float = 2.0
    first_token: float = 15.0
    stall: float = 20.0
    thinking: float = 90.0


class Watch:
    """Gives a tier's chunks one by one, or raises what it is guilty of.

    `had_its_time` tells whether a time-out was the tier's own limit rather than what the request had left.
    """

    def __init__(self, tier: str, limits: Limits, deadline: Deadline, until_text: float) -> None:
        self._tier = tier
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._deadline_at = self._loop.time() + min(deadline.remaining(), 10**8)
        self._text_by = self._loop.time() + until_text
        self._due, self._reason = self._text_by, Reason.CONNECT_TIMEOUT
        self._thinking_since: float | None = None
        self._has_text = False
        self._was_frozen = False
        self._slept = False
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._verdict: TierFailed | None = None
        self._left_at: float | None = None  # when the last chunk was handed on
        self.was_sent = False
        self.had_its_time = True

    def sent(self) -> None:
        """The request has left: the wait for the first event begins."""
        if not self.was_sent:
            self.was_sent = True
            self._set(self._limits.first_token, Reason.FIRST_TOKEN_TIMEOUT)

    def resumed(self, gap: float) -> None:
        """The laptop slept: what was under way is lost unless it shows itself very soon."""
        self._slept = True
        if self._task is not None:
            self._arm()

    def abort(self, failure: TierFailed) -> None:
        """End the wait from outside (the link is down): `next` raises `failure`. The first verdict stands."""
        if self._verdict is not None:  # a second cancellation would be taken for the caller's own
            return
        self._verdict = failure
        if self._task is not None:
            self._task.cancel()

    async def next(self, chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
        """The next chunk; `None` at the end of the stream."""
        if self._verdict is not None:
            raise self._verdict
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        if self._left_at is not None and self._has_text:  # silence counts only while we listen
            self._due += self._loop.time() - self._left_at
        self._task = task
        self._arm()
        try:
            chunk = await anext(chunks, None)
        except asyncio.CancelledError:
            if self._verdict is not None and task.uncancel() <= before:
                raise self._verdict from None
            raise
        finally:
            self._task = None
            self._left_at = self._loop.time()
            if self._timer is not None:
                self._timer.cancel()
        if self._verdict is not None and task.cancelling() > before:
            task.uncancel()  # it came just in time
            self._verdict = None
        if chunk is not None:
            self._heard(bool(chunk.text or chunk.tool_calls))
        return chunk

    def _heard(self, visible: bool) -> None:
        now = self._loop.time()
        self._was_frozen = False
        self.was_sent = True
        self._has_text = self._has_text or visible
        if self._has_text:
            self._set(self._limits.stall, Reason.STALLED)
            return
        if self._thinking_since is None:
            self._thinking_since = now
        thinking_left = self._thinking_since + self._limits.thinking - now
        if thinking_left < self._limits.stall:
            self._set(thinking_left, Reason.THINKING_TIMEOUT)
        else:
            self._set(self._limits.stall, Reason.STALLED)

    def _set(self, seconds: float, reason: Reason) -> None:
        own = self._loop.time() + seconds
        self._reason = reason
        self._due = own if self._has_text else min(own, self._text_by)
        self.had_its_time = own <= self._due
        if self._task is not None:
            self._arm()

    def _arm(self) -> None:
        if self._slept:  # counted from now on, for the reader may have been slow
            self._slept, self._was_frozen = False, True
            self._due = self._loop.time() + AWAKE
            self._text_by = max(self._text_by, self._due)
            self._deadline_at = max(self._deadline_at, self._due + AWAKE)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(self._due, self._deadline_at), self._expired)

    def _expired(self) -> None:
        now = self._loop.time()
        due = min(self._due, self._deadline_at)
        if now - due > FROZEN and not self._was_frozen:
            self._was_frozen = True
            gap = now - due
            self._deadline_at += gap
            self._text_by += gap
            self._due = now + GRACE
            self._arm()
            return
        self.abort(self._guilt())

    def _guilt(self) -> TierFailed:
        if self._was_frozen:
            return TierUnavailable(
                self._tier, "the laptop slept while it answered", reason=Reason.CLOCK_GAP, again=not self._has_text,
                may_have_billed=self.was_sent,
            )  # fmt: skip
        if self._deadline_at <= self._due:
            self.had_its_time = False
            return TierUnavailable(
                self._tier, "the request's time was up", reason=Reason.DEADLINE, may_have_billed=self.was_sent
            )
        if not self.was_sent:
            self.had_its_time = False
            return TierUnreachable(self._tier, "no connection in time", reason=Reason.CONNECT_TIMEOUT)
        told = {
            Reason.FIRST_TOKEN_TIMEOUT: "no first event in time",
            Reason.THINKING_TIMEOUT: "it thought too long without visible text",
            Reason.STALLED: "it fell silent",
        }
        return TierBroken(
            self._tier, told.get(self._reason, "no answer in time"), reason=self._reason, may_have_billed=True
        )
