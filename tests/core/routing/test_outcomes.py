"""What a circuit hears of each way a call can end."""

from __future__ import annotations

import asyncio
import math

import pytest

from gateway_core.circuit import NEUTRAL, SUCCESS, CircuitPolicy, End, MemoryStore, Outcome, admit, record
from gateway_core.circuit.machine import CLOSED, Circuit, CircuitState, Permit
from gateway_core.errors import (
    ContextTooLong,
    PromptRefused,
    PromptTooLong,
    QuotaUsedUp,
    RateLimited,
    TierBroken,
    TierFailed,
    TierUnavailable,
    TierUnreachable,
    Unauthorized,
)
from gateway_core.routing.outcomes import outcome_of
from gateway_core.types import Reason

FAILURE, HOLD = End.FAILURE, End.HOLD


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        pytest.param(None, SUCCESS, id="a finished answer is a success"),
        pytest.param(TierUnreachable("copilot"), Outcome(FAILURE, Reason.CONNECT_REFUSED), id="no way there counts"),
        pytest.param(TierBroken("copilot"), Outcome(FAILURE, Reason.UPSTREAM_ERROR), id="a broken answer counts"),
        pytest.param(
            TierBroken("copilot", wait=5.0),
            Outcome(FAILURE, Reason.UPSTREAM_ERROR, 5.0),
            id="a failure that names a wait hands it on",
        ),
        pytest.param(RateLimited("copilot"), Outcome(HOLD, Reason.RATE_LIMITED), id="a rate limit holds"),
        pytest.param(
            RateLimited("copilot", wait=60.0), Outcome(HOLD, Reason.RATE_LIMITED, 60.0), id="for the time it named"
        ),
        pytest.param(
            RateLimited("copilot", wait=9e9), Outcome(HOLD, Reason.RATE_LIMITED, 86_400.0), id="but a day at most"
        ),
        pytest.param(
            RateLimited("copilot", wait=-3.0), Outcome(HOLD, Reason.RATE_LIMITED, 0.0), id="a moment in the past is now"
        ),
        pytest.param(
            RateLimited("copilot", wait=math.nan), Outcome(HOLD, Reason.RATE_LIMITED), id="nonsense names no time"
        ),
        pytest.param(
            QuotaUsedUp("copilot", wait=2e6),
            Outcome(HOLD, Reason.QUOTA_USED_UP, 2e6),
            id="a used-up quota holds until its date, however far",
        ),
        pytest.param(QuotaUsedUp("copilot"), Outcome(HOLD, Reason.QUOTA_USED_UP, 3_600.0), id="or for an hour"),
        pytest.param(
            Unauthorized("copilot"),
            Outcome(HOLD, Reason.UNAUTHORIZED, math.inf),
            id="a refused credential holds until it changes",
        ),
        pytest.param(ContextTooLong("copilot"), NEUTRAL, id="too small a window is nobody's failure"),
        pytest.param(TierUnavailable("copilot", reason=Reason.OFFLINE), NEUTRAL, id="offline is not failed"),
        pytest.param(
            TierUnavailable("copilot", reason=Reason.CLOCK_GAP), NEUTRAL, id="a sleeping laptop is not failed"
        ),
        pytest.param(PromptRefused("no"), NEUTRAL, id="the caller's error is the caller's"),
        pytest.param(PromptTooLong("no"), NEUTRAL, id="so is too long a prompt"),
        pytest.param(asyncio.CancelledError(), NEUTRAL, id="a cancelled call says nothing"),
        pytest.param(GeneratorExit(), NEUTRAL, id="a reader who left says nothing"),
        pytest.param(KeyboardInterrupt(), NEUTRAL, id="Ctrl-C says nothing"),
        pytest.param(ZeroDivisionError(), Outcome(FAILURE, Reason.INTERNAL), id="f67: a bug of ours counts, and ends"),
    ],
)
def test_the_circuit_hears(failure: BaseException | None, outcome: Outcome) -> None:
    assert outcome_of(failure) == outcome


@pytest.mark.parametrize(
    "reason",
    [
        Reason.CONNECT_TIMEOUT,
        Reason.FIRST_TOKEN_TIMEOUT,
        Reason.THINKING_TIMEOUT,
        Reason.STALLED,
    ],
)
def test_f58_a_time_out_counts_only_if_the_tier_had_its_whole_time(reason: Reason) -> None:
    failure = TierBroken("copilot", reason=reason)
    assert outcome_of(failure, had_its_time=True) == Outcome(FAILURE, reason)
    assert outcome_of(failure, had_its_time=False) == NEUTRAL


def test_what_is_no_time_out_counts_however_little_time_there_was() -> None:
    assert outcome_of(TierBroken("copilot", reason=Reason.RESET), had_its_time=False).end is FAILURE


CALLERS_OWN = [
    pytest.param(asyncio.CancelledError(), id="cancelled"),
    pytest.param(GeneratorExit(), id="hung up"),
    pytest.param(PromptRefused("no"), id="refused prompt"),
]
POLICY = CircuitPolicy(failure_threshold=2)


async def _ends(store: MemoryStore, failure: BaseException | None, now: float) -> Permit | None:
    permit = await store.update("copilot", lambda circuit: admit(circuit, POLICY, now))
    assert permit is not None
    outcome = outcome_of(failure)
    await store.update("copilot", lambda circuit: (record(circuit, permit, outcome, POLICY, now), None))
    return permit


@pytest.mark.parametrize("own", CALLERS_OWN)
async def test_the_callers_own_ends_never_open_a_circuit(own: BaseException) -> None:
    store = MemoryStore()
    for _ in range(5):
        await _ends(store, own, 0.0)
    assert await store.read("copilot") == CLOSED


@pytest.mark.parametrize("own", CALLERS_OWN)
async def test_the_callers_own_ends_never_wipe_a_streak(own: BaseException) -> None:
    store = MemoryStore()
    for end in (TierBroken("copilot"), own, TierBroken("copilot")):
        await _ends(store, end, 0.0)
    assert (await store.read("copilot")).state is CircuitState.OPEN


@pytest.mark.parametrize("own", CALLERS_OWN)
async def test_f63_the_callers_own_end_of_a_probe_closes_nothing_and_frees_its_place(own: BaseException) -> None:
    store = MemoryStore()
    for _ in range(2):
        await _ends(store, TierBroken("copilot"), 0.0)
    await _ends(store, own, 300.0)
    assert (await store.read("copilot")).shown(300.0) is CircuitState.HALF_OPEN
    assert await _ends(store, None, 300.0) is not None


async def test_f67_a_probe_that_ends_in_a_bug_of_ours_is_not_stuck() -> None:
    store = MemoryStore()
    for _ in range(2):
        await _ends(store, TierBroken("copilot"), 0.0)
    await _ends(store, ZeroDivisionError(), 300.0)
    circuit: Circuit = await store.read("copilot")
    assert (circuit.state, circuit.remaining(300.0)) == (CircuitState.OPEN, 600.0)


def test_every_failure_of_a_tier_has_an_outcome() -> None:
    def kinds(kind: type[TierFailed]) -> list[type[TierFailed]]:
        return [kind, *(k for child in kind.__subclasses__() for k in kinds(child))]

    for kind in kinds(TierFailed):
        expected = {"counts": FAILURE, "waits": HOLD, "nothing": End.NEUTRAL}[kind.effect]
        assert outcome_of(kind("copilot")).end is expected
