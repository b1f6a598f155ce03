# ruff: noqa: ASYNC221, ASYNC240 - these tests look at small files of their own
"""What only the file store must get right: trouble with the file, other eyes, reboots."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.circuit import Circuit, CircuitPolicy, CircuitState, End, Outcome, Permit, admit, record, reset
from gateway_core.circuit.rows import boot_of, from_row, is_same_boot, to_row
from gateway_core.circuit.sqlite import SqliteStore
from gateway_core.telemetry import Telemetry
from gateway_core.testing.clock import ManualClock
from gateway_core.types import Reason

POLICY = CircuitPolicy(failure_threshold=1)
FAILURE = Outcome(End.FAILURE, Reason.UPSTREAM_5XX)
OPEN = CircuitState.OPEN
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "circuits.db"


@pytest.fixture
def telemetry(clock: ManualClock) -> Telemetry:
    return Telemetry(clock.wall)


@pytest.fixture
async def store(path: Path, clock: ManualClock, telemetry: Telemetry) -> AsyncIterator[SqliteStore]:
    async with aclosing(SqliteStore(path, clock, telemetry=telemetry, boot="this boot")) as made:
        yield made


def another(path: Path, clock: ManualClock, boot: str = "this boot") -> aclosing[SqliteStore]:
    """The same file seen by another process, as it were."""
    return aclosing(SqliteStore(path, clock, boot=boot))


async def fail(store: SqliteStore, clock: ManualClock, tier: str = "copilot") -> Permit | None:
    permit = await store.update(tier, lambda circuit: admit(circuit, POLICY, clock.span()))
    if permit is not None:
        await store.update(tier, lambda circuit: (record(circuit, permit, FAILURE, POLICY, clock.span()), None))
    return permit


async def state_of(store: SqliteStore, clock: ManualClock, tier: str = "copilot") -> CircuitState:
    return (await store.read(tier)).shown(clock.span())


def troubles(telemetry: Telemetry) -> list[str | None]:
    return [happening.facts["trouble"] for happening in telemetry.recent("store")]


# ---- nothing is written without need


async def test_only_changes_are_written(store: SqliteStore, path: Path, clock: ManualClock) -> None:
    await fail(store, clock)
    with closing(sqlite3.connect(path)) as watcher:
        (before,) = watcher.execute("PRAGMA data_version").fetchone()
        for _ in range(100):
            assert await fail(store, clock) is None
            await store.read("copilot")
        (after,) = watcher.execute("PRAGMA data_version").fetchone()
    assert after == before


async def test_a_change_by_another_is_seen_at_the_very_next_request(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    assert await state_of(store, clock) is CircuitState.CLOSED
    async with another(path, clock) as other:
        await fail(other, clock)
        assert await fail(store, clock) is None
        await other.change_all(reset)
        assert await state_of(store, clock) is CircuitState.CLOSED


# ---- other eyes, other files


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX matter")
async def test_folder_and_files_are_for_this_user_alone_whatever_the_umask(path: Path, clock: ManualClock) -> None:
    before = os.umask(0)
    try:
        async with another(path, clock) as store:
            await fail(store, clock)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in [path.parent, *path.parent.iterdir()]}
    finally:
        os.umask(before)
    assert modes == {"state": 0o700, "circuits.db": 0o600, "circuits.db-wal": 0o600, "circuits.db-shm": 0o600}


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX matter")
async def test_an_open_folder_and_file_of_ours_are_closed_and_other_files_in_it_left_alone(
    path: Path, clock: ManualClock
) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    for file in (path, path.with_name("notes.txt")):
        file.touch()
        file.chmod(0o644)
    async with another(path, clock) as store:
        await fail(store, clock)
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (path.parent, path, path.with_name("notes.txt"))]
    assert modes == [0o700, 0o600, 0o644]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX matter")
@pytest.mark.parametrize("place", ["home", "working folder", "shared by all"])
async def test_a_folder_that_is_not_ours_alone_keeps_its_permissions(
    place: str, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = 0o1777 if place == "shared by all" else 0o755
    tmp_path.chmod(mode)
    if place == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
    if place == "working folder":
        monkeypatch.chdir(tmp_path)
    async with another(tmp_path / "circuits.db", clock) as store:
        await fail(store, clock)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "circuits.db").stat().st_mode) == 0o600


async def test_a_database_of_another_program_is_left_as_it_is(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    await fail(store, clock)
    assert path.read_bytes() == before
    assert await state_of(store, clock) is OPEN
    assert "another program" in str(store.trouble)


# ---- f82: locked


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


async def test_f82_a_locked_file_costs_one_request_a_moment_and_no_other_anything(
    store: SqliteStore, path: Path, clock: ManualClock, telemetry: Telemetry
) -> None:
    await store.read("copilot")
    with locked(path):
        begun = time.monotonic()
        await fail(store, clock)
        first = time.monotonic() - begun
        begun = time.monotonic()
        for tier in range(100):
            await fail(store, clock, f"tier {tier}")
        others = time.monotonic() - begun
        assert await state_of(store, clock) is OPEN
        assert "is locked by another program" in str(store.trouble)
    assert troubles(telemetry) == [store.trouble]
    assert 0.05 <= first < 3 * 0.05 + 0.2
    assert others < 3 * 0.05


async def test_f82_while_the_file_is_locked_the_event_loop_goes_on(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    await store.read("copilot")
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.001)

    with locked(path):
        heart = asyncio.create_task(beat())
        await asyncio.gather(*(fail(store, clock, f"tier {number}") for number in range(50)))
        heart.cancel()
    assert beats > 5, "waiting for the lock stopped everybody else"


async def test_f82_when_the_lock_is_gone_the_file_gets_what_happened_meanwhile(
    store: SqliteStore, path: Path, clock: ManualClock, telemetry: Telemetry
) -> None:
    await store.read("copilot")
    with locked(path):
        await fail(store, clock)
    async with another(path, clock) as other:
        clock.advance(9.0)
        assert await state_of(store, clock) is OPEN
        assert await state_of(other, clock) is CircuitState.CLOSED, "tried again before its time"
        clock.advance(1.0)
        await store.read("copilot")
        assert await state_of(other, clock) is OPEN
    assert store.trouble is None
    assert troubles(telemetry)[1:] == [None]


async def test_f82_a_lock_that_lasts_is_told_once(
    store: SqliteStore, path: Path, clock: ManualClock, telemetry: Telemetry
) -> None:
    await store.read("copilot")
    with locked(path):
        for _ in range(5):
            await fail(store, clock)
            clock.advance(400.0)
    assert len(troubles(telemetry)) == 1


async def test_what_another_process_wrote_meanwhile_wins(store: SqliteStore, path: Path, clock: ManualClock) -> None:
    await store.read("copilot")
    with locked(path):
        await fail(store, clock)
    async with another(path, clock) as other:
        await fail(other, clock)
        await other.change_all(reset)
    clock.advance(10.0)
    assert await state_of(store, clock) is CircuitState.CLOSED


async def test_a_reset_made_while_the_file_was_locked_is_made_up_for(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    async with another(path, clock) as other:
        await fail(other, clock)
        await fail(other, clock, "cloud")
        with locked(path):
            await fail(store, clock, "cloud of another account")
            await store.change_all(reset)
        clock.advance(10.0)
        await store.read("copilot")
        shown = [await state_of(other, clock, tier) for tier in ("copilot", "cloud", "cloud of another account")]
    assert shown == [CircuitState.CLOSED] * 3


# ---- f83: damaged, newer, read-only, full


@pytest.mark.parametrize("damage", ["no database at all", "a torn page", "cut short"])
async def test_f83_a_damaged_file_is_kept_aside_and_a_new_one_begun(
    damage: str, store: SqliteStore, path: Path, clock: ManualClock, telemetry: Telemetry
) -> None:
    async with another(path, clock) as before:
        for number in range(200):
            await fail(before, clock, f"tier {number}")
    whole = path.read_bytes()
    path.write_bytes(
        {
            "no database at all": b"garbage" * 1_000,
            "a torn page": whole[:4096] + b"\xff" * 4096 + whole[8192:],
            "cut short": whole[: len(whole) // 2],
        }[damage]
    )
    harmed = path.read_bytes()

    await fail(store, clock)
    kept = [file for file in path.parent.iterdir() if "damaged" in file.name and file.stat().st_size]
    assert [file.read_bytes() for file in kept] == [harmed]
    assert store.trouble is None
    assert [happening.facts["note"] for happening in telemetry.recent("store")] == [
        f"{path} was damaged and is kept as {kept[0].name}"
    ]
    async with another(path, clock) as other:
        assert await state_of(other, clock) is OPEN


async def test_f83_a_file_damaged_again_and_again_is_not_renamed_for_ever(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    path.parent.mkdir()
    for _ in range(3):
        await store.aclose()
        path.write_bytes(b"garbage" * 1_000)
        await fail(store, clock)
        clock.advance(1_000.0)
    assert len([file for file in path.parent.iterdir() if "damaged" in file.name]) == 1
    assert "is damaged; delete it" in str(store.trouble)


async def test_two_processes_that_find_the_same_damage_keep_it_once(path: Path, clock: ManualClock) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1_000)
    async with another(path, clock) as one, another(path, clock) as other:
        await fail(one, clock)
        assert await state_of(other, clock) is OPEN
    assert len([file for file in path.parent.iterdir() if "damaged" in file.name]) == 1


async def test_a_file_that_was_deleted_is_made_anew_with_what_is_known(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    await fail(store, clock)
    for file in list(path.parent.iterdir()):
        file.unlink()
    await store.read("copilot")
    async with another(path, clock) as other:
        assert await state_of(other, clock) is OPEN


async def test_rows_that_somebody_deleted_are_written_anew(store: SqliteStore, path: Path, clock: ManualClock) -> None:
    await fail(store, clock)
    with closing(sqlite3.connect(path)) as somebody, somebody:
        somebody.execute("DELETE FROM circuit")
    clock.advance(300.0)
    async with asyncio.timeout(10):
        assert await fail(store, clock) is not None
    async with another(path, clock) as other:
        assert await state_of(other, clock) is OPEN


async def test_f83_a_file_of_a_newer_version_is_left_alone(store: SqliteStore, path: Path, clock: ManualClock) -> None:
    async with another(path, clock) as older:
        await fail(older, clock, "cloud")
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    await fail(store, clock)
    assert await state_of(store, clock) is OPEN
    assert path.read_bytes() == before
    assert "newer version; update ai-failover-gateway" in str(store.trouble)


@contextmanager
def own_disk(place: Path, size: str) -> Iterator[Path]:
    """A small disk of its own at `place`; skips where that is not allowed."""
    if not ROOT or shutil.which("mount") is None:
        pytest.skip("needs root and mount(8) to make a small disk")
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount a small disk here: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("filled", ["before the first request", "in mid-use"])
async def test_f83_a_full_disk_costs_nothing_but_the_sharing_and_heals_when_there_is_room(
    filled: str, tmp_path: Path, clock: ManualClock, telemetry: Telemetry
) -> None:
    with own_disk(tmp_path / "disk", "400k") as disk:
        store = SqliteStore(disk / "state" / "circuits.db", clock, telemetry=telemetry)
        if filled == "in mid-use":
            await fail(store, clock, "cloud")
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"x" * 4096)
            except OSError:
                pass
        for number in range(200):
            await fail(store, clock, f"tier {number}")
        assert "the disk is full; free some space" in str(store.trouble)
        assert await state_of(store, clock, "tier 7") is OPEN
        await store.change_all(reset)
        assert await state_of(store, clock, "tier 7") is CircuitState.CLOSED
        await fail(store, clock, "tier 7")
        assert len(troubles(telemetry)) == 1

        (disk / "ballast").unlink()
        clock.advance(10.0)
        await store.read("cloud")
        assert store.trouble is None
        async with another(disk / "state" / "circuits.db", clock) as other:
            assert await state_of(other, clock, "tier 7") is OPEN
            assert await state_of(other, clock, "cloud") is CircuitState.CLOSED
        await store.aclose()


async def test_f83_a_disk_that_cannot_be_written_costs_nothing_but_the_sharing(
    tmp_path: Path, clock: ManualClock, telemetry: Telemetry
) -> None:
    with own_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "state" / "circuits.db"
        async with another(path, clock) as before:
            await fail(before, clock, "cloud")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        async with aclosing(SqliteStore(path, clock, telemetry=telemetry)) as store:
            await fail(store, clock)
            assert await state_of(store, clock) is OPEN
            assert "make its folder writable, or set AI_GATEWAY_STATE_DIR" in str(store.trouble)
        assert len(troubles(telemetry)) == 1


@pytest.mark.skipif(ROOT or os.name != "posix", reason="root may write anywhere")
async def test_f83_a_folder_without_permission_costs_nothing_but_the_sharing(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    path.parent.mkdir(mode=0o500)
    await fail(store, clock)
    assert await state_of(store, clock) is OPEN
    assert "make its folder writable" in str(store.trouble)


async def test_f83_a_file_in_the_folders_place_costs_nothing_but_the_sharing(
    store: SqliteStore, path: Path, clock: ManualClock
) -> None:
    path.parent.write_text("not a folder")
    await fail(store, clock)
    assert await state_of(store, clock) is OPEN
    assert str(store.trouble).startswith(f"Circuits are kept in memory: {path} cannot be used")


# ---- reboots


def rebooted(clock: ManualClock, *, off: float, calendar_error: float = 0.0) -> ManualClock:
    """The clock after the machine was off for so long."""
    return ManualClock(now=5.0, wall=clock.wall() + off + calendar_error)


async def test_a_wait_goes_on_after_a_reboot_for_the_time_it_has_left(path: Path, clock: ManualClock) -> None:
    async with another(path, clock) as store:
        await fail(store, clock)
    later = rebooted(clock, off=100.0)
    async with another(path, later, boot="the next boot") as store:
        assert (await store.read("copilot")).remaining(later.span()) == 200.0


async def test_an_endless_wait_survives_a_reboot(path: Path, clock: ManualClock) -> None:
    refused = Outcome(End.HOLD, Reason.UNAUTHORIZED, math.inf)
    async with another(path, clock) as store:
        permit = await store.update("copilot", lambda circuit: admit(circuit, POLICY, clock.span()))
        assert permit is not None
        await store.update("copilot", lambda circuit: (record(circuit, permit, refused, POLICY, clock.span()), None))
    later = rebooted(clock, off=1e7)
    async with another(path, later, boot="the next boot") as store:
        circuit = await store.read("copilot")
    assert (circuit.remaining(later.span()), circuit.reason) == (math.inf, Reason.UNAUTHORIZED)


async def test_f68_a_calendar_set_back_during_a_reboot_makes_nobody_wait_longer_than_granted(
    path: Path, clock: ManualClock
) -> None:
    async with another(path, clock) as store:
        await fail(store, clock)
    later = rebooted(clock, off=60.0, calendar_error=-86_400.0)
    async with another(path, later, boot="the next boot") as store:
        assert (await store.read("copilot")).remaining(later.span()) == 300.0
    later.advance(200.0)
    async with another(path, later, boot="the next boot") as third:
        assert (await third.read("copilot")).remaining(later.span()) == 100.0, "the wait began anew"


async def test_f68_setting_the_calendar_changes_nothing_while_the_machine_runs(path: Path, clock: ManualClock) -> None:
    async with another(path, clock) as store:
        await fail(store, clock)
        for hours in (-24, -1, 1, 24):
            clock.set_wall(clock.wall() + 3_600.0 * hours)
            async with another(path, clock) as other:
                assert (await other.read("copilot")).remaining(clock.span()) == 300.0


async def test_f70_time_asleep_counts(path: Path, clock: ManualClock) -> None:
    async with another(path, clock) as store:
        await fail(store, clock)
        clock.suspend(8 * 3_600.0)
        assert await state_of(store, clock) is CircuitState.HALF_OPEN


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
