"""The circuit of one tier: a frozen value and the functions that give the next one. No clock, no I/O.

    CLOSED ──(threshold failures in a row, or a refusal that names a wait)──▶ OPEN
      ▲                                                                        │ the wait is over:
      └──────(the probe's answer is finished)────── HALF_OPEN ◀── one caller ──┘ asks again, on a lease

What a call ends in decides what its circuit hears:

- a success (the answer's end marker was seen) closes it and forgets the past;
- a failure counts; a streak of `failure_threshold` opens it for `recovery_timeout`; if the probe fails, it opens again
  for twice, then three times that;
- a hold (rate limit, quota, refused credential) opens it at once for its own time and does not count;
- anything else (the caller's error, a cancelled call, no network) leaves streak and state alone, and hands a
  probe's place to the next caller.

Every permit carries the generation in which it was given. State changes start a new generation, so the late end of
an old call changes nothing, except that a late hold may prolong the wait it finds: it is news about the provider.
The probe's place is leased: a caller that dies gives it back by time. Terms follow M. Nygard, *Release It!*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ..types import Reason

FIRST_HOLD = 30.0  # for a rate limit that names no time
LONGEST_NAMED_WAIT = 86_400.0
LONGEST_WAIT_FACTOR = 3


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """Seconds, but for the threshold. `probe_lease`: how long a probe may stay silent before another may go."""

    failure_threshold: int = 3
    recovery_timeout: float = 300.0
    probe_lease: float = 17.0


@dataclass(frozen=True, slots=True)
class Circuit:
    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    generation: int = 0
    since: float = 0.0  # when the present wait (OPEN) or lease (HALF_OPEN) was granted
    wait: float = 0.0  # how long it was granted for; inf: until the credential changes or a reset
    trips: int = 0  # waits in a row that ended in a failed probe
    holds: int = 0  # holds in a row that named no time
    reason: Reason | None = None
    reset_at: int = 0  # generation of the last reset: no permit from before it is heard

    def remaining(self, now: float) -> float:
        """Seconds left of the wait or lease. A clock set back behind its start ends it: it never grows."""
        elapsed = now - self.since
        return max(0.0, self.wait - elapsed) if elapsed >= 0 else 0.0

    def shown(self, now: float) -> CircuitState:
        """The state to show: an open circuit whose wait is over is half-open, though nobody has called yet."""
        if self.state is CircuitState.OPEN and self.remaining(now) <= 0:
            return CircuitState.HALF_OPEN
        return self.state


CLOSED = Circuit()


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to call the tier once."""

    generation: int
    is_probe: bool = False


class End(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    HOLD = "hold"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. `wait`: seconds the tier asked to be left alone (a failure may name one too)."""

    end: End
    reason: Reason | None = None
    wait: float | None = None


SUCCESS = Outcome(End.SUCCESS)
NEUTRAL = Outcome(End.NEUTRAL)


def admit(circuit: Circuit, policy: CircuitPolicy, now: float) -> tuple[Circuit, Permit | None]:
    """Ask to call the tier. `None` means: leave it out this time."""
    if circuit.state is CircuitState.CLOSED:
        return circuit, Permit(circuit.generation)
    if circuit.remaining(now) > 0:
        return circuit, None
    probing = _moved(circuit, CircuitState.HALF_OPEN, now, policy.probe_lease)
    return probing, Permit(probing.generation, is_probe=True)


def renew(circuit: Circuit, permit: Permit, lease: float, now: float) -> Circuit:
    """The probe gave a sign of life: it may stay silent for `lease` more seconds."""
    if circuit.state is CircuitState.HALF_OPEN and permit.generation == circuit.generation:
        return replace(circuit, since=now, wait=lease)
    return circuit


def record(circuit: Circuit, permit: Permit, outcome: Outcome, policy: CircuitPolicy, now: float) -> Circuit:
    """The circuit after a call has ended."""
    if permit.generation != circuit.generation:
        return circuit if permit.generation < circuit.reset_at else _prolonged(circuit, outcome, policy, now)
    match outcome.end:
        case End.SUCCESS:
            # With nothing to forget this is the same value, and stores need not write.
            generation = circuit.generation + (circuit.state is not CircuitState.CLOSED)
            return Circuit(generation=generation, reset_at=circuit.reset_at)
        case End.HOLD:
            return _held(circuit, outcome, policy, now)
        case End.FAILURE:
            return _failed(circuit, outcome, policy, now)
    if circuit.state is CircuitState.HALF_OPEN:  # the next caller may probe at once
        return _moved(circuit, CircuitState.OPEN, now, 0.0)
    return circuit


def reset(circuit: Circuit) -> Circuit:
    """Closed by hand. The new generation makes every call under way, the probe too, a call of the past."""
    generation = circuit.generation + 1
    return Circuit(generation=generation, reset_at=generation)


def allow_probe(circuit: Circuit, now: float, *, because: frozenset[Reason]) -> Circuit:
    """End the wait of a circuit that opened for one of these reasons: the network is back, ask again now."""
    if circuit.state is CircuitState.OPEN and circuit.reason in because and circuit.remaining(now) > 0:
        return replace(circuit, since=now, wait=0.0)
    return circuit


def _failed(circuit: Circuit, outcome: Outcome, policy: CircuitPolicy, now: float) -> Circuit:
    counted = replace(circuit, failures=circuit.failures + 1, reason=outcome.reason)
    asked = min(outcome.wait or 0.0, LONGEST_NAMED_WAIT)
    if counted.failures >= policy.failure_threshold or circuit.trips:
        wait = min(2**circuit.trips, LONGEST_WAIT_FACTOR) * policy.recovery_timeout
        tripped = replace(counted, trips=min(circuit.trips + 1, 2))
        return _moved(tripped, CircuitState.OPEN, now, max(asked, wait))
    if circuit.state is CircuitState.CLOSED and not asked:
        return counted
    # Below the threshold: it named a wait, or it was the probe after a hold. Only a finished answer closes, so the
    # next caller probes, but the streak decides when it is left alone.
    return _moved(counted, CircuitState.OPEN, now, asked)


def _held(circuit: Circuit, outcome: Outcome, policy: CircuitPolicy, now: float) -> Circuit:
    held = replace(circuit, holds=circuit.holds + (outcome.wait is None), reason=outcome.reason)
    return _moved(held, CircuitState.OPEN, now, _hold_seconds(circuit, outcome, policy))


def _hold_seconds(circuit: Circuit, outcome: Outcome, policy: CircuitPolicy) -> float:
    if outcome.wait is not None:
        return outcome.wait
    return min(FIRST_HOLD * 2.0 ** min(circuit.holds, 16), policy.recovery_timeout)


def _prolonged(circuit: Circuit, outcome: Outcome, policy: CircuitPolicy, now: float) -> Circuit:
    if circuit.state is not CircuitState.OPEN or outcome.end is not End.HOLD:
        return circuit
    wait = _hold_seconds(replace(circuit, holds=0), outcome, policy)
    if wait <= circuit.remaining(now):
        return circuit
    return replace(circuit, since=now, wait=wait, reason=outcome.reason)


def _moved(circuit: Circuit, state: CircuitState, now: float, wait: float) -> Circuit:
    return replace(circuit, state=state, generation=circuit.generation + 1, since=now, wait=wait)
