import asyncio

import pytest

from gateway_core.errors import TierUnavailable
from gateway_core.tiers.local_queue import LocalQueue
from gateway_core.types import Reason


async def test_turns_come_in_the_order_of_asking():
    queue, order = LocalQueue(), []

    async def ask(number):
        async with queue.turn("local") as before:
            await asyncio.sleep(0)
            order.append((number, before))

    await asyncio.gather(*(ask(number) for number in range(4)))

    assert order == [(0, 0), (1, 1), (2, 2), (3, 3)]


async def test_a_full_line_refuses_and_leaving_it_makes_room():
    queue = LocalQueue(longest=1)
    async with queue.turn("local"):
        waiting = asyncio.ensure_future(enter(queue))
        await asyncio.sleep(0)
        with pytest.raises(TierUnavailable) as failure:
            await enter(queue)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        later = asyncio.ensure_future(enter(queue))
        await asyncio.sleep(0)

    assert failure.value.reason is Reason.BUSY
    assert await later == 1
    assert queue.waiting == 0


async def enter(queue):
    async with queue.turn("local") as before:
        return before
