"""Sockets as a laptop needs them: both address families tried, one limit for all, death noticed.

A black hole on one address family would cost the whole connect limit: the other family starts a quarter of a second
later, and the one that worked is remembered. A pooled connection that a router has forgotten would swallow the next
request: the kernel is told how long silence may last.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import sys
import weakref
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import httpcore

from .names import Address, CannotConnect, Resolver

STAGGER = 0.25
STILL_LEAVING = 0.005
PATIENT_MS = 20_000  # unacknowledged data on a connection that has just worked
IMPATIENT_MS = 2_000  # ... on one taken from the pool, until its first byte arrives

NO_WAY_OUT = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EPERM})
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class CannotTrust(httpcore.ConnectError):
    """The TLS handshake was refused, by us or by the other side."""


class Dropped(httpcore.ReadError):
    """The connection ended. `untouched`: before a single byte answered the request. `code` `None`: a plain close."""

    def __init__(self, code: int | None, *, untouched: bool) -> None:
        super().__init__(errno.errorcode.get(code, str(code)) if code else "closed")
        self.code = code
        self.untouched = untouched


# Connections


def _keep_watch(sock: socket.socket) -> None:
    """Have the kernel notice a peer that is gone: about half a minute of silence, or unacknowledged data."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "win32":
        sock.ioctl(socket.SIO_KEEPALIVE_VALS, (1, 15_000, 5_000))
        return
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    _be_patient(sock, PATIENT_MS)


def _be_patient(sock: Any, milliseconds: int) -> None:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and sock is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, milliseconds)
        except OSError:  # closed under our hands: the next read says so
            return


class _Wire(asyncio.Protocol):
    """Bytes from a transport, held back when nobody reads."""

    MOST_HELD = 256 * 1024

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._below: asyncio.Transport | None = None  # the socket's own, once TLS is above it
        self.ended = False
        self.failure: OSError | None = None
        self._held = bytearray()
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.adopt(transport)

    def adopt(self, transport: Any) -> None:
        self._below, self.transport = self.transport, transport
        # A write is over when the kernel has taken it all. asyncio's TLS would read 0 as "full at every other write".
        transport.set_write_buffer_limits(high=0 if self._below is None else 1)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > self.MOST_HELD and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        if exc is not None:  # an `SSLError` is an `OSError` too, but its number is no errno
            told = isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError)
            self.failure = exc if told else OSError(errno.ECONNRESET, "reset")  # type: ignore[assignment]
        self._wake()
        self.resume_writing()

    def lose(self, code: int) -> None:
        """End it at once, as if the system had reported this error."""
        self.failure, self.ended = OSError(code, "lost"), True
        self._wake()
        self.resume_writing()
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    @property
    def has_news(self) -> bool:
        return bool(self._held) or self.ended

    async def take(self, most: int) -> bytes:
        """Some bytes; none at the end. Raises the error that ended it."""
        while not self._held and not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self._held:
            if self.failure is not None:
                raise self.failure
            return b""
        data = bytes(self._held[:most])
        del self._held[:most]
        if self._paused and len(self._held) < self.MOST_HELD // 2 and self.transport is not None and not self.ended:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def put(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            raise self.failure or OSError(errno.EPIPE, "closed")
        self.transport.write(data)
        if self._full:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        while self._below is not None and self._below.get_write_buffer_size():  # noqa: ASYNC110 - TLS tells nobody
            await asyncio.sleep(STILL_LEAVING)
        if self.failure is not None:
            raise self.failure


class Stream(httpcore.AsyncNetworkStream):
    """One connection. `start_tls` has what the name look-up and the handshake of TCP left of the connect limit."""

    def __init__(self, wire: _Wire, connect_by: float | None) -> None:
        self._wire = wire
        self._connect_by = connect_by
        self._touched = False
        self._impatient = False
        self._exchanges = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                data = await self._wire.take(max_bytes)
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:
                raise httpcore.ReadTimeout("silence") from None
            raise Dropped(exc.errno or errno.ECONNRESET, untouched=not self._touched) from None
        if not data and not self._touched:
            raise Dropped(None, untouched=True)
        self._touched = True
        if self._impatient:
            self._impatient = False
            _be_patient(self.get_extra_info("socket"), PATIENT_MS)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        if self._touched:  # the next exchange on a connection from the pool
            self._touched = False
            self._impatient = True
            _be_patient(self.get_extra_info("socket"), IMPATIENT_MS)
        try:
            async with asyncio.timeout(timeout):
                await self._wire.put(buffer)
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:
                raise httpcore.WriteTimeout("the request cannot be sent") from None
            raise httpcore.WriteError(errno.errorcode.get(exc.errno or 0, "closed")) from None

    async def aclose(self) -> None:
        if self._wire.transport is not None:
            self._wire.transport.abort()
        await asyncio.sleep(0)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        left = timeout
        if self._connect_by is not None:
            left = max(0.0, self._connect_by - loop.time())
        wire = self._wire
        assert wire.transport is not None
        try:
            async with asyncio.timeout(left):
                transport = await loop.start_tls(wire.transport, wire, ssl_context, server_hostname=server_hostname)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            await self.aclose()
            raise CannotConnect(errno.ECONNRESET) from None
        except ssl.SSLError as exc:
            await self.aclose()
            reason = exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else (exc.reason or "")
            raise CannotTrust(str(reason)) from None
        except OSError as exc:
            await self.aclose()
            if isinstance(exc, TimeoutError) and exc.errno is None:
                raise httpcore.ConnectTimeout("the TLS handshake does not end") from None
            raise CannotConnect(exc.errno or errno.ECONNRESET) from None
        except BaseException:
            await self.aclose()
            raise
        wire.adopt(transport)
        secured = Stream(wire, self._connect_by)
        return secured

    def get_extra_info(self, info: str) -> Any:
        transport = self._wire.transport
        if info == "is_readable":  # an idle connection with news has been closed by the other side
            return self._wire.has_news
        names = {"ssl_object": "ssl_object", "socket": "socket", "client_addr": "sockname", "server_addr": "peername"}
        if transport is None or info not in names:
            return None
        return transport.get_extra_info(names[info])


