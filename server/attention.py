"""Work is done only for a client that is still there, by a server that is not being stopped.

Leaving an `Attention` block early cancels what runs inside it, which closes the connection to the provider: the
core takes that as a reader who left and charges nobody.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from types import TracebackType

from starlette.types import Receive


class Ended(Enum):
    """Why the work inside was cut short."""

    GONE = "the client hung up, or reads no more"
    STOPPED = "the server is being stopped"


class Closing:
    """Tells the requests under way that the server is being stopped.

    `begin`: what has no end of its own stops now. `finish`: the grace is over, all others stop too.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._under_way: set[Attention | Endless] = set()

    def begin(self) -> None:
        self.has_begun = True
        for attention in list(self._under_way):
            if attention.is_endless:
                attention.stop()

    def finish(self) -> None:
        self.has_begun = True
        for attention in list(self._under_way):
            attention.stop()

    def enter(self, attention: Attention | Endless) -> None:
        self._under_way.add(attention)

    def leave(self, attention: Attention | Endless) -> None:
        self._under_way.discard(attention)


class Endless:
    """`with Endless(closing) as watch`: the block is cancelled, silently, as soon as the server is being stopped."""

    is_endless = True

    def __init__(self, closing: Closing) -> None:
        self.was_stopped = False
        self._closing = closing

    def __enter__(self) -> Endless:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._closing.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._closing.leave(self)
        if self.was_stopped:
            self._task.uncancel()
        return self.was_stopped and kind is asyncio.CancelledError

    def stop(self) -> None:
        if not self.was_stopped:
            self.was_stopped = True
            self._task.cancel()


class Attention:
    """`async with Attention(receive, closing) as attention`: the block is cancelled, silently, when the client hangs
    up or the server stops; `ended` then says which. The request's body must have been read before.
    """

    def __init__(self, receive: Receive, closing: Closing | None = None, *, is_endless: bool = False) -> None:
        self.ended: Ended | None = None
        self.is_endless = is_endless
        self._receive = receive
        self._closing = closing

    async def __aenter__(self) -> Attention:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        if self._closing is not None:
            self._closing.enter(self)
        self._listener = asyncio.create_task(self._listen())
        if self.is_endless and self._closing is not None and self._closing.has_begun:
            self.stop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._closing is not None:
            self._closing.leave(self)
        self._listener.cancel()
        if self.ended is None:
            return False
        others = self._task.uncancel()
        return kind is asyncio.CancelledError and others <= self._before

    def stop(self) -> None:
        self._end(Ended.STOPPED)

    def give_up(self) -> None:
        """The client is there and takes nothing: as if it had left."""
        self._end(Ended.GONE)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(Ended.GONE)

    def _end(self, why: Ended) -> None:
        if self.ended is None:
            self.ended = why
            self._task.cancel()
