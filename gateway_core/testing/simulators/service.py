"""A port and a thread of its own: how a simulator lives, goes away and comes back."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from .wire import Connection

T = TypeVar("T")
PATIENCE = 10.0  # seconds for the own thread to do as it is told


class Service(ABC):
    """Listens as soon as it is made. Its event loop runs in a thread, so that sync and async callers are alike."""

    def __init__(self, name: str, port: int, host: str, tls: ssl.SSLContext | None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener: socket.socket | None = None
        self._hole: list[socket.socket] = []
        self._resting: asyncio.Task[None] | None = None
        self._loop = asyncio.SelectorEventLoop()  # add_reader on every system
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{name}-simulator", daemon=True)
        self._thread.start()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    async def serve(self, connection: Connection) -> None:
        """Everything that happens on one connection."""

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def start(self) -> None:
        """Listen (again), on the same port as before."""
        self._run(self._listen())

    def stop(self) -> None:
        """Refuse connections and reset the open ones, until `start`."""
        self._run(self._silence())

    def black_hole(self) -> None:
        """Leave connection attempts without any reply, until `start`. Linux only: a full queue of connections."""
        self.stop()
        self._run(self._fill_queue())

    def rest(self, seconds: float) -> None:
        """`stop`, and `start` again after so many seconds; returns at once."""

        async def nap() -> None:
            await asyncio.sleep(0.02)  # whoever asked for it over HTTP gets the reply
            await self._silence()
            await asyncio.sleep(seconds)
            await self._listen()

        def begin() -> None:
            self._resting = self._loop.create_task(nap())

        self._loop.call_soon_threadsafe(begin)

    def drop_connections(self) -> None:
        """Close all connections, as a server does after a while: those in use once their reply has left."""

        def hang_up() -> None:
            for connection in [*self._connections]:
                connection.last_request = True
                if not connection.busy:
                    connection.close()

        self._loop.call_soon_threadsafe(hang_up)

    def close(self) -> None:
        """The end. Safe to call twice."""
        if self._loop.is_closed():
            return
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        if self._hole:
            await self._silence()
        if self._listener is None:
            self._listener = socket.create_server((self._host, self._port), family=self._family, backlog=512)
            self._listener.setblocking(False)
            self._port = self._listener.getsockname()[1]
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _fill_queue(self) -> None:
        """A listener that accepts nothing, with its queue full: the system drops what comes."""
        self._hole = [socket.create_server((self._host, self._port), family=self._family, backlog=0)]
        for _ in range(2):
            sock = socket.socket(self._family)
            sock.setblocking(False)
            sock.connect_ex((self._host, self._port))
            self._hole.append(sock)

    async def _silence(self) -> None:
        for sock in self._hole:
            sock.close()
        self._hole = []
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await asyncio.sleep(0.001)  # connections that were just accepted are set up
        for connection in [*self._connections]:
            connection.reset()
        await asyncio.sleep(0.001)  # the transports tell their connections

    async def _end(self) -> None:
        tasks = [task for task in (self._resting, *(c.task for c in self._connections)) if task is not None]
        await self._silence()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection. (asyncio's own server leaks those that come in the moment it closes.)"""
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        # asyncio does so only for sockets it made itself; without it a reset overtakes what was sent just before
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted += 1
        connection = Connection(self._accepted)
        self._connections.add(connection)
        connection.task = self._loop.create_task(self._welcome(connection, sock))

    async def _welcome(self, connection: Connection, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, sock, ssl=self._tls)
            await self.serve(connection)
        except OSError:
            sock.close()  # the TLS handshake failed: the client's business
        finally:
            self._connections.discard(connection)
