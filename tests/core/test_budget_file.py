"""The file of what was spent: shared by processes, and never in the way of a request."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from gateway_core import Gateway, Settings
from gateway_core.budget import Spent
from gateway_core.budget_file import FileLedger
from gateway_core.erasure import erase
from gateway_core.testing import ManualClock

DAY = "2026-11-23"
ONE = Spent(10, 3, 0.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgets.db"


def ledger(path: Path, clock: ManualClock | None = None, **options) -> FileLedger:
    return FileLedger(path, clock or ManualClock(), **options)


async def test_what_one_adds_the_other_reads(path):
    one, other = ledger(path), ledger(path)
    await one.add(DAY, "cloud", ONE)
    await other.add(DAY, "cloud", ONE)
    await other.add(DAY, "copilot", ONE)

    assert dict(await one.read(DAY)) == {"cloud": Spent(20, 6, 0.5), "copilot": ONE}
    assert dict(await one.read("2026-11-24")) == {}
    assert one.trouble is None


async def test_nothing_is_lost_or_counted_twice_between_processes(path):
    told = """
import asyncio, sys
from pathlib import Path
from gateway_core.budget import Spent
from gateway_core.budget_file import FileLedger
from gateway_core.clock import SystemClock
async def main():
    ledger = FileLedger(Path(sys.argv[1]), SystemClock(), patience=60)
    for _ in range(25):
        await ledger.add("2026-11-23", "cloud", Spent(1, 0, 0.5))
asyncio.run(main())
"""
    command = (sys.executable, "-c", told, str(path))
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    async with asyncio.timeout(120):
        codes = [await process.wait() for process in processes]

    assert codes == [0, 0, 0]
    assert dict(await ledger(path).read(DAY)) == {"cloud": Spent(75, 0, 37.5)}


async def test_many_at_once_in_one_process(path):
    one = ledger(path)
    await asyncio.gather(*(one.add(DAY, "cloud", ONE) for _ in range(50)))

    assert (await one.read(DAY))["cloud"] == Spent(500, 150, 12.5)


async def test_while_the_file_is_locked_it_counts_in_memory_and_makes_up_for_it_later(path):
    clock = ManualClock()
    one = ledger(path, clock, patience=0.05)
    await one.add(DAY, "cloud", ONE)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        await one.add(DAY, "cloud", ONE)
        during = dict(await one.read(DAY))
        trouble = one.trouble
        other.execute("ROLLBACK")
    clock.advance(11)
    after = dict(await one.read(DAY))

    assert during == after == {"cloud": Spent(20, 6, 0.5)}
    assert trouble is not None
    assert "counted in memory" in trouble
    assert one.trouble is None
    assert dict(await ledger(path).read(DAY)) == after


async def test_the_loop_runs_on_while_another_process_holds_the_file(path):
    one = ledger(path, patience=0.5)
    await one.add(DAY, "cloud", ONE)
    gaps, last = [], asyncio.get_running_loop().time()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        reading = asyncio.create_task(one.read(DAY))
        while not reading.done():
            await asyncio.sleep(0.01)
            now = asyncio.get_running_loop().time()
            gaps.append(now - last)
            last = now

    assert len(gaps) > 8  # standing still for the patience would leave one or two


async def test_many_requests_that_meet_a_held_file_wait_for_it_once(path):
    one = ledger(path, patience=0.1)
    await one.add(DAY, "cloud", ONE)
    gaps = [0.0]

    async def watch() -> None:
        while True:
            before = asyncio.get_running_loop().time()
            await asyncio.sleep(0.01)
            gaps.append(asyncio.get_running_loop().time() - before)

    async def asked() -> None:
        await one.read(DAY)
        await one.add(DAY, "cloud", ONE)

    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        watching = asyncio.create_task(watch())
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(asked() for _ in range(100)))
        took = asyncio.get_running_loop().time() - begun
        watching.cancel()
        other.execute("ROLLBACK")

    assert took < 3  # one after the other they would take more than 10
    assert max(gaps) < 1.5  # nor does an answer that is being written stand still meanwhile
    assert (await one.read(DAY))["cloud"] == Spent(1010, 303, 25.25)


async def test_a_count_that_no_file_can_hold_fails_no_request(path):
    one = ledger(path)
    await one.add(DAY, "cloud", Spent(10**30))

    assert (await one.read(DAY))["cloud"].tokens == 10**30
    assert one.trouble is not None


async def test_a_damaged_file_is_set_aside_and_what_is_remembered_of_it_kept(path):
    one = ledger(path)
    await one.add(DAY, "cloud", ONE)
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    await one.add(DAY, "cloud", ONE)

    assert dict(await ledger(path).read(DAY)) == {"cloud": Spent(20, 6, 0.5)}
    assert one.trouble is None
    assert len(list(path.parent.glob("budgets.db.damaged-*"))) == 1


@pytest.mark.parametrize(
    ("pragma", "words"),
    [
        ("application_id = 0x41494742; PRAGMA user_version = 99", "newer version"),
        ("application_id = 7", "another program"),
    ],
)
async def test_a_file_that_is_not_to_be_touched_is_left_as_it_is(path, pragma, words):
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.executescript(f"PRAGMA {pragma}; CREATE TABLE theirs (x);")
    before = path.read_bytes()
    one = ledger(path)
    await one.add(DAY, "cloud", ONE)

    assert dict(await one.read(DAY)) == {"cloud": ONE}
    assert words in str(one.trouble)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")
async def test_only_its_owner_may_read_it(path):
    await ledger(path).add(DAY, "cloud", ONE)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_place_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "state").write_text("a file")
    one = ledger(tmp_path / "state" / "budgets.db")
    await one.add(DAY, "cloud", ONE)

    assert dict(await one.read(DAY)) == {"cloud": ONE}
    assert "AI_GATEWAY_STATE_DIR" in str(one.trouble)


async def test_days_long_gone_are_forgotten(path):
    one = ledger(path)
    await one.add("2026-09-01", "cloud", ONE)
    await one.add(DAY, "cloud", ONE)

    assert dict(await one.read("2026-09-01")) == {}


async def test_erase_all_takes_it_and_a_plain_erase_does_not(path):
    await ledger(path).add(DAY, "cloud", ONE)
    erase(path.parent)
    is_left = path.exists()
    erase(path.parent, everything=True)

    assert (is_left, path.exists()) == (True, False)
    assert dict(await ledger(path).read(DAY)) == {}


async def test_a_gateway_tells_that_its_budgets_are_not_shared(empty_home):
    folder = empty_home / "state" / "budgets.db"
    folder.mkdir(parents=True)
    async with Gateway.from_settings(Settings(cloud_daily_tokens=5)) as gateway:
        status = await gateway.status()

    assert any("Budgets are counted in memory" in note for note in status.notes)
