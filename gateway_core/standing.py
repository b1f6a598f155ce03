"""How every tier stands: what `status` and `health` tell. Words only; the gateway fills them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .circuit import Circuit, CircuitState
from .tiers.base import TierInfo


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """`reopens_in`: seconds until the tier may be asked again; `None` when nothing stands in the way or only a new
    credential helps."""

    state: str
    failures: int = 0
    reason: str | None = None
    reopens_in: float | None = None


@dataclass(frozen=True, slots=True)
class TierStatus:
    """One rung as a status page shows it. `available`: the next plain request would ask it."""

    backend: str
    mode: str
    available: bool
    circuit: CircuitStatus
    info: TierInfo
    why_not: str = ""
    cure: str = ""
    budget: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Status:
    version: str
    tiers: tuple[TierStatus, ...]
    connectivity: str
    store: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON: tiers flattened."""
        return {
            "version": self.version,
            "tiers": [
                {
                    "backend": t.backend,
                    "mode": t.mode,
                    "available": t.available,
                    "circuit": asdict(t.circuit),
                    "why_not": t.why_not,
                    "cure": t.cure,
                    "model": t.info.model,
                    "models": list(t.info.models),
                    "endpoint": t.info.endpoint,
                    "notes": list(t.info.notes),
                    "details": dict(t.info.details),
                    "budget": dict(t.budget) if t.budget is not None else None,
                }
                for t in self.tiers
            ],
            "connectivity": self.connectivity,
            "store": self.store,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Health:
    """The five fields of `GET /health`."""

    status: str
    copilot_available: bool
    cloud_available: bool
    local_available: bool
    circuit_state: str


def circuit_status(circuit: Circuit, now: float) -> CircuitStatus:
    """The circuit at the moment `now`, a reading of `clock.span()`."""
    left = circuit.remaining(now) if circuit.state is not CircuitState.CLOSED else 0.0
    reopens = round(left, 1) if 0 < left < float("inf") else None
    return CircuitStatus(str(circuit.shown(now)), circuit.failures, circuit.reason, reopens)