class Backend(httpcore.AsyncNetworkBackend):
    """Makes connections: look-up, then happy eyeballs, all within one limit."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._worked: dict[str, socket.AddressFamily] = {}
        self._wires: weakref.WeakSet[_Wire] = weakref.WeakSet()

    def drop_lost(self) -> None:
        """End the connections from an address that this laptop no longer has: the system would let them wait."""
        own: dict[tuple[socket.AddressFamily, str], bool] = {}
        for wire in tuple(self._wires):
            where = _own_address(wire)
            if where is not None and where not in own:
                own[where] = _is_ours(*where)
            if where is not None and not own[where]:
                wire.lose(errno.ENETDOWN)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        connect_by = None if timeout is None else loop.time() + timeout
        found = await self._resolver.addresses(host, timeout)
        try:
            async with asyncio.timeout_at(connect_by):
                sock = await self._first_to_connect(self._in_order(host, found), port)
                self._worked[host] = sock.family
                try:
                    _, wire = await loop.create_connection(_Wire, sock=sock)
                except BaseException:
                    sock.close()
                    raise
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:
                raise httpcore.ConnectTimeout("no connection in time") from None
            raise CannotConnect(exc.errno) from None
        self._wires.add(wire)
        return Stream(wire, connect_by)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _in_order(self, host: str, found: tuple[Address, ...]) -> list[Address]:
        """Families in turn, beginning with the one that worked last time."""
        first = self._worked.get(host, found[0][0] if found else socket.AF_INET)
        one = [address for address in found if address[0] == first]
        other = [address for address in found if address[0] != first]
        turns: list[Address] = []
        while one or other:
            turns += [one.pop(0)] if one else []
            turns += [other.pop(0)] if other else []
        return turns

    async def _first_to_connect(self, addresses: list[Address], port: int) -> socket.socket:
        attempts: set[asyncio.Task[socket.socket]] = set()
        failures: list[OSError] = []
        waiting = list(addresses)
        try:
            while waiting or attempts:
                if waiting:
                    attempts.add(asyncio.create_task(self._connect(waiting.pop(0), port)))
                done, attempts = await asyncio.wait(
                    attempts, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                winners = [task.result() for task in done if task.exception() is None]
                for late in winners[1:]:
                    late.close()
                if winners:
                    return winners[0]
                failures += [exc for task in done if isinstance(exc := task.exception(), OSError)]
        finally:
            for task in attempts:
                task.add_done_callback(_close_loser)
                task.cancel()
        telling = [f for f in failures if f.errno not in NO_WAY_OUT]
        raise (telling or failures or [OSError(errno.EHOSTUNREACH, "no address")])[0]

    async def _connect(self, address: Address, port: int) -> socket.socket:
        family, where = address
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            _keep_watch(sock)
            await asyncio.get_running_loop().sock_connect(sock, (where[0], port, *where[2:]))
        except BaseException:
            sock.close()
            raise
        return sock


def _own_address(wire: _Wire) -> tuple[socket.AddressFamily, str] | None:
    """Our end of an open connection to another machine."""
    if wire.ended or wire.transport is None:
        return None
    name = wire.transport.get_extra_info("sockname")
    if not isinstance(name, tuple):
        return None
    address = ip_address(name[0].partition("%")[0])
    if address.is_loopback or address.is_link_local:
        return None
    return (socket.AF_INET if address.version == 4 else socket.AF_INET6), str(address)


def _is_ours(family: socket.AddressFamily, host: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.bind((host, 0))
    except OSError as exc:
        return exc.errno != errno.EADDRNOTAVAIL
    return True


def _close_loser(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
