"""Names looked up in threads of their own, within the caller's limit.

A name server that does not answer holds a thread for ten seconds. In the event loop's own pool that stops everything
else there, and the program's end with it; so there are at most four daemon threads here, and nobody waits for them
longer than his connect limit. The last good answer serves ten minutes when nobody answers.
"""

from __future__ import annotations

import asyncio
import errno
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import httpcore

Address = tuple[socket.AddressFamily, tuple[Any, ...]]

FRESH_FOR = 30.0  # an answer this young is used without asking again
GOOD_FOR = 600.0  # an older one still serves when the name server does not answer
SILENT_FOR = 10.0  # after a look-up that nobody answered, the next ones do not wait for it
GRACE = 0.3  # how long a look-up may take when an older answer is at hand
MOST_ADDRESSES = 8
RESOLVER_THREADS = 4
IDLE_THREAD = 5.0


class CannotResolve(httpcore.ConnectError):
    """The name has no address. `silent`: nobody said so, the name server did not answer."""

    def __init__(self, host: str, *, silent: bool) -> None:
        super().__init__(f"{host}: the name server does not answer" if silent else f"{host}: no such name")
        self.silent = silent


class CannotConnect(httpcore.ConnectError):
    def __init__(self, code: int | None) -> None:
        super().__init__(errno.errorcode.get(code, str(code)) if code else "no connection")
        self.code = code


@dataclass(slots=True)
class _Known:
    addresses: tuple[Address, ...]
    at: float


def _look_up(host: str) -> tuple[Address, ...]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys((family, tuple(where)) for family, _, _, _, where in found))[:MOST_ADDRESSES]


class Resolver:
    """Name look-ups in at most four daemon threads of their own; one look-up per name at a time."""

    def __init__(
        self,
        look_up: Callable[[str], tuple[Address, ...]] = _look_up,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._now = now
        self._known: dict[str, _Known] = {}
        self._silent: dict[str, float] = {}
        self._under_way: dict[str, asyncio.Future[tuple[Address, ...]]] = {}
        self._work: queue.SimpleQueue[tuple[str, asyncio.AbstractEventLoop, asyncio.Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    async def addresses(self, host: str, limit: float | None) -> tuple[Address, ...]:
        """Where `host` is; raises `CannotResolve`. Literal addresses and `localhost` are never looked up."""
        literal = literal_address(host)
        if literal is not None:
            return (literal,)
        known = self._known.get(host)
        age = self._now() - known.at if known else GOOD_FOR
        if known and 0 <= age < FRESH_FOR:
            return known.addresses
        fallback = known.addresses if known and 0 <= age < GOOD_FOR else None
        asked = self._ask(host)
        silent_since = self._silent.get(host)
        if silent_since is not None and 0 <= self._now() - silent_since < SILENT_FOR:
            patience: float | None = 0.0
        else:
            patience = GRACE if fallback else limit
        done, _ = await asyncio.wait([asked], timeout=patience)
        if not done:
            if fallback:
                return fallback
            self._silent.setdefault(host, self._now())
            raise CannotResolve(host, silent=True)
        try:
            return asked.result()
        except socket.gaierror as exc:
            unknown = exc.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            if fallback and not unknown:
                return fallback
            raise CannotResolve(host, silent=not unknown) from None
        except OSError as exc:
            raise CannotConnect(exc.errno) from None
        except UnicodeError:
            raise CannotResolve(host, silent=False) from None

    def distrust(self) -> None:
        """The network changed: ask again, and keep old answers only for when nobody answers."""
        self._silent.clear()
        for known in self._known.values():
            known.at = min(known.at, self._now() - FRESH_FOR)

    def _ask(self, host: str) -> asyncio.Future[tuple[Address, ...]]:
        loop = asyncio.get_running_loop()
        asked = self._under_way.get(host)
        if asked is not None and not asked.done() and asked.get_loop() is loop:
            return asked
        asked = loop.create_future()
        self._under_way[host] = asked
        asked.add_done_callback(lambda future: self._learn(host, future))
        self._work.put((host, loop, asked))
        with self._lock:
            if not self._idle and self._threads < RESOLVER_THREADS:
                self._threads += 1
                threading.Thread(target=self._serve, name="ai-gateway-names", daemon=True).start()
        return asked

    def _learn(self, host: str, answer: asyncio.Future[tuple[Address, ...]]) -> None:
        if self._under_way.get(host) is answer:
            del self._under_way[host]
        self._silent.pop(host, None)
        if not answer.cancelled() and answer.exception() is None and answer.result():
            self._known[host] = _Known(answer.result(), self._now())

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                host, loop, asked = self._work.get(timeout=IDLE_THREAD)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._work.empty():
                        self._threads -= 1
                        return
                continue
            with self._lock:
                self._idle -= 1
            try:
                answer: tuple[Address, ...] | OSError | UnicodeError = self._look_up(host)
            except (OSError, UnicodeError) as exc:
                answer = exc
            try:
                loop.call_soon_threadsafe(_settle, asked, answer)
            except RuntimeError:  # the loop has been closed meanwhile: nobody waits for the answer
                continue


def _settle(asked: asyncio.Future[Any], answer: Any) -> None:
    if asked.done():
        return
    if isinstance(answer, Exception):
        asked.set_exception(answer)
    else:
        asked.set_result(answer)


def literal_address(host: str) -> Address | None:
    """The address that `host` spells out; `localhost` is 127.0.0.1, whatever a name server thinks."""
    if host == "localhost" or host.endswith(".localhost"):
        return socket.AF_INET, ("127.0.0.1", 0)
    name, _, zone = host.strip("[]").partition("%")
    try:
        address = ip_address(name)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (name, 0)
    scope = 0
    if zone:
        try:
            scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
        except OSError:
            scope = 0
    return socket.AF_INET6, (name, 0, 0, scope)
