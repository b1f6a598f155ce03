"""Two processes' stores and one file that is locked, deleted and replaced by garbage at any time.

No call is ever harmed, and as soon as the file can be used again both stores say the same.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway_core.circuit import NEUTRAL, SUCCESS, CircuitPolicy, End, Outcome, Permit, admit, record, reset
from gateway_core.circuit.sqlite import SqliteStore
from gateway_core.testing.clock import ManualClock
from gateway_core.types import Reason

POLICY = CircuitPolicy(failure_threshold=1, recovery_timeout=60.0)
TIERS = ["copilot", "cloud"]
ENDS = [SUCCESS, NEUTRAL, Outcome(End.FAILURE, Reason.RESET), Outcome(End.HOLD, Reason.RATE_LIMITED)]
STORES = st.integers(0, 1)
TIER = st.sampled_from(TIERS)


class SharedFile(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="circuits-"))
        self.path = self.folder / "state" / "circuits.db"
        self.clock = ManualClock()
        # No patience: what is locked stays locked for the whole call, so waiting would only cost time.
        self.stores = [SqliteStore(self.path, self.clock, boot="boot", patience=0.0) for _ in range(2)]
        self.runner = asyncio.Runner()
        self.lock: sqlite3.Connection | None = None
        self.under_way: list[tuple[str, Permit]] = []

    @rule(which=STORES, tier=TIER)
    def call(self, which: int, tier: str) -> None:
        now = self.clock.span()
        permit = self.runner.run(self.stores[which].update(tier, lambda circuit: admit(circuit, POLICY, now)))
        if permit is not None:
            self.under_way.append((tier, permit))

    @precondition(lambda self: self.under_way)
    @rule(which=STORES, number=st.integers(0, 7), end=st.sampled_from(ENDS))
    def end(self, which: int, number: int, end: Outcome) -> None:
        tier, permit = self.under_way.pop(number % len(self.under_way))
        now = self.clock.span()
        self.runner.run(
            self.stores[which].update(tier, lambda circuit: (record(circuit, permit, end, POLICY, now), None))
        )

    @rule(which=STORES)
    def reset(self, which: int) -> None:
        self.runner.run(self.stores[which].change_all(reset))
        for tier in TIERS:
            state = self.runner.run(self.stores[which].read(tier)).state
            assert state == "closed", "a reset did not close"

    @precondition(lambda self: self.lock is None and self.path.exists())
    @rule()
    def lock_file(self) -> None:
        self.lock = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        try:
            self.lock.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError:  # it is damaged just now
            self.unlock_file()

    @precondition(lambda self: self.lock is not None)
    @rule()
    def unlock_file(self) -> None:
        assert self.lock is not None
        self.lock.close()
        self.lock = None

    @precondition(lambda self: self.lock is None)
    @rule()
    def delete_files(self) -> None:
        shutil.rmtree(self.path.parent, ignore_errors=True)

    @precondition(lambda self: self.lock is None and self.path.exists())
    @rule()
    def replace_by_garbage(self) -> None:
        new = self.path.with_name("garbage")
        new.write_bytes(b"garbage" * 999)
        new.replace(self.path)

    @rule(seconds=st.sampled_from([1.0, 10.0, 61.0]))
    def time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def heal(self) -> None:
        """Whatever went before: with a usable file, after one retry, all is as if nothing had been."""
        if self.lock is not None:
            self.unlock_file()
        if any("is damaged" in (store.trouble or "") for store in self.stores):
            shutil.rmtree(self.path.parent)  # as the sentence in `trouble` advises
        for _ in range(2):
            self.clock.advance(10.0)
            for store in self.stores:
                self.runner.run(store.read(TIERS[0]))
        if any("is damaged" in (store.trouble or "") for store in self.stores):
            return
        assert [store.trouble for store in self.stores] == [None, None]
        for tier in TIERS:
            one, other = (self.runner.run(store.read(tier)) for store in self.stores)
            assert one == other

    def teardown(self) -> None:
        if not hasattr(self, "stores"):
            return
        if self.lock is not None:
            self.unlock_file()
        for store in self.stores:
            self.runner.run(store.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)


TestSharedFile = SharedFile.TestCase
TestSharedFile.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
