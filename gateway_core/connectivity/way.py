"""Asking the kernel whether there is a way to an address, without sending anything.

Connecting a UDP socket only looks up the route: no packet leaves, and the answer comes within microseconds, on every
system. It does not notice a link whose other end is gone while address and route are kept (an access point that
died); on Linux the kernel is therefore also asked for the carrier of the interface that the route leads through.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Hashable
from typing import Protocol

from .state import literal

# Documentation addresses belong to nobody. Hardened machines may have a route that refuses them, so a "no" is asked
# again of an ordinary address; nothing is sent there either.
_OUTSIDE = {
    socket.AF_INET: ("192.0.2.1", "1.1.1.1"),
    socket.AF_INET6: ("2001:db8::1", "2606:4700:4700::1111"),
}
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_ANY_PORT = 9
_UNKNOWN = "unknown"


class Way(Protocol):
    """What the system says about the way out. Never blocks, never raises, never sends."""

    def out(self) -> Hashable | None:
        """Through what the internet would be reached: another value after another link. `None`: surely no way."""
        ...

    def leads_to(self, host: str) -> bool:
        """False if there is surely no way to this literal address."""
        ...

    def close(self) -> None: ...


class LinkEvents(Protocol):
    """Tells when links, addresses or routes change."""

    def open(self, changed: Callable[[], None]) -> bool:
        """Call `changed` in the running loop after each change; False if that is not possible here."""
        ...

    def close(self) -> None: ...


class Carrier(Protocol):
    """Knows interfaces."""

    def interface_to(self, family: socket.AddressFamily, host: str) -> int | None:
        """The interface that leads there, by number; `None` if unknown."""
        ...

    def is_lost(self, interface: int) -> bool:
        """True if the interface is down, or nothing is at its other end."""
        ...

    def close(self) -> None: ...


def source_to(family: socket.AddressFamily, host: str) -> str:
    """Our own address on the way there; raises `OSError` if the kernel knows no way."""
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((host, _ANY_PORT))
        return str(asking.getsockname()[0])


class SystemWay:
    """The system's own answer."""

    def __init__(
        self,
        carrier: Carrier | None = None,
        *,
        source: Callable[[socket.AddressFamily, str], str] = source_to,
    ) -> None:
        self._carrier = carrier
        self._source = source

    def out(self) -> Hashable | None:
        found = tuple(self._out_by(family, hosts) for family, hosts in _OUTSIDE.items())
        return found if any(found) else None

    def leads_to(self, host: str) -> bool:
        found = literal(host)
        if found is None:
            return self.out() is not None
        family = socket.AF_INET if found.version == 4 else socket.AF_INET6
        return self._route(family, str(found)) is not None

    def close(self) -> None:
        if self._carrier is not None:
            self._carrier.close()

    def _out_by(self, family: socket.AddressFamily, hosts: tuple[str, ...]) -> Hashable | None:
        return next((route for host in hosts if (route := self._route(family, host)) is not None), None)

    def _route(self, family: socket.AddressFamily, host: str) -> Hashable | None:
        """Our own address on the way there, and the interface; `None`: surely no way."""
        try:
            source = self._source(family, host)
        except OSError as exc:
            # Anything else (no descriptors left, a firewall's veto) says nothing about the network.
            return None if exc.errno in _NO_WAY else _UNKNOWN
        if self._carrier is None:
            return source
        interface = self._carrier.interface_to(family, host)
        if interface is not None and self._carrier.is_lost(interface):
            return None
        return source, interface


class NoEvents:
    """For systems where the way is looked at once a second instead."""

    def open(self, changed: Callable[[], None]) -> bool:
        return False

    def close(self) -> None:
        return


def system_way() -> Way:
    if sys.platform == "linux":
        from .netlink import KernelCarrier

        return SystemWay(KernelCarrier())
    return SystemWay()


def system_events() -> LinkEvents:
    if sys.platform == "linux":
        from .netlink import NetlinkEvents

        return NetlinkEvents()
    return NoEvents()
