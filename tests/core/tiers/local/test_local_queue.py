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


async def test_who_waits_hears_of_its_place_whenever_it_changes():
    queue = LocalQueue()
    heard = {name: [] for name in ("first", "second", "impatient", "last")}
    over = {name: asyncio.Event() for name in heard}

    async def ask(name):
        async with queue.turn("local", heard[name].append):
            await over[name].wait()

    asked = {name: asyncio.ensure_future(ask(name)) for name in heard}
    await asyncio.sleep(0)
    asked["impatient"].cancel()
    await asyncio.gather(asked["impatient"], return_exceptions=True)
    for name in ("first", "second", "last"):
        over[name].set()
        await asked[name]

    assert heard["first"] == [0]
    assert heard["second"][0] == 1
    assert heard["second"][-1] == 0
    assert list(dict.fromkeys(heard["last"])) == [3, 2, 1, 0]


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
