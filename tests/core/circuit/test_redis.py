"""A server that is away, slow, new or unwilling never costs a request more than a moment."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from gateway_core.circuit import Circuit, CircuitPolicy, CircuitState, End, Outcome, Permit, admit, record, reset
from gateway_core.circuit.redis import KEY, RedisStore
from gateway_core.clock import SystemClock
from gateway_core.routing.turnstile import Turnstile
from gateway_core.telemetry import Telemetry
from gateway_core.testing import ScriptedTier
from gateway_core.testing.clock import ManualClock
from gateway_core.types import Reason

from .redis_server import RedisServer

POLICY = CircuitPolicy()
FAILURE = Outcome(End.FAILURE, Reason.CONNECT_TIMEOUT)
PATIENCE = 20.0  # seconds: for servers that do answer, on machines with much else to do
SLOW = 9  # a guard against hanging: three times the promise, on machines that may be three times as slow
Make = Callable[..., RedisStore]


@pytest.fixture
async def make(redis_server: RedisServer) -> AsyncIterator[Make]:
    made: list[RedisStore] = []

    def one(clock: object = None, **options: object) -> RedisStore:
        given = {"patience": PATIENCE, "retry_every": 0.1, **options}
        made.append(RedisStore(redis_server.address, clock or SystemClock(), **given))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for store in made:
        await store.aclose()


async def fail(store: RedisStore, times: int = 1, *, span: float = 0.0) -> None:
    def once(circuit: Circuit) -> tuple[Circuit, None]:
        admitted, permit = admit(circuit, POLICY, span)
        return (record(admitted, permit, FAILURE, POLICY, span) if permit else admitted), None

    for _ in range(times):
        await store.update("copilot", once)


async def joined(store: RedisStore) -> None:
    async with asyncio.timeout(20):
        while store.trouble is not None:  # noqa: ASYNC110 - the store knows nothing of the test
            await asyncio.sleep(0.01)


async def test_f84_a_server_that_is_down_costs_a_moment_and_is_told_with_the_cure(
    redis_server: RedisServer, make: Make
) -> None:
    redis_server.stop()
    telemetry = Telemetry(time.time)
    store = make(telemetry=telemetry, patience=0.05)
    begun = time.monotonic()
    await fail(store, 3)

    assert time.monotonic() - begun < SLOW * 0.05
    assert (await store.read("copilot")).state is CircuitState.OPEN
    assert store.trouble is not None
    assert store.trouble.startswith("Circuits are kept in memory: the server at ")
    assert "start it" in store.trouble
    assert [h.facts["trouble"] for h in telemetry.recent("store")] == [store.trouble]  # once


async def test_f84_a_server_that_hangs_is_waited_for_once(redis_server: RedisServer, make: Make) -> None:
    store = make()
    await fail(store)
    store._patience = 0.05
    redis_server.freeze()
    try:
        begun = time.monotonic()
        await asyncio.gather(*(fail(store) for _ in range(10)))
        assert time.monotonic() - begun < SLOW * 0.05
        begun = time.monotonic()
        await fail(store, 100)
        assert time.monotonic() - begun < SLOW * 0.05
        assert "does not answer in time" in str(store.trouble)
    finally:
        redis_server.thaw()


async def test_what_was_counted_while_the_server_was_away_is_written_when_it_is_back(
    redis_server: RedisServer, make: Make
) -> None:
    one, other = make(), make()
    await fail(one, 2)
    redis_server.stop()
    await fail(one)
    assert one.trouble is not None

    redis_server.start()  # and has forgotten everything
    await joined(one)
    assert (await one.read("copilot")).state is CircuitState.OPEN
    assert (await other.read("copilot")).state is CircuitState.OPEN


async def test_a_reset_while_the_server_is_away_reaches_the_others_when_it_is_back(
    redis_server: RedisServer, make: Make
) -> None:
    one, other = make(), make()
    await fail(other, 3)
    assert (await one.read("copilot")).state is CircuitState.OPEN
    one._patience = 0.05
    redis_server.freeze()
    try:
        await one.change_all(reset)
    finally:
        redis_server.thaw()
    assert (await one.read("copilot")).state is CircuitState.CLOSED
    await joined(one)
    assert (await other.read("copilot")).state is CircuitState.CLOSED


async def test_what_another_machine_has_changed_meanwhile_is_kept(redis_server: RedisServer, make: Make) -> None:
    one, other = make(), make()
    await fail(one)
    await other.read("copilot")
    one._patience = 0.05
    redis_server.freeze()
    await fail(one)  # in memory
    redis_server.thaw()
    await fail(other, 2)
    await joined(one)
    assert [(await store.read("copilot")).failures for store in (one, other)] == [3, 3]


async def test_our_own_change_whose_reply_was_lost_does_not_undo_what_came_after(
    redis_server: RedisServer, make: Make
) -> None:
    one, other = make(), make()
    await one.read("copilot")

    def failed_as_it_freezes(circuit: Circuit) -> tuple[Circuit, None]:  # between the look and the write
        one._patience = 0.05
        redis_server.freeze()
        admitted, permit = admit(circuit, POLICY, 0.0)
        return record(admitted, permit or Permit(0), FAILURE, POLICY, 0.0), None

    await one.update("copilot", failed_as_it_freezes)
    await fail(one, 2)
    assert (await one.read("copilot")).state is CircuitState.OPEN

    one._patience = PATIENCE
    redis_server.thaw()
    await joined(one)
    for store in (one, other):
        assert ((await store.read("copilot")).state, (await store.read("copilot")).failures) == (CircuitState.OPEN, 3)


async def test_a_reset_while_the_server_is_away_does_not_undo_what_came_after_it(
    redis_server: RedisServer, make: Make
) -> None:
    store = make()
    await fail(store, 3)
    store._patience = 0.05
    redis_server.freeze()
    await store.change_all(reset)
    refused = Outcome(End.HOLD, Reason.UNAUTHORIZED, float("inf"))

    def held(circuit: Circuit) -> tuple[Circuit, None]:
        return record(circuit, Permit(circuit.generation), refused, POLICY, 0.0), None

    await store.update("copilot", held)
    store._patience = PATIENCE
    redis_server.thaw()
    await joined(store)
    circuit = await store.read("copilot")
    assert (circuit.state, circuit.reason) == (CircuitState.OPEN, Reason.UNAUTHORIZED)


async def test_a_burst_of_failures_is_no_reason_to_leave_the_server(make: Make) -> None:
    telemetry = Telemetry(time.time)
    store = make(telemetry=telemetry)
    await asyncio.gather(*(fail(store) for _ in range(300)))
    assert telemetry.recent("store") == ()
    assert (await store.read("copilot")).failures >= POLICY.failure_threshold


@pytest.mark.parametrize("option", ["foo=1", "socket_timeout=abc"])
def test_an_option_that_makes_no_sense_is_refused_before_anybody_asks(option: str) -> None:
    with pytest.raises(ValueError, match=r"foo|socket_timeout"):
        RedisStore(f"redis://:secret@127.0.0.1:9/0?{option}", SystemClock())


async def test_what_another_program_left_in_our_place_is_a_closed_circuit(make: Make) -> None:
    store = make()
    await store.read("copilot")
    client: Any = store._connected()
    await client.execute_command("HSET", KEY, b"copilot", b"\xff\xfe")
    await client.execute_command("HSET", KEY, b"\xff", b"{}")
    await store.change_all(reset)
    await fail(store, 3)
    assert ((await store.read("copilot")).state, store.trouble) == (CircuitState.OPEN, None)


async def test_f63_a_caller_who_leaves_while_he_enters_keeps_no_place(make: Make) -> None:
    store, clock = make(), SystemClock()
    turnstile = Turnstile(store, clock, POLICY, Telemetry(time.time))
    for steps in range(40):
        identity = f"copilot {steps}"
        due = Circuit(CircuitState.OPEN, since=clock.span(), generation=1)
        await store.update(identity, lambda _, due=due: (due, None))
        entering = asyncio.create_task(turnstile.enter(ScriptedTier("copilot"), identity))
        for _ in range(steps):
            await asyncio.sleep(0)
        if entering.cancel():
            with suppress(asyncio.CancelledError):
                await entering
            await asyncio.gather(*turnstile.leaving)
            assert (await store.read(identity)).state is CircuitState.OPEN, steps


async def test_f68_machines_whose_clocks_differ_agree_how_long_a_wait_has_run(make: Make) -> None:
    here, there = ManualClock(now=1_000.0), ManualClock(now=9e8, wall=1.0)
    one, other = make(here), make(there)
    await fail(one, 3, span=here.span())

    seen = await other.read("copilot")
    assert 200.0 < seen.remaining(there.span()) <= 300.0


async def test_a_server_that_refuses_us_is_told_apart(redis_server: RedisServer, make: Make) -> None:
    store = make()
    await fail(store)
    client = store._connected()
    await client.config_set("requirepass", "another password")
    await store._disconnect()
    await fail(store)
    assert "refuses" in str(store.trouble)
    assert "password" in str(store.trouble)


@pytest.mark.parametrize("circuit", ["not JSON", "[]", json.dumps({"state": "ajar"})])
async def test_a_circuit_that_makes_no_sense_is_a_closed_one(make: Make, circuit: str) -> None:
    store = make()
    await fail(store, 3)
    held: Any = store._connected().hset(KEY, "copilot", json.dumps({"version": 7, "since": 1.0, "circuit": circuit}))
    await held
    assert await store.read("copilot") == Circuit()


async def test_a_thousand_requests_at_once_share_their_looks_at_the_server(make: Make) -> None:
    store = make(patience=20.0)
    await asyncio.gather(*(fail(store) for _ in range(3)))
    client = store._connected()
    before = (await client.info("stats"))["total_commands_processed"]
    kept_away = await asyncio.gather(
        *(store.update("copilot", lambda circuit: admit(circuit, POLICY, 1.0)) for _ in range(1_000))
    )
    after = (await client.info("stats"))["total_commands_processed"]
    assert kept_away == [None] * 1_000
    assert after - before < 50
