"""A moment until which the whole ladder may work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .clock import Clock


@dataclass(frozen=True, slots=True)
class Deadline:
    """`remaining()` seconds are left; never negative. `at` is a reading of `clock.now()`."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        return cls(clock.now() + seconds, clock)

    @classmethod
    def never(cls, clock: Clock) -> Deadline:
        return cls(math.inf, clock)

    def remaining(self) -> float:
        return max(0.0, self.at - self.clock.now())

    @property
    def is_over(self) -> bool:
        return self.remaining() <= 0

    def sooner(self, seconds: float) -> Deadline:
        """The earlier of this moment and `seconds` from now."""
        return Deadline(min(self.at, self.clock.now() + seconds), self.clock)
