"""What every store promises, asked of each of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway_core.circuit import (
    SUCCESS,
    Circuit,
    CircuitPolicy,
    CircuitState,
    CircuitStore,
    End,
    MemoryStore,
    Outcome,
    Permit,
    admit,
    allow_probe,
    record,
    reset,
)
from gateway_core.circuit.redis import RedisStore
from gateway_core.circuit.sqlite import SqliteStore
from gateway_core.testing.clock import ManualClock
from gateway_core.types import Reason

POLICY = CircuitPolicy()
FAILURE = Outcome(End.FAILURE, Reason.CONNECT_TIMEOUT)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[CircuitStore]:
    made: CircuitStore = MemoryStore()
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "circuits.db", clock)
    elif request.param == "redis":
        made = RedisStore(request.getfixturevalue("redis_server").address, clock, patience=20.0)
    yield made
    await made.aclose()


async def call(store: CircuitStore, clock: ManualClock, *outcomes: Outcome, tier: str = "copilot") -> None:
    for outcome in outcomes:
        permit = await store.update(tier, lambda circuit: admit(circuit, POLICY, clock.span()))
        if permit is not None:
            await end(store, clock, permit, outcome, tier=tier)


async def end(
    store: CircuitStore, clock: ManualClock, permit: Permit, outcome: Outcome, *, tier: str = "copilot"
) -> None:
    await store.update(tier, lambda circuit: (record(circuit, permit, outcome, POLICY, clock.span()), None))


async def test_a_circuit_nobody_has_touched_is_closed(store: CircuitStore) -> None:
    assert await store.read("copilot") == Circuit()


async def test_what_one_call_changes_the_next_one_finds(store: CircuitStore, clock: ManualClock) -> None:
    await call(store, clock, FAILURE, FAILURE, FAILURE)
    circuit = await store.read("copilot")
    assert (circuit.shown(clock.span()), circuit.remaining(clock.span())) == (CircuitState.OPEN, 300.0)


async def test_every_part_of_a_circuit_is_kept(store: CircuitStore) -> None:
    whole = Circuit(CircuitState.OPEN, 4, 9, 900.0, math.inf, 2, 3, Reason.UNAUTHORIZED, 5)
    await store.update("copilot", lambda circuit: (whole, None))
    assert await store.read("copilot") == whole


async def test_circuits_of_other_accounts_are_not_touched(store: CircuitStore, clock: ManualClock) -> None:
    await call(store, clock, FAILURE, FAILURE, FAILURE, tier="copilot of a simulator")
    assert await store.read("copilot") == Circuit()


async def test_the_callers_result_comes_back(store: CircuitStore) -> None:
    assert await store.update("copilot", lambda circuit: (circuit, "result")) == "result"


async def test_a_mistake_in_a_change_reaches_the_caller_and_changes_nothing(store: CircuitStore) -> None:
    def wrong(circuit: Circuit) -> tuple[Circuit, None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.update("copilot", wrong)
    assert await store.read("copilot") == Circuit()
    assert store.trouble is None


async def test_f61_ten_thousand_calls_after_the_wait_are_one_probe(store: CircuitStore, clock: ManualClock) -> None:
    await call(store, clock, FAILURE, FAILURE, FAILURE)
    clock.advance(300.0)

    async def ask() -> Permit | None:
        return await store.update("copilot", lambda circuit: admit(circuit, POLICY, clock.span()))

    permits = [permit for permit in await asyncio.gather(*(ask() for _ in range(10_000))) if permit]
    assert [permit.is_probe for permit in permits] == [True]

    await end(store, clock, permits[0], SUCCESS)
    assert (await store.read("copilot")).state is CircuitState.CLOSED


async def test_f88_a_reset_closes_every_circuit_and_forgets_the_calls_under_way(
    store: CircuitStore, clock: ManualClock
) -> None:
    await call(store, clock, FAILURE, FAILURE, FAILURE)
    permit = await store.update("cloud", lambda circuit: admit(circuit, POLICY, clock.span()))
    assert permit is not None
    await asyncio.gather(store.change_all(reset), store.change_all(reset))
    await end(store, clock, permit, FAILURE, tier="cloud")

    circuits = [await store.read(tier) for tier in ("copilot", "cloud")]
    assert [(c.state, c.failures) for c in circuits] == [(CircuitState.CLOSED, 0)] * 2


async def test_f40_the_link_is_back_and_every_circuit_it_opened_may_probe(
    store: CircuitStore, clock: ManualClock
) -> None:
    for tier in ("copilot", "cloud"):
        await call(store, clock, FAILURE, FAILURE, FAILURE, tier=tier)
    because = frozenset({Reason.CONNECT_TIMEOUT})
    await store.change_all(lambda circuit: allow_probe(circuit, clock.span(), because=because))

    shown = [(await store.read(tier)).shown(clock.span()) for tier in ("copilot", "cloud")]
    assert shown == [CircuitState.HALF_OPEN] * 2


async def test_changes_from_many_tasks_are_each_made_once(store: CircuitStore) -> None:
    async def count() -> None:
        await store.update("copilot", lambda circuit: (replace(circuit, failures=circuit.failures + 1), None))

    await asyncio.gather(*(count() for _ in range(500)))
    assert (await store.read("copilot")).failures == 500
