"""One look-up for many who ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ...errors import GatewayError, TierFailed

T = TypeVar("T")


class Flight(Generic[T]):
    """`join` starts the work or joins what is under way; a caller who leaves does not stop it for the others."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T | GatewayError] | None = None

    async def join(self, work: Callable[[], Awaitable[T]]) -> T:
        task = self.start(work)
        found = await asyncio.shield(task)
        if isinstance(found, TierFailed):
            raise copy_of(found)
        if isinstance(found, GatewayError):
            raise found
        return found

    def start(self, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T | GatewayError]:
        """Have it done, without waiting."""
        task = self._task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._task = asyncio.create_task(_settled(work))
        return task

    async def aclose(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


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
