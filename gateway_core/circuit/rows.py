"""A circuit as a row of a table, and its times as they survive a reboot.

Within one boot the long clock (`Clock.span`) is exact and cannot be set. It begins anew with the next boot, so a row
also carries the calendar time and the boot it was written in. After a reboot the calendar decides, with one rule:
nobody waits longer than was granted. A wait that seems to be granted in the future counts from now.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..clock import Clock
from ..types import Reason
from .machine import CLOSED, Circuit, CircuitState

COLUMNS = (
    "state",
    "failures",
    "generation",
    "wait",
    "trips",
    "holds",
    "reason",
    "reset_at",
    "since_span",
    "since_wall",
    "boot",
)
_REASONS = {reason.value: reason for reason in Reason}
SAME_BOOT = 5.0  # seconds by which two readings of one boot's beginning may differ


def reason_named(name: str | None) -> Reason | None:
    """`None` also for a word that only a later version knows."""
    return _REASONS.get(name or "")


def boot_of(clock: Clock) -> str:
    """A name for the time since the machine was started."""
    if sys.platform == "linux":
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            pass
    return f"{clock.wall() - clock.span():.0f}"  # no name to be had: the calendar time at which it was started


def is_same_boot(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return abs(float(one) - float(other)) <= SAME_BOOT
    except ValueError:
        return False


def to_row(circuit: Circuit, clock: Clock, boot: str) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    return (
        circuit.state.value,
        circuit.failures,
        circuit.generation,
        circuit.wait,
        circuit.trips,
        circuit.holds,
        circuit.reason and circuit.reason.value,
        circuit.reset_at,
        circuit.since,
        clock.wall() - (clock.span() - circuit.since),
        boot,
    )


def from_row(row: Sequence[Any], clock: Clock, boot: str) -> Circuit:
    """The circuit of a row, its times in this boot's reading. Values that make no sense are a closed circuit."""
    state, failures, generation, wait, trips, holds, reason, reset_at, since_span, since_wall, written_in = row
    now = clock.span()
    try:
        since = float(since_span) if is_same_boot(written_in, boot) else now - (clock.wall() - float(since_wall))
        return Circuit(
            state=CircuitState(state),
            failures=int(failures),
            generation=int(generation),
            since=min(since, now),
            wait=float(wait),
            trips=int(trips),
            holds=int(holds),
            reason=reason_named(reason),
            reset_at=int(reset_at),
        )
    except (TypeError, ValueError):
        return CLOSED
