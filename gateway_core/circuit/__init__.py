"""Circuits: a pure machine, and stores that share its values."""

from .machine import (
    NEUTRAL,
    SUCCESS,
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
from .store import CircuitStore, MemoryStore

__all__ = [
    "NEUTRAL",
    "SUCCESS",
    "Circuit",
    "CircuitPolicy",
    "CircuitState",
    "CircuitStore",
    "End",
    "MemoryStore",
    "Outcome",
    "Permit",
    "admit",
    "allow_probe",
    "record",
    "renew",
    "reset",
]
