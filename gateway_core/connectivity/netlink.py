"""Linux: the kernel's own word on links, addresses and routes, over netlink sockets.

Message layouts are those of `linux/netlink.h`, `rtnetlink.h` and `if_link.h`. The kernel answers a question before
the call that asks it returns, so nothing here waits.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable, Iterator

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")  # length, type

_ERROR, _REQUEST = 2, 1
_NEW_LINK, _GET_LINK, _NEW_ROUTE, _GET_ROUTE = 16, 18, 24, 26
_ROUTE_TO, _ROUTE_INTERFACE = 1, 4
_LINK_EXTENT, _SKIP_STATISTICS = 29, 8
_IS_UP, _HAS_CARRIER = 0x1, 0x10000

_LINK_GROUP, _ADDRESS_4, _ROUTE_4, _ADDRESS_6, _ROUTE_6 = 0x1, 0x10, 0x40, 0x100, 0x400
GROUPS = _LINK_GROUP | _ADDRESS_4 | _ROUTE_4 | _ADDRESS_6 | _ROUTE_6

_LARGEST = 65_536
_ORDER = sys.byteorder


def netlink(groups: int = 0) -> socket.socket:
    """An open netlink socket; raises `OSError` where that is not permitted."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


def attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, sequence and body of each message. A torn message ends the list."""
    while len(data) >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, sequence, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


class KernelCarrier:
    """Asks the kernel about routes and links. Opened when first asked; without permission it knows nothing."""

    def __init__(self, opened: Callable[[], socket.socket] = netlink) -> None:
        self._opened = opened
        self._socket: socket.socket | None = None
        self._is_refused = False
        self._sequence = 0

    def interface_to(self, family: socket.AddressFamily, host: str) -> int | None:
        packed = socket.inet_pton(family, host)
        question = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0) + attribute(_ROUTE_TO, packed)
        answer = self._ask(_GET_ROUTE, question, _NEW_ROUTE)
        if answer is None or len(answer) < _ROUTE.size:
            return None
        interface = attributes(answer[_ROUTE.size :]).get(_ROUTE_INTERFACE)
        return int.from_bytes(interface, _ORDER) if interface else None

    def is_lost(self, interface: int) -> bool:
        extent = attribute(_LINK_EXTENT, _SKIP_STATISTICS.to_bytes(4, _ORDER))
        answer = self._ask(_GET_LINK, _LINK.pack(0, 0, interface, 0, 0) + extent, _NEW_LINK)
        if answer is None or len(answer) < _LINK.size:
            return False
        flags = _LINK.unpack_from(answer)[3]
        return not (flags & _IS_UP and flags & _HAS_CARRIER)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, kind: int, body: bytes, wanted: int) -> bytes | None:
        if self._is_refused:
            return None
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        header = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST, self._sequence, 0)
        try:
            if self._socket is None:
                self._socket = self._opened()
        except OSError:
            self._is_refused = True
            return None
        try:
            self._socket.sendto(header + body, (0, 0))
            while True:
                for found, sequence, answer in messages(self._socket.recv(_LARGEST)):
                    if sequence == self._sequence:
                        return answer if found == wanted else None
        except OSError:  # nothing more to read, or no memory for it: unknown
            return None


class NetlinkEvents:
    """Wakes the event loop at each change of a link (its carrier too), an address or a route."""

    def __init__(self, opened: Callable[[int], socket.socket] = netlink) -> None:
        self._opened = opened
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: Callable[[], None] = lambda: None

    def open(self, changed: Callable[[], None]) -> bool:
        self._changed = changed
        try:
            self._socket = self._opened(GROUPS)
        except OSError:
            return False
        self._loop = asyncio.get_running_loop()
        try:
            self._loop.add_reader(self._socket.fileno(), self._drain)
        except NotImplementedError:
            self._socket.close()
            self._socket = None
            return False
        return True

    def close(self) -> None:
        if self._socket is None or self._loop is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None

    def _drain(self) -> None:
        """What changed is not believed but asked for anew, so lost events (ENOBUFS) do no harm."""
        assert self._socket is not None
        try:
            while self._socket.recv(_LARGEST):
                pass
        except OSError:
            pass
        self._changed()
