"""One look-up for many who ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from ...errors import GatewayError, TierFailed

T = TypeVar("T")


class Flights(Generic[T]):
    """`join` starts the work or joins what is under way for the same key, and only for the same.

    A caller who leaves does not stop it for the others.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T | GatewayError]] = {}

    async def join(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        task = self.start(key, work)
        found = await asyncio.shield(task)
        if isinstance(found, TierFailed):
            raise copy_of(found)
        if isinstance(found, GatewayError):
            raise found
        return found

    def start(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T | GatewayError]:
        """Have it done, without waiting."""
        task = self._tasks.get(key)
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._tasks[key] = asyncio.create_task(_settled(work))
            task.add_done_callback(lambda ended: self._landed(key, ended))
        return task

    async def aclose(self) -> None:
        running = [task for task in self._tasks.values() if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _landed(self, key: Hashable, ended: asyncio.Task[T | GatewayError]) -> None:
        if self._tasks.get(key) is ended:
            del self._tasks[key]


async def _settled(work: Callable[[], Awaitable[T]]) -> T | GatewayError:
    try:
        return await work()
    except GatewayError as failure:
        return failure


def copy_of(failure: TierFailed) -> TierFailed:
    """The same failure for another caller: each has a traceback of its own, and a mark of its own."""
    made = type(failure)(
        failure.tier,
        failure.detail,
        reason=failure.reason,
        cure=failure.cure,
        wait=failure.wait,
        again=failure.again,
        may_have_billed=failure.may_have_billed,
    )
    return made
