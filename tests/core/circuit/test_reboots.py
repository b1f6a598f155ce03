"""Times in the circuit file: reboots, sleep, and calendars that somebody sets."""

from __future__ import annotations

import math
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.circuit import Circuit, CircuitPolicy, CircuitState, End, Outcome, admit, record
from gateway_core.circuit.rows import boot_of, from_row, is_same_boot, to_row
from gateway_core.circuit.sqlite import SqliteStore
from gateway_core.testing.clock import ManualClock
from gateway_core.types import Reason

POLICY = CircuitPolicy(failure_threshold=1)
FAILURE = Outcome(End.FAILURE, Reason.UPSTREAM_5XX)
OPEN = CircuitState.OPEN


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "circuits.db"


def another(path: Path, clock: ManualClock, boot: str = "this boot") -> aclosing[SqliteStore]:
    """The file as a new process sees it."""
    return aclosing(SqliteStore(path, clock, boot=boot))


async def ends(store: SqliteStore, clock: ManualClock, outcome: Outcome) -> None:
    permit = await store.update("copilot", lambda circuit: admit(circuit, POLICY, clock.span()))
    assert permit is not None
    await store.update("copilot", lambda circuit: (record(circuit, permit, outcome, POLICY, clock.span()), None))


def rebooted(clock: ManualClock, *, off: float, calendar_error: float = 0.0) -> ManualClock:
    """The clock after the machine was off for so long."""
    return ManualClock(now=5.0, wall=clock.wall() + off + calendar_error)


async def test_a_wait_goes_on_after_a_reboot_for_the_time_it_has_left(path: Path, clock: ManualClock) -> None:
    async with another(path, clock) as store:
        await ends(store, clock, FAILURE)
    later = rebooted(clock, off=100.0)
    async with another(path, later, boot="the next boot") as store:
        assert (await store.read("copilot")).remaining(later.span()) == 200.0


async def test_an_endless_wait_survives_a_reboot(path: Path, clock: ManualClock) -> None:
    refused = Outcome(End.HOLD, Reason.UNAUTHORIZED, math.inf)
    async with another(path, clock) as store:
        await ends(store, clock, refused)
    later = rebooted(clock, off=1e7)
    async with another(path, later, boot="the next boot") as store:
        circuit = await store.read("copilot")
    assert (circuit.remaining(later.span()), circuit.reason) == (math.inf, Reason.UNAUTHORIZED)


async def test_f68_a_calendar_set_back_during_a_reboot_makes_nobody_wait_longer_than_granted(
    path: Path, clock: ManualClock
) -> None:
    async with another(path, clock) as store:
        await ends(store, clock, FAILURE)
    later = rebooted(clock, off=60.0, calendar_error=-86_400.0)
    async with another(path, later, boot="the next boot") as store:
        assert (await store.read("copilot")).remaining(later.span()) == 300.0
    later.advance(200.0)
    async with another(path, later, boot="the next boot") as third:
        assert (await third.read("copilot")).remaining(later.span()) == 100.0, "the wait began anew"


async def test_f68_setting_the_calendar_changes_nothing_while_the_machine_runs(path: Path, clock: ManualClock) -> None:
    async with another(path, clock) as store:
        await ends(store, clock, FAILURE)
        for hours in (-24, -1, 1, 24):
            clock.set_wall(clock.wall() + 3_600.0 * hours)
            async with another(path, clock) as other:
                assert (await other.read("copilot")).remaining(clock.span()) == 300.0


async def test_f70_time_asleep_counts(path: Path, clock: ManualClock) -> None:
    async with another(path, clock) as store:
        await ends(store, clock, FAILURE)
        clock.suspend(8 * 3_600.0)
        assert (await store.read("copilot")).shown(clock.span()) is CircuitState.HALF_OPEN


MOMENTS = st.floats(0.0, 1e8)


@given(
    wait=st.one_of(st.floats(0.0, 1e6), st.just(math.inf)),
    granted=MOMENTS,
    wall=st.floats(0.0, 4e9),
    later=MOMENTS,
    later_wall=st.floats(0.0, 4e9),
    same_boot=st.booleans(),
)
def test_no_reading_of_any_clock_makes_a_wait_longer_than_granted(
    wait: float, granted: float, wall: float, later: float, later_wall: float, same_boot: bool
) -> None:
    circuit = Circuit(OPEN, since=granted, wait=wait)
    row = to_row(circuit, ManualClock(granted, wall), "this boot")
    then = ManualClock(later, later_wall)
    seen = from_row(row, then, "this boot" if same_boot else "the next boot")
    assert seen.since <= then.span()
    assert seen.remaining(then.span()) <= wait


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(("melted", 0, 0, 0.0, 0, 0, None, 0, 0.0, 0.0, "b"), id="an unknown state"),
        pytest.param(("open", "x", 0, 0.0, 0, 0, None, 0, 0.0, 0.0, "b"), id="a word for a number"),
        pytest.param(("open", 0, 0, None, 0, 0, None, 0, 0.0, 0.0, "b"), id="nothing for a number"),
    ],
)
def test_a_row_that_makes_no_sense_is_a_closed_circuit(row: tuple[object, ...], clock: ManualClock) -> None:
    assert from_row(row, clock, "b") == Circuit()


def test_a_reason_of_a_later_version_is_kept_as_none(clock: ManualClock) -> None:
    circuit = from_row(("open", 3, 7, 300.0, 1, 0, "solar_flare", 0, clock.span(), 0.0, "b"), clock, "b")
    assert (circuit.state, circuit.reason) == (OPEN, None)


def test_two_readings_of_one_boot_are_the_same_and_two_boots_are_not(clock: ManualClock) -> None:
    assert boot_of(clock) == boot_of(clock)
    assert is_same_boot("1800000000", "1800000002")
    assert not is_same_boot("1800000000", "1800000060")
    assert not is_same_boot("8706511a", "1800000000")
