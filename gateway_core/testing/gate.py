"""A laptop whose cable is pulled by the test."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..connectivity import ConnectivityGate
from ..telemetry import Telemetry
from .clock import ManualClock


class ScriptedWay:
    """The way out, the addresses that cannot be reached although there is one, and those nearby that always can."""

    def __init__(self) -> None:
        self.link: Hashable | None = "wifi"
        self.unreachable: set[str] = set()
        self.nearby: set[str] = set()

    def out(self) -> Hashable | None:
        return self.link

    def leads_to(self, host: str) -> bool:
        return host in self.nearby or (self.link is not None and host not in self.unreachable)

    def close(self) -> None:
        return


class ScriptedEvents:
    """Link events that the test causes. `works=False`: a system that does not tell of them."""

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.happen: Callable[[], None] | None = None

    def open(self, changed: Callable[[], None]) -> bool:
        self.happen = changed if self.works else None
        return self.works

    def close(self) -> None:
        self.happen = None


class ScriptedGate(ConnectivityGate):
    """The real gate on a scripted network. It need not be started: `cut` and the others tell at once."""

    def __init__(self, clock: ManualClock | None = None, *, telemetry: Telemetry | None = None) -> None:
        self.clock = clock or ManualClock()
        self.way = ScriptedWay()
        super().__init__(self.clock, way=self.way, events=ScriptedEvents(), telemetry=telemetry)
        self._look()

    def cut(self) -> None:
        """Pull the cable."""
        self._use(None)

    def connect(self, link: Hashable = "wifi") -> None:
        """Plug it in again, or change to another network."""
        self._use(link)

    def cut_off(self, host: str) -> None:
        """No way to this literal address any more."""
        self.way.unreachable.add(host)
        self._changed()

    def sleep(self, seconds: float) -> None:
        """Close the lid for so long. Needs a started gate."""
        self.clock.suspend(seconds)
        self._notice_gap()

    def _use(self, link: Hashable | None) -> None:
        self.way.link = link
        self._changed()
