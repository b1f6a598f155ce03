# ruff: noqa: ASYNC240 - these tests look at small files of their own
"""What only the file store must get right: trouble with the file, other eyes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path

import pytest

from gateway_core.circuit import CircuitPolicy, CircuitState, End, Outcome, Permit, admit, record, reset
from gateway_core.circuit.sqlite import SqliteStore
from gateway_core.telemetry import Telemetry
from gateway_core.testing.clock import ManualClock
from gateway_core.types import Reason
from tests.disks import IS_ROOT, fill, forbid_writing, own_disk

POLICY = CircuitPolicy(failure_threshold=1)
FAILURE = Outcome(End.FAILURE, Reason.UPSTREAM_5XX)
OPEN = CircuitState.OPEN


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
    # With the loop blocked there would be one beat, or two: how many there are depends on the machine's other work.
    assert beats > 2, "waiting for the lock stopped everybody else"


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


@pytest.mark.parametrize("filled", ["before the first request", "in mid-use"])
async def test_f83_a_full_disk_costs_nothing_but_the_sharing_and_heals_when_there_is_room(
    filled: str, tmp_path: Path, clock: ManualClock, telemetry: Telemetry
) -> None:
    with own_disk(tmp_path / "disk", "400k") as disk:
        store = SqliteStore(disk / "state" / "circuits.db", clock, telemetry=telemetry)
        if filled == "in mid-use":
            await fail(store, clock, "cloud")
        ballast = fill(disk)
        for number in range(200):
            await fail(store, clock, f"tier {number}")
        assert "the disk is full; free some space" in str(store.trouble)
        assert await state_of(store, clock, "tier 7") is OPEN
        await store.change_all(reset)
        assert await state_of(store, clock, "tier 7") is CircuitState.CLOSED
        await fail(store, clock, "tier 7")
        assert len(troubles(telemetry)) == 1

        ballast.unlink()
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
        forbid_writing(disk)
        async with aclosing(SqliteStore(path, clock, telemetry=telemetry)) as store:
            await fail(store, clock)
            assert await state_of(store, clock) is OPEN
            assert "make its folder writable, or set AI_GATEWAY_STATE_DIR" in str(store.trouble)
        assert len(troubles(telemetry)) == 1


@pytest.mark.skipif(IS_ROOT or os.name != "posix", reason="root may write anywhere")
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
