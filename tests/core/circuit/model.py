"""The circuit's rules said a second time, in the plainest form: no generations, no frozen values, one caller's view.

A model knows which calls are under way and which of them still matter. It is what the laws compare the machine with.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

DAY = 86_400


@dataclass
class Call:
    """A call under way. `current`: nothing has happened since that made it a call of the past."""

    number: int
    is_probe: bool
    current: bool = True
    before_reset: bool = False


@dataclass
class Model:
    threshold: int
    recovery: float
    lease: float
    streak: int = 0
    failed_probes: int = 0  # waits in a row that ended in a failed probe, the first trip included
    nameless_holds: int = 0
    is_open: bool = False
    granted: tuple[float, float] | None = None  # moment and length of the present wait or lease
    probe: Call | None = None
    calls: list[Call] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def left(self, now: float) -> float:
        """Seconds that callers are still kept away. Outside the granted interval nobody is, on either side."""
        if self.granted is None:
            return 0.0
        start, length = self.granted
        return start + length - now if start <= now < start + length else 0.0

    def admit(self, now: float) -> Call | None:
        if not self.is_open:
            return self._begin(is_probe=False)
        if self.left(now) > 0:
            return None
        self._all_past()
        self.granted = (now, self.lease)
        self.probe = self._begin(is_probe=True)
        return self.probe

    def renew(self, call: Call, lease: float, now: float) -> None:
        if call is self.probe and call.current:
            self.granted = (now, lease)

    def end(self, call: Call, how: str, wait: float | None, now: float) -> None:
        self.calls.remove(call)
        if not call.current:
            if how == "hold" and self.is_open and self.probe is None and not call.before_reset:
                asked = min(30.0, self.recovery) if wait is None else wait
                if asked > self.left(now):
                    self.granted = (now, asked)
            return
        if how == "success":
            self._forget()
        elif how == "hold":
            length = min(30.0 * 2**self.nameless_holds, self.recovery) if wait is None else wait
            self.nameless_holds += wait is None
            self._open(now, length)
        elif how == "failure":
            self.streak += 1
            named = min(wait or 0.0, DAY)
            if self.streak >= self.threshold or self.failed_probes:
                length = [1, 2, 3][min(self.failed_probes, 2)] * self.recovery
                self.failed_probes += 1
                self._open(now, max(named, length))
            elif call.is_probe or named:
                self._open(now, named)
        elif call.is_probe:
            self._open(now, 0.0)

    def reset(self) -> None:
        for call in self.calls:
            call.before_reset = True
        self._all_past()
        self._forget()

    def link_back(self, now: float) -> None:
        if self.is_open and self.probe is None and self.left(now) > 0:
            self.granted = (now, 0.0)

    def _begin(self, *, is_probe: bool) -> Call:
        call = Call(next(self._numbers), is_probe)
        self.calls.append(call)
        return call

    def _open(self, now: float, length: float) -> None:
        self._all_past()
        self.is_open = True
        self.granted = (now, length)

    def _forget(self) -> None:
        if self.is_open:
            self._all_past()
        self.streak = self.failed_probes = self.nameless_holds = 0
        self.is_open, self.granted = False, None

    def _all_past(self) -> None:
        self.probe = None
        for call in self.calls:
            call.current = False


FOREVER = math.inf
