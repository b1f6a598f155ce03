"""The gate before the circuits: what surely cannot be reached is not tried, and no circuit is charged for it.

    OFFLINE   no link, or no route            until the system says otherwise
    PORTAL    a login page answered           until the network changes, something answers, or 30 s have passed
    ONLINE    anything else: maybe            time-outs and circuits do the rest

Beside that, for 10 s after the name servers were silent, names are not tried. A suspicion that ends by time lets
requests through again; if it was right, one of them pays for finding out.

The heartbeat notices that the process stood still (lid closed, stopped in a debugger) and says so: connections are
probably dead, time-outs that have run out prove nothing, and a wait may be over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVarTuple

from ..clock import Clock
from ..telemetry import Telemetry
from ..types import Reason
from .state import Address, Connectivity, is_behind_portals, is_named_nearby, is_this_laptop, literal
from .way import LinkEvents, Way, system_events, system_way

log = logging.getLogger("ai_gateway")

Args = TypeVarTuple("Args")

PORTAL_SECONDS = 30.0
DNS_SECONDS = 10.0
BEAT = 1.0
SMALLEST_GAP = 5.0
FRESH = 0.01  # seconds for which a look is believed where the system would tell of a change

_NOT_LOOKED = object()


@dataclass(frozen=True, slots=True, eq=False)
class _Watch:
    address: Address
    cut: Callable[[], None]


class ConnectivityGate:
    """Knows without asking anybody on the network. Costs one look at the kernel per question.

    Before `start` every question is answered by a fresh look; after it, changes are also told: at once where the
    system tells of them (`watches_links`), else within a second. Used from one event loop.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        way: Way | None = None,
        events: LinkEvents | None = None,
        telemetry: Telemetry | None = None,
        beat: float = BEAT,
    ) -> None:
        self._clock = clock
        self._way = way or system_way()
        self._events = events or system_events()
        self._telemetry = telemetry
        self._beat_every = beat
        self._out: Hashable | None = _NOT_LOOKED
        self._had_out = False
        self._looked_at = 0.0
        self._epoch = 0
        self._gaps = 0
        self._told = Connectivity.ONLINE
        self._portal_until: float | None = None
        self._login_pages = 0  # since the last answer
        self._dns_until: float | None = None
        self._listeners: list[Callable[[Connectivity, Connectivity], None]] = []
        self._resumed: list[Callable[[float], None]] = []
        self._links: list[Callable[[], None]] = []
        self._watches: set[_Watch] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._beaten = (clock.now(), clock.span())
        self.watches_links = False

    # ---- questions

    @property
    def state(self) -> Connectivity:
        """What holds for the internet as a whole."""
        self._look()
        return self._told

    @property
    def epoch(self) -> int:
        """Grows whenever the way out changed or the laptop slept: connections from before are probably dead."""
        self._notice_gap()
        self._look()
        return self._epoch

    @property
    def gaps(self) -> int:
        """How often the process stood still. If this grew while a time-out ran, the time-out proves nothing."""
        self._notice_gap()
        return self._gaps

    def blocked(self, address: Address | None) -> Reason | None:
        """Why asking this address would be in vain: `OFFLINE`, `PORTAL` or `DNS`; `None`: maybe it would not.

        `address` is what would really be connected to. This laptop itself is always reachable.
        """
        if address is None or is_this_laptop(address[0]):
            return None
        self._look()
        if self._is_cut(address):
            return Reason.OFFLINE
        if self._told is Connectivity.PORTAL and is_behind_portals(address[0]):
            return Reason.PORTAL
        if self._dns_until is not None and literal(address[0]) is None and not is_named_nearby(address[0]):
            return Reason.DNS
        return None

    def allows(self, address: Address | None) -> bool:
        """False if asking this address would surely be in vain."""
        return self.blocked(address) is None

    # ---- what others notice

    def suspect_portal(self) -> None:
        """Something other than the provider answered: a network's login page."""
        self._portal_until = self._clock.span() + PORTAL_SECONDS
        self._look()

    def clear_portal(self) -> None:
        """The provider answered after all, or the user says so."""
        self._portal_until = None
        self._login_pages = 0
        self._look()

    def suspect_dns(self) -> None:
        """The name servers are silent, for whatever name."""
        self._dns_until = self._clock.span() + DNS_SECONDS

    def heard(self, reason: Reason | None, address: Address | None) -> None:
        """How a call ended. An answer (`None`) from outside ends every suspicion.

        One login page may be a single provider's trouble; two without an answer in between are the network's.
        """
        if address is None or not is_behind_portals(address[0]) or is_this_laptop(address[0]):
            return
        if reason is Reason.PORTAL:
            self._login_pages += 1
            if self._login_pages > 1:
                self.suspect_portal()
        elif reason is None and (self._login_pages or self._dns_until is not None or self._portal_until is not None):
            self._dns_until = None
            self.clear_portal()

    # ---- who wants to know

    def listen(self, callback: Callable[[Connectivity, Connectivity], None]) -> Callable[[], None]:
        """Call back with the old and the new state at each change; the returned function ends that."""
        self._look()
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def on_links(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever links, addresses or routes may have changed; the returned function ends that."""
        self._links.append(callback)
        return lambda: self._links.remove(callback) if callback in self._links else None

    def on_resumed(self, callback: Callable[[float], None]) -> Callable[[], None]:
        """Call back with the seconds that the process stood still; the returned function ends that."""
        self._resumed.append(callback)
        return lambda: self._resumed.remove(callback) if callback in self._resumed else None

    def on_cut(self, address: Address | None, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once when the way to `address` is cut, at once if it is; the returned function forgets it."""
        if address is None or is_this_laptop(address[0]):
            return lambda: None
        watch = _Watch(address, callback)
        self._watches.add(watch)
        self._look()
        self._tell_watch(watch)
        return lambda: self._watches.discard(watch)

    @contextmanager
    def watching(self, address: Address | None) -> Iterator[asyncio.Future[Reason]]:
        """A future that is done when the way to `address` is cut; for as long as the context lasts."""
        cut: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not cut.done():
                cut.set_result(Reason.OFFLINE)

        forget = self.on_cut(address, tell)
        try:
            yield cut
        finally:
            forget()
            cut.cancel()

    # ---- life

    async def start(self) -> None:
        """Begin to watch. Twice is once; may be started again after `aclose`."""
        if self._timer is not None:
            return
        self._beaten = (self._clock.now(), self._clock.span())
        self.watches_links = self._events.open(self._changed)
        self._timer = asyncio.get_running_loop().call_later(self._beat_every, self._beat)
        self._changed()

    async def aclose(self) -> None:
        """Stop watching and close everything. Questions are still answered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._events.close()
            self.watches_links = False
        self._way.close()

    # ---- inside

    def _changed(self) -> None:
        """Something about links changed, or it is time to look."""
        self._look(anew=True)
        self._tell_watches()
        for callback in list(self._links):
            _call(callback)

    def _look(self, *, anew: bool = False) -> None:
        if anew or not self.watches_links or not 0 <= self._clock.now() - self._looked_at < FRESH:
            self._looked_at = self._clock.now()
            out = self._way.out()
            if out != self._out:
                if self._out is not _NOT_LOOKED:
                    self._begin_anew()
                self._out = out
                self._had_out |= out is not None
        now = self._clock.span()
        self._portal_until = _unless_over(self._portal_until, now, PORTAL_SECONDS)
        self._dns_until = _unless_over(self._dns_until, now, DNS_SECONDS)
        self._settle()

    def _begin_anew(self) -> None:
        """Perhaps another network, with other name servers and no login page."""
        self._epoch += 1
        self._portal_until = self._dns_until = None
        self._login_pages = 0

    def _settle(self) -> None:
        state = Connectivity.ONLINE
        if self._out is None:
            state = Connectivity.OFFLINE
        elif self._portal_until is not None:
            state = Connectivity.PORTAL
        if state is self._told:
            return
        old, self._told = self._told, state
        if self._telemetry is not None:
            self._telemetry.tell("connectivity", state=state.value, was=old.value)
        self._tell_watches()
        for listener in list(self._listeners):
            _call(listener, old, state)

    def _is_cut(self, address: Address) -> bool:
        if literal(address[0]) is None:
            # Where there never was a way out (a container beside its Ollama), names nearby are found all the same.
            return self._out is None and (self._had_out or not is_named_nearby(address[0]))
        return not self._way.leads_to(address[0])

    def _tell_watches(self) -> None:
        for watch in list(self._watches):
            self._tell_watch(watch)

    def _tell_watch(self, watch: _Watch) -> None:
        if watch in self._watches and self._is_cut(watch.address):
            self._watches.discard(watch)
            _call(watch.cut)

    def _beat(self) -> None:
        # A plain timer, not a task: after standing still it runs before all time-outs that were due later.
        self._timer = asyncio.get_running_loop().call_later(self._beat_every, self._beat)
        self._notice_gap()
        self._beaten = (self._clock.now(), self._clock.span())
        self._changed()

    def _notice_gap(self) -> None:
        if self._timer is None:
            return
        readings = (self._clock.now(), self._clock.span())
        gap = max(new - old for new, old in zip(readings, self._beaten, strict=True)) - self._beat_every
        if gap <= SMALLEST_GAP:
            return
        self._beaten = readings
        self._gaps += 1
        self._begin_anew()
        if self._telemetry is not None:
            self._telemetry.tell("resumed", after=round(gap, 1))
        self._look(anew=True)
        for callback in list(self._resumed):
            _call(callback, gap)


def _unless_over(until: float | None, now: float, longest: float) -> float | None:
    return until if until is not None and 0 < until - now <= longest else None


def _call(callback: Callable[[*Args], None], *args: *Args) -> None:
    try:
        callback(*args)
    except Exception:
        log.warning("a listener of the network's state failed", exc_info=True)
