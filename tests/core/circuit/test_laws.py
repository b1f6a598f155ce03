"""Laws that hold whatever happens in whatever order, searched for counterexamples.

`failure_threshold` is small and time moves by whole seconds to the interesting moments, so that the search gets far:
into long waits, late ends of old calls, lost probes, resets in between.
"""

from __future__ import annotations

import math
import os
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway_core.circuit import (
    Circuit,
    CircuitPolicy,
    CircuitState,
    End,
    Outcome,
    Permit,
    admit,
    allow_probe,
    record,
    renew,
    reset,
)
from gateway_core.types import Reason

from .model import FOREVER, Call, Model

RECOVERY, LEASE, STALL = 100.0, 17.0, 20.0
WAITS = [None, 0.0, 1.0, 5.0, 60.0, 500.0, 200_000.0, FOREVER]


class Pair:
    """The machine and the model, given the same events. Each step raises if they part, or if a law is broken."""

    def __init__(self, threshold: int) -> None:
        self.policy = CircuitPolicy(failure_threshold=threshold, recovery_timeout=RECOVERY, probe_lease=LEASE)
        self.model = Model(threshold, RECOVERY, LEASE)
        self.circuit = Circuit()
        self.now = 10_000.0
        self.permits: dict[int, Permit] = {}

    def call(self) -> None:
        left = self.model.left(self.now)
        probe_was_out = self.model.probe is not None and left > 0
        self.circuit, permit = admit(self.circuit, self.policy, self.now)
        call = self.model.admit(self.now)
        assert not (permit and probe_was_out), "two probes in one lease"
        assert (permit is None) == (call is None), "kept away" if permit is None else "let through"
        if permit is not None and call is not None:
            assert permit.is_probe == call.is_probe
            self.permits[call.number] = permit

    def end(self, which: int, end: End, wait: float | None) -> None:
        call = self.model.calls[which % len(self.model.calls)]
        before, left = self.circuit, self.circuit.remaining(self.now)
        outcome = Outcome(end, Reason.UPSTREAM_5XX if end in (End.FAILURE, End.HOLD) else None, wait)
        self.circuit = record(self.circuit, self.permits.pop(call.number), outcome, self.policy, self.now)
        if end is End.NEUTRAL:
            assert self.circuit.failures == before.failures, "a cancelled call touched the streak"
        if not call.current:
            assert self.circuit.state is before.state, "a late end moved the circuit"
            assert self.circuit.failures == before.failures, "a late end touched the streak"
            assert self.circuit.remaining(self.now) >= left, "a late end shortened a wait"
            assert not call.before_reset or self.circuit == before, "a call from before a reset was heard"
        if end is not End.SUCCESS and before.state is not CircuitState.CLOSED:
            assert self.circuit.state is not CircuitState.CLOSED, "only a finished answer closes"
        self.model.end(call, end.value, wait, self.now)

    def renew(self, which: int, lease: float) -> None:
        call: Call = self.model.calls[which % len(self.model.calls)]
        self.circuit = renew(self.circuit, self.permits[call.number], lease, self.now)
        self.model.renew(call, lease, self.now)

    def reset(self) -> None:
        self.circuit = reset(self.circuit)
        self.model.reset()

    def link_back(self) -> None:
        self.circuit = allow_probe(self.circuit, self.now, because=frozenset({Reason.UPSTREAM_5XX}))
        self.model.link_back(self.now)

    def pass_time(self, step: str) -> None:
        """To the moments where something may change, and to both sides of them; or the clock is set back."""
        left = self.model.left(self.now)
        left = left if math.isfinite(left) else 1_000_000.0
        self.now += {
            "a second": 1.0,
            "just before the end": max(0.0, left - 1.0),
            "the end": left,
            "after the end": left + 1.0,
            "eight hours": 28_800.0,
            "set back": -5_000.0,
        }[step]

    def check(self) -> None:
        model, circuit = self.model, self.circuit
        assert circuit.remaining(self.now) == model.left(self.now)
        assert circuit.remaining(self.now) <= circuit.wait, "a wait outgrew what was granted"
        assert (circuit.state is CircuitState.CLOSED) == (not model.is_open)
        assert circuit.failures == model.streak
        wanted = CircuitState.CLOSED
        if model.is_open:
            is_waiting = model.probe is None and model.left(self.now) > 0
            wanted = CircuitState.OPEN if is_waiting else CircuitState.HALF_OPEN
        assert circuit.shown(self.now) is wanted


STEPS = ["a second", "just before the end", "the end", "after the end", "eight hours", "set back"]
ENDS = list(End)


class Laws(RuleBasedStateMachine):
    threshold = 1

    @initialize()
    def begin(self) -> None:
        self.pair = Pair(self.threshold)

    @rule()
    def call(self) -> None:
        self.pair.call()

    @precondition(lambda self: self.pair.model.calls)
    @rule(which=st.integers(0, 7), end=st.sampled_from(ENDS), wait=st.sampled_from(WAITS))
    def end(self, which: int, end: End, wait: float | None) -> None:
        self.pair.end(which, end, wait)

    @precondition(lambda self: self.pair.model.calls)
    @rule(which=st.integers(0, 7))
    def renew(self, which: int) -> None:
        self.pair.renew(which, STALL)

    @rule(step=st.sampled_from(STEPS))
    def time(self, step: str) -> None:
        self.pair.pass_time(step)

    @rule()
    def reset(self) -> None:
        self.pair.reset()

    @rule()
    def link_back(self) -> None:
        self.pair.link_back()

    @invariant()
    def the_machine_is_the_model(self) -> None:
        self.pair.check()


class TwoFailures(Laws):
    threshold = 2


class ThreeFailures(Laws):
    threshold = 3


_SEARCH = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,  # the same search on every machine; new ground is broken by the schedules below
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestOneFailure = Laws.TestCase
TestTwoFailures = TwoFailures.TestCase
TestThreeFailures = ThreeFailures.TestCase
TestOneFailure.settings = TestTwoFailures.settings = TestThreeFailures.settings = _SEARCH


def run_schedule(seed: int, threshold: int, steps: int = 60) -> None:
    """One random life of a circuit. Far cheaper than the search above, so there can be very many."""
    chance = random.Random(f"{threshold}/{seed}")
    pair = Pair(threshold)
    for _ in range(steps):
        draw = chance.random()
        if draw < 0.35 or (draw < 0.78 and not pair.model.calls):
            pair.call()
        elif draw < 0.72:
            pair.end(chance.randrange(8), chance.choice(ENDS), chance.choice(WAITS))
        elif draw < 0.78:
            pair.renew(chance.randrange(8), STALL)
        elif draw < 0.96:
            pair.pass_time(chance.choice(STEPS))
        elif draw < 0.98:
            pair.reset()
        else:
            pair.link_back()
        pair.check()


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_a_thousand_lives_of_a_circuit(threshold: int) -> None:
    for seed in range(1_000):
        run_schedule(seed, threshold)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_thirty_thousand_lives_never_lived_before(threshold: int) -> None:
    first = int.from_bytes(os.urandom(6), "big")
    for seed in range(first, first + 30_000):
        try:
            run_schedule(seed, threshold)
        except AssertionError as broken:
            raise AssertionError(f"run_schedule({seed}, {threshold}): {broken}") from broken
