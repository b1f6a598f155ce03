"""Several real processes share their circuits, in one file or in one Redis server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GUARD = 60.0  # seconds against hanging; nothing here should need more than a few


class Process:
    """A worker process, spoken to line by line."""

    def __init__(self, place: str, threshold: int, recovery: float, lease: float) -> None:
        command = [sys.executable, "-m", "tests.core.circuit.worker", place]
        self.process = subprocess.Popen(
            [*command, str(threshold), str(recovery), str(lease)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, order: str) -> str:
        self.tell(order)
        return self.heard()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(GUARD)

    def close(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(GUARD)


Start = Callable[..., list[Process]]


@pytest.fixture(params=["sqlite", "redis"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start several processes at the same store, all ready."""
    started: list[Process] = []
    is_file = request.param == "sqlite"
    place = str(tmp_path / "state" / "circuits.db") if is_file else request.getfixturevalue("redis_server").address

    def begin(number: int, *, threshold: int = 3, recovery: float = 300.0, lease: float = 60.0) -> list[Process]:
        new = [Process(place, threshold, recovery, lease) for _ in range(number)]
        started.extend(new)
        assert [process.heard() for process in new] == ["ready"] * number
        return new

    yield begin
    for process in started:
        process.close()


def test_failures_in_one_process_open_the_circuit_in_the_other_at_its_next_request(start: Start) -> None:
    notebook, server = start(2)
    assert server.ask("admit") == "call"
    assert server.ask("end success") == "closed"
    for _ in range(3):
        notebook.ask("admit")
        notebook.ask("end failure")
    assert server.ask("admit") == "kept away"
    assert server.ask("state") == "open"


def test_f85_three_failures_in_three_processes_open_it_for_all(start: Start) -> None:
    processes = start(3)
    for process in processes:
        assert process.ask("admit") == "call"
        process.ask("end failure")
    assert [process.ask("admit") for process in processes] == ["kept away"] * 3


def test_f61_eight_processes_after_the_wait_are_one_probe(start: Start) -> None:
    processes = start(8, threshold=1, recovery=0.2)
    processes[0].ask("admit")
    processes[0].ask("end failure")
    processes[0].ask("wait")
    for process in processes:
        process.tell("storm 200")
    assert sum(int(process.heard()) for process in processes) == 1


def test_f62_the_probe_of_one_process_decides_for_all(start: Start) -> None:
    one, other = start(2, threshold=1, recovery=0.2)
    one.ask("admit")
    one.ask("end failure")
    one.ask("wait")
    assert one.ask("admit") == "probe"
    assert other.ask("admit") == "kept away"
    assert one.ask("end success") == "closed"
    assert other.ask("admit") == "call"


def test_f65_the_probe_of_a_killed_process_is_free_after_its_lease(start: Start) -> None:
    holder, other = start(2, threshold=1, recovery=0.2, lease=1.0)
    holder.ask("admit")
    holder.ask("end failure")
    holder.ask("wait")
    assert holder.ask("admit") == "probe"
    holder.kill()
    assert other.ask("admit") == "kept away"
    assert other.ask("wait") == "over"
    assert other.ask("admit") == "probe"


def test_a_process_that_comes_later_finds_the_circuit_as_it_was_left(start: Start) -> None:
    (first,) = start(1, threshold=1)
    first.ask("admit")
    first.ask("end failure")
    first.kill()
    (second,) = start(1, threshold=1)
    assert second.ask("state") == "open"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_and_its_parent_are_both_heard(start: Start) -> None:
    (process,) = start(1, threshold=100)
    assert process.ask("fork") == "0 2 None"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("start", ["sqlite"], indirect=True)
def test_forks_in_another_thread_cost_neither_a_change_nor_the_sharing(start: Start) -> None:
    (process,) = start(1, threshold=1_000)
    assert process.ask("forks") == "300 None"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_hundred_killed_writers_leave_no_damage(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.core.circuit.killer", str(tmp_path / "circuits.db"), "100"],
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=True,
    )
    killed, verdict, *lost, failures = run.stdout.split()
    assert (killed, verdict, " ".join(lost)) == ("100", "ok", "no change lost")
    assert int(failures) > 100
