"""The transition table, and the rows of the fault table that a circuit alone can prove."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from gateway_core.circuit import (
    NEUTRAL,
    SUCCESS,
    Circuit,
    CircuitPolicy,
    CircuitState,
    End,
    MemoryStore,
    Outcome,
    Permit,
    admit,
    allow_probe,
    record,
    renew,
    reset,
)
from gateway_core.types import Reason

NOW = 1_000.0
POLICY = CircuitPolicy(failure_threshold=3, recovery_timeout=300.0, probe_lease=17.0)
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

FAILURE = Outcome(End.FAILURE, Reason.UPSTREAM_5XX)
LIMITED = Outcome(End.HOLD, Reason.RATE_LIMITED)


def failure(wait: float | None = None) -> Outcome:
    return Outcome(End.FAILURE, Reason.UPSTREAM_5XX, wait)


def hold(wait: float | None, reason: Reason = Reason.RATE_LIMITED) -> Outcome:
    return Outcome(End.HOLD, reason, wait)


def repr_of(outcome: Outcome) -> str:
    return str(outcome.end) if outcome.wait is None else f"{outcome.end} for {outcome.wait} s"


def closed(failures: int = 0, **rest: int) -> Circuit:
    return Circuit(failures=failures, generation=7, **rest)


def probing(failures: int = 3, trips: int = 1, **rest: int) -> Circuit:
    return Circuit(HALF_OPEN, failures, generation=7, since=NOW - 1, wait=17.0, trips=trips, **rest)


def after(circuit: Circuit, *outcomes: Outcome, now: float = NOW, policy: CircuitPolicy = POLICY) -> Circuit:
    """The circuit after calls that each began and ended now."""
    for outcome in outcomes:
        circuit, permit = admit(circuit, policy, now)
        assert permit is not None, "the circuit left the call out"
        circuit = record(circuit, permit, outcome, policy, now)
    return circuit


TABLE = [
    pytest.param(closed(), SUCCESS, CLOSED, 0, 0.0, id="an answer keeps it closed"),
    pytest.param(closed(2), SUCCESS, CLOSED, 0, 0.0, id="an answer forgets the streak"),
    pytest.param(closed(), FAILURE, CLOSED, 1, 0.0, id="the first failure only counts"),
    pytest.param(closed(1), FAILURE, CLOSED, 2, 0.0, id="the second failure only counts"),
    pytest.param(closed(2), FAILURE, OPEN, 3, 300.0, id="the third failure opens it for the recovery time"),
    pytest.param(closed(), failure(1.0), OPEN, 1, 1.0, id="a failure that names a wait gets it, and counts"),
    pytest.param(closed(2), failure(1.0), OPEN, 3, 300.0, id="a named wait never shortens the recovery time"),
    pytest.param(closed(2), failure(900.0), OPEN, 3, 900.0, id="a longer named wait wins over the recovery time"),
    pytest.param(closed(), failure(9e9), OPEN, 1, 86_400.0, id="a failure's named wait ends after a day"),
    pytest.param(closed(2), hold(60.0), OPEN, 2, 60.0, id="a rate limit waits as told and does not count"),
    pytest.param(closed(), hold(None), OPEN, 0, 30.0, id="a rate limit without a time waits 30 s"),
    pytest.param(closed(), hold(math.inf), OPEN, 0, math.inf, id="a refused credential waits for a new one"),
    pytest.param(closed(2), NEUTRAL, CLOSED, 2, 0.0, id="a cancelled call neither counts nor wipes the streak"),
    pytest.param(probing(), SUCCESS, CLOSED, 0, 0.0, id="a finished probe closes it"),
    pytest.param(probing(), FAILURE, OPEN, 4, 600.0, id="a failed probe opens it for twice as long"),
    pytest.param(probing(trips=2), FAILURE, OPEN, 4, 900.0, id="the next failed probe for three times as long"),
    pytest.param(probing(), failure(1_000.0), OPEN, 4, 1_000.0, id="a failed probe that names a longer wait gets it"),
    pytest.param(probing(), hold(60.0), OPEN, 3, 60.0, id="a rate-limited probe waits as told"),
    pytest.param(probing(), NEUTRAL, OPEN, 3, 0.0, id="a cancelled probe frees the next"),
    pytest.param(probing(0, 0), FAILURE, OPEN, 1, 0.0, id="a failed probe after a hold begins the streak"),
    pytest.param(probing(2, 0), FAILURE, OPEN, 3, 300.0, id="the third failure opens it, though a hold lay between"),
]


@pytest.mark.parametrize(("circuit", "outcome", "state", "failures", "remaining"), TABLE)
def test_a_call_ends_and_the_circuit_is(
    circuit: Circuit, outcome: Outcome, state: CircuitState, failures: int, remaining: float
) -> None:
    ended = record(circuit, Permit(7), outcome, POLICY, NOW)
    assert (ended.state, ended.failures, ended.remaining(NOW)) == (state, failures, remaining)


@pytest.mark.parametrize(
    ("circuit", "now", "shown"),
    [
        pytest.param(closed(), NOW, CLOSED, id="closed is closed"),
        pytest.param(replace(after(closed(2), FAILURE)), NOW + 299, OPEN, id="open before its time"),
        pytest.param(replace(after(closed(2), FAILURE)), NOW + 300, HALF_OPEN, id="half-open once its time is over"),
        pytest.param(after(closed(), hold(math.inf)), NOW + 1e12, OPEN, id="open for ever without a new credential"),
        pytest.param(probing(), NOW, HALF_OPEN, id="half-open while a probe is out"),
        pytest.param(probing(), NOW + 99, HALF_OPEN, id="half-open when a probe was lost"),
    ],
)
def test_users_see_the_state_as_it_is_though_nobody_calls(circuit: Circuit, now: float, shown: CircuitState) -> None:
    assert circuit.shown(now) is shown


def test_an_answer_with_nothing_to_forget_changes_nothing() -> None:
    assert record(closed(), Permit(7), SUCCESS, POLICY, NOW) == closed()


def test_holds_without_a_time_double_up_to_the_recovery_time_and_an_answer_forgets_them() -> None:
    circuit, now, waits = closed(), NOW, []
    for _ in range(6):
        circuit = after(circuit, LIMITED, now=now)
        waits.append(circuit.remaining(now))
        now += waits[-1]
    assert waits == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]

    assert after(after(circuit, SUCCESS, now=now), LIMITED, now=now).remaining(now) == 30.0


def test_a_hold_without_a_time_never_outlasts_a_short_recovery_time() -> None:
    short = CircuitPolicy(recovery_timeout=5.0)
    assert after(closed(), LIMITED, policy=short).remaining(NOW) == 5.0


def test_many_calls_limited_at_once_are_one_hold() -> None:
    circuit = closed()
    permits = [admit(circuit, POLICY, NOW)[1] for _ in range(100)]
    for permit in permits:
        assert permit is not None
        circuit = record(circuit, permit, LIMITED, POLICY, NOW)
    assert (circuit.remaining(NOW), circuit.holds) == (30.0, 1)


def test_failed_probes_wait_once_twice_and_then_always_three_times_the_recovery_time() -> None:
    circuit, now, waits = after(closed(2), FAILURE), NOW, []
    for _ in range(5):
        waits.append(circuit.remaining(now))
        now += waits[-1]
        circuit = after(circuit, FAILURE, now=now)
    assert waits == [300.0, 600.0, 900.0, 900.0, 900.0]


def test_an_answer_forgets_the_longer_waits() -> None:
    circuit = after(probing(), FAILURE, now=NOW + 99)
    healed = after(circuit, SUCCESS, now=NOW + 999)
    assert after(healed, FAILURE, FAILURE, FAILURE).remaining(NOW) == 300.0


def test_a_late_hold_prolongs_a_wait_and_a_late_shorter_one_does_not() -> None:
    circuit = closed()
    _, early = admit(circuit, POLICY, NOW)
    assert early is not None
    waiting = after(circuit, hold(60.0))

    longer = record(waiting, early, hold(600.0, Reason.QUOTA_USED_UP), POLICY, NOW + 10)
    assert (longer.remaining(NOW + 10), longer.reason) == (600.0, Reason.QUOTA_USED_UP)
    assert record(longer, early, hold(1.0), POLICY, NOW + 20) == longer
    assert record(longer, early, hold(None), POLICY, NOW + 20) == longer


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE, failure(9.0), NEUTRAL, hold(math.inf), LIMITED], ids=repr_of)
def test_a_call_from_before_a_reset_is_never_heard_again(outcome: Outcome) -> None:
    circuit = closed(2)
    _, old = admit(circuit, POLICY, NOW)
    assert old is not None
    closed_by_hand = reset(circuit)
    opened_again = after(closed_by_hand, FAILURE, FAILURE, FAILURE)
    healed = after(opened_again, SUCCESS, now=NOW + 300)
    for later in (closed_by_hand, opened_again, healed, after(healed, hold(5.0))):
        assert record(later, old, outcome, POLICY, NOW + 1) == later


def test_the_link_is_back_and_only_circuits_opened_by_the_cut_probe_at_once() -> None:
    because = frozenset({Reason.CONNECT_TIMEOUT})
    cut = after(closed(2), Outcome(End.FAILURE, Reason.CONNECT_TIMEOUT))
    limited = after(closed(2), hold(60.0))

    assert allow_probe(cut, NOW + 1, because=because).shown(NOW + 1) is HALF_OPEN
    assert allow_probe(limited, NOW + 1, because=because) == limited
    assert allow_probe(closed(2), NOW + 1, because=because) == closed(2)
    assert allow_probe(cut, NOW + 300, because=because) == cut, "a wait that is over needs no ending"


def test_a_renewed_lease_keeps_other_callers_away_for_exactly_its_length() -> None:
    circuit, permit = admit(after(closed(2), FAILURE), POLICY, NOW + 300)
    assert permit is not None
    renewed = renew(circuit, permit, 20.0, NOW + 310)

    assert admit(renewed, POLICY, NOW + 329)[1] is None
    assert admit(renewed, POLICY, NOW + 330)[1] is not None


def test_a_lost_probe_cannot_renew_the_lease_of_the_next() -> None:
    circuit, lost = admit(after(closed(2), FAILURE), POLICY, NOW + 300)
    assert lost is not None
    circuit, _ = admit(circuit, POLICY, NOW + 317)
    assert renew(circuit, lost, 20.0, NOW + 318) == circuit


# ---- the fault table's rows


def test_f10_a_busy_answer_with_a_time_counts_and_is_obeyed() -> None:
    circuit = after(closed(), failure(1.0))
    assert (circuit.failures, circuit.remaining(NOW)) == (1, 1.0)


def test_f11_a_rate_limit_with_a_time_skips_the_tier_for_that_time_and_does_not_count() -> None:
    circuit = after(closed(), hold(60.0))
    assert (circuit.failures, circuit.shown(NOW + 59), circuit.shown(NOW + 60)) == (0, OPEN, HALF_OPEN)


def test_f13_a_short_rate_limit_after_a_long_one_changes_nothing() -> None:
    circuit = closed()
    _, first = admit(circuit, POLICY, NOW)
    _, second = admit(circuit, POLICY, NOW)
    assert first is not None
    assert second is not None
    circuit = record(circuit, first, hold(60.0), POLICY, NOW)
    assert record(circuit, second, hold(1.0), POLICY, NOW).remaining(NOW) == 60.0


def test_f59_the_third_failure_opens_and_the_fourth_request_is_kept_away() -> None:
    circuit = after(closed(), FAILURE, FAILURE)
    assert circuit.state is CLOSED
    circuit = after(circuit, FAILURE)
    assert admit(circuit, POLICY, NOW + 299.9)[1] is None


def test_f60_two_failures_an_answer_and_two_failures_leave_it_closed() -> None:
    assert after(closed(), FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE).state is CLOSED


async def test_f61_ten_thousand_calls_after_the_wait_are_one_probe() -> None:
    store = MemoryStore()
    permits: list[Permit] = []

    async def call(outcome: Outcome, now: float) -> None:
        permit = await store.update("copilot", lambda circuit: admit(circuit, POLICY, now))
        if permit is not None:
            permits.append(permit)
            await asyncio.sleep(0)
            await store.update("copilot", lambda circuit: (record(circuit, permit, outcome, POLICY, now), None))

    for _ in range(3):
        await call(FAILURE, NOW)
    permits.clear()
    await asyncio.gather(*(call(SUCCESS, NOW + 300) for _ in range(10_000)))

    assert len([permit for permit in permits if permit.is_probe]) == 1
    assert (await store.read("copilot")).state is CLOSED


def test_f61_ten_thousand_calls_while_the_probe_is_out_are_kept_away() -> None:
    circuit = after(closed(2), FAILURE)
    admitted = 0
    for _ in range(10_000):
        circuit, permit = admit(circuit, POLICY, NOW + 300)
        admitted += permit is not None
    assert admitted == 1


def test_f62_a_failed_probe_opens_it_for_longer() -> None:
    circuit = after(after(closed(2), FAILURE), FAILURE, now=NOW + 300)
    assert (circuit.state, circuit.remaining(NOW + 300)) == (OPEN, 600.0)


def test_f63_a_cancelled_probe_hands_its_place_to_the_very_next_call() -> None:
    circuit = after(after(closed(2), FAILURE), NEUTRAL, now=NOW + 300)
    assert circuit.shown(NOW + 300) is HALF_OPEN
    _, permit = admit(circuit, POLICY, NOW + 300)
    assert permit is not None
    assert permit.is_probe


@pytest.mark.parametrize(
    ("outcome", "free_after"),
    [
        pytest.param(NEUTRAL, 0.0, id="the caller's own error: at once"),
        pytest.param(hold(60.0), 60.0, id="a rate limit: when it said"),
        pytest.param(hold(3_600.0, Reason.QUOTA_USED_UP), 3_600.0, id="a used-up quota: when it said"),
        pytest.param(FAILURE, 600.0, id="a failure: after twice the recovery time"),
    ],
)
def test_f64_however_a_probe_ends_the_next_may_go(outcome: Outcome, free_after: float) -> None:
    circuit = after(after(closed(2), FAILURE), outcome, now=NOW + 300)
    assert circuit.remaining(NOW + 300) == free_after
    assert admit(circuit, POLICY, NOW + 300 + free_after)[1] is not None


def test_f64_a_probe_whose_credential_is_refused_waits_until_it_changes_or_a_reset() -> None:
    circuit = after(after(closed(2), FAILURE), hold(math.inf, Reason.UNAUTHORIZED), now=NOW + 300)
    assert admit(circuit, POLICY, NOW + 1e12)[1] is None
    assert admit(reset(circuit), POLICY, NOW + 301)[1] is not None


def test_f65_a_probe_that_is_never_heard_of_again_is_replaced_after_its_lease() -> None:
    circuit, _ = admit(after(closed(2), FAILURE), POLICY, NOW + 300)
    assert admit(circuit, POLICY, NOW + 316.9)[1] is None
    _, second = admit(circuit, POLICY, NOW + 317)
    assert second is not None
    assert second.is_probe


@pytest.mark.parametrize("outcome", [FAILURE, SUCCESS, NEUTRAL], ids=["failures", "answers", "cancels"])
def test_f66_five_late_ends_of_old_calls_do_not_touch_the_probe(outcome: Outcome) -> None:
    circuit = closed()
    old = [admit(circuit, POLICY, NOW)[1] for _ in range(5)]
    circuit, probe = admit(after(circuit, FAILURE, FAILURE, FAILURE), POLICY, NOW + 300)
    assert probe is not None
    for permit in old:
        assert permit is not None
        assert record(circuit, permit, outcome, POLICY, NOW + 301) == circuit
    assert record(circuit, probe, SUCCESS, POLICY, NOW + 302).state is CLOSED


@pytest.mark.parametrize("outcome", [FAILURE, SUCCESS, NEUTRAL], ids=["failures", "answers", "cancels"])
def test_f66_late_ends_do_not_touch_an_open_circuit(outcome: Outcome) -> None:
    circuit = closed()
    _, old = admit(circuit, POLICY, NOW)
    assert old is not None
    circuit = after(circuit, FAILURE, FAILURE, FAILURE)
    assert record(circuit, old, outcome, POLICY, NOW + 1) == circuit


def test_f68_a_clock_set_back_never_prolongs_a_wait() -> None:
    circuit = after(closed(2), FAILURE)
    for back in (1.0, 3_600.0, 86_400.0):
        assert admit(circuit, POLICY, NOW - back)[1] is not None


def test_f70_after_eight_hours_of_sleep_the_next_call_probes() -> None:
    _, permit = admit(after(closed(2), FAILURE), POLICY, NOW + 8 * 3_600)
    assert permit is not None
    assert permit.is_probe


def test_f71_a_reset_closes_it_and_the_probe_under_way_no_longer_matters() -> None:
    circuit, probe = admit(after(closed(2), FAILURE), POLICY, NOW + 300)
    assert probe is not None
    circuit = reset(circuit)
    assert circuit.state is CLOSED
    for late in (FAILURE, SUCCESS, hold(60.0)):
        assert record(circuit, probe, late, POLICY, NOW + 301) == circuit
    assert renew(circuit, probe, 20.0, NOW + 301) == circuit


def test_f88_two_resets_among_calls_leave_it_closed() -> None:
    circuit, permits = closed(), []
    for number in range(100):
        if number in (30, 60):
            circuit = reset(circuit)
        _, permit = admit(circuit, POLICY, NOW)
        permits.append(permit)
    for permit in permits[:60]:
        assert permit is not None
        circuit = record(circuit, permit, FAILURE, POLICY, NOW)
    assert circuit.state is CLOSED
