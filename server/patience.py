"""How long and how large the head of a request may be: uvicorn itself waits and reads without an end.

The body has limits of its own, where it is read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .strictness import LARGEST_HEAD, StrictProtocol

SECONDS_FOR_A_HEAD = 20.0
LARGEST_REST = 64_000_000  # of a body that was refused half-way: it is read on, so that the client hears why


class PatientProtocol(StrictProtocol):
    """A connection that must begin a request within its time, and say no more than it needs for that."""

    _head = 0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        is_body = before is not None and before.more_body
        super().data_received(data)
        is_answered = before is None or before.response_complete
        if self.cycle is not before or (is_body and not is_answered):
            self._head = 0
            self._no_longer()
            return
        self._head += len(data)
        if not is_answered:  # the head of a next request: it has time until then, and no more room than others
            self._no_longer()
            if self._head > LARGEST_HEAD:
                self.transport.close()
            return
        is_rest = before is not None and before.more_body
        if is_rest and self._head > LARGEST_REST:
            self.transport.close()
        elif not is_rest and self._head > LARGEST_HEAD:
            self.send_400_response("")
        elif self._late is None and not is_rest:
            self._wait_for_a_head()

    def _wait_for_a_head(self) -> None:
        self._late = asyncio.get_running_loop().call_later(SECONDS_FOR_A_HEAD, self._give_up)

    def _no_longer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()
