"""Circuits in a Redis or Valkey server, shared by the gateways of several machines.

All circuits are the fields of one hash, each a JSON text with a version. One script reads a circuit, or writes it if
the version is still the one that was read; else the change is computed anew. The machines' clocks may differ, so the
server's own clock counts: what travels is how long ago a wait began.

Every change looks at the server first (one round trip, which all who ask meanwhile share), so a circuit that one
machine opens is open for the others at their next request. Trouble never fails a request: a server that does not
answer within `patience` seconds is left alone, the store works from memory and says so in one sentence, and in the
background the server is tried again every `retry_every` seconds. What was changed meanwhile is written then, unless
another machine has changed the same circuit since.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets as entropy
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError, ResponseError

from ..clock import Clock
from ..telemetry import Telemetry
from .machine import CLOSED, Circuit, CircuitState
from .rows import reason_named
from .store import Shared

T = TypeVar("T")

KEY = "ai-gateway:circuits"
CONNECT_SECONDS = 2.0  # in the background: no request waits for it
CONNECTIONS = 4

# KEYS[1]: the hash. ARGV: field; the version it must have, or "" to read; the new circuit; how long ago it began; who
# writes. Gives: 1 if it was written; its version (0: not there, or nothing we can read); seconds since it began; the
# circuit; who wrote it.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local is_ours, held = pcall(cjson.decode, redis.call('HGET', KEYS[1], ARGV[1]) or '')
if not is_ours or type(held) ~= 'table' or type(held.version) ~= 'number' or type(held.since) ~= 'number' then
  held = {version = 0, since = now}
end
if ARGV[2] == '' or tonumber(ARGV[2]) ~= held.version then
  return {0, held.version, tostring(now - held.since), held.circuit or '', held.writer or ''}
end
held = {version = held.version + 1, since = now - ARGV[4], circuit = ARGV[3], writer = ARGV[5]}
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(held))
return {1, held.version, ARGV[4], ARGV[3], ARGV[5]}
"""

# What a fork carried over is the parent's: dropping it would close the parent's connections.
_abandoned: list[Redis | None] = []


class RedisStore(Shared):
    """A `CircuitStore` in the server at `url` (`redis://`, `rediss://` or `unix://`). Used from one event loop.

    Raises `ValueError` for an address with options that make no sense.
    """

    kind = "redis"
    may_lose_a_reader = True

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        telemetry: Telemetry | None = None,
        patience: float = 0.05,
        retry_every: float = 10.0,
    ) -> None:
        super().__init__(telemetry)
        self._url = url
        self._clock = clock
        self._patience = patience
        self._retry_every = retry_every
        self._begin()
        try:
            pool = self._pool()
            pool.connection_class(**pool.connection_kwargs)  # contacts nobody
        except TypeError as exc:
            raise ValueError(str(exc).rpartition(" ")[2]) from None

    def _begin(self) -> None:
        """Nothing is open, nobody is waiting."""
        self._process = os.getpid()
        self._writer = f"{self._process}-{entropy.token_hex(8)}"
        self._client: Redis | None = None
        self._joining: asyncio.Task[None] | None = None  # ends once the server is in use
        self._has_tried = asyncio.Event()
        self._is_joined = False
        self._reading: dict[str, asyncio.Task[bool]] = {}
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def update(self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        return await self._kept(
            lambda: self._update_server(identity, change), lambda: self._update_memory(identity, change)
        )

    async def read(self, identity: str) -> Circuit:
        async def from_server() -> Circuit:
            await self._fetch(identity)
            return self._read_memory(identity)

        return await self._kept(from_server, lambda: self._read_memory(identity))

    async def change_all(self, change: Callable[[Circuit], Circuit]) -> None:
        await self._kept(lambda: self._change_server(change), lambda: self._change_memory(change))

    async def aclose(self) -> None:
        joining, self._joining = self._joining, None
        if joining is not None and not joining.done():
            joining.cancel()
            with suppress(asyncio.CancelledError):
                await joining
        await self._disconnect()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    # ---- the server, or else memory

    async def _kept(self, in_server: Callable[[], Awaitable[T]], in_memory: Callable[[], T]) -> T:
        """Do it in the server; in memory while it is away."""
        if self._process != os.getpid():
            _abandoned.append(self._client)
            self._begin()
        try:
            if not self._is_joined:
                self._join()
                async with asyncio.timeout(self._patience):
                    await self._has_tried.wait()  # the first to come wait a moment; later ones do not
            if self._is_joined:
                return await in_server()
        except (TimeoutError, OSError, RedisError) as exc:
            await self._leave(exc)
        return in_memory()

    def _join(self) -> None:
        if self._joining is None or self._joining.done():
            self._joining = asyncio.create_task(self._until_joined(), name="join the circuits' server")

    async def _leave(self, exc: Exception) -> None:
        """Work from memory until the server is there again."""
        self._say(_told(exc, self._url))
        self._has_tried.set()
        if self._is_joined:
            self._is_joined = False
            await self._disconnect()
        self._join()

    async def _until_joined(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._write_back()
            except (TimeoutError, OSError, RedisError) as exc:
                self._say(_told(exc, self._url))
                self._has_tried.set()
                await self._disconnect()
                await asyncio.sleep(self._retry_every)
            else:
                self._is_joined = True
                self._say(None)
                self._has_tried.set()
                return

    async def _update_server(
        self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]], *, is_joining: bool = False
    ) -> T:
        await self._fetch(identity)
        circuit = self._known[identity][1]
        changed, result = change(circuit)
        if changed == circuit:
            return result
        async with self._writing[identity]:  # one after the other: each begins with what the one before has written
            while True:  # ends: each turn lost was a change won by another machine
                if not (self._is_joined or is_joining):  # who stood in line before us has found out
                    raise TimeoutError
                version, circuit = self._known[identity]
                changed, result = change(circuit)
                if changed == circuit or await self._run(identity, str(version), changed):
                    return result

    async def _change_server(self, change: Callable[[Circuit], Circuit], *, is_joining: bool = False) -> None:
        """Every circuit, but for those that memory knows better."""

        def changed(identity: str, circuit: Circuit) -> tuple[Circuit, None]:
            return circuit if identity in self._unwritten else change(circuit), None

        held: Any = self._connected().hkeys(KEY)
        for identity in {*self._known, *await held}:
            await self._update_server(identity, partial(changed, identity), is_joining=is_joining)

    async def _write_back(self) -> None:
        """Is the server there, and does it let us? Write what happened while it was away, until nothing is left."""
        await self._asked("", "", CLOSED)
        while self._unwritten or self._pending:
            for change in list(self._pending):  # what was changed after them stands in memory, and is written below
                await self._change_server(change, is_joining=True)
                self._pending = [other for other in self._pending if other is not change]
            for identity in list(self._unwritten):
                version, circuit = self._known[identity]
                await self._run(identity, str(version), circuit)

    # ---- one circuit in the server

    async def _fetch(self, identity: str) -> None:
        reading = self._reading.get(identity)
        if reading is None:
            reading = self._reading[identity] = asyncio.create_task(self._run(identity, "", CLOSED))
            reading.add_done_callback(lambda done: self._has_read(identity, done))
        await asyncio.shield(reading)

    def _has_read(self, identity: str, reading: asyncio.Task[bool]) -> None:
        self._reading.pop(identity, None)
        if not reading.cancelled():
            reading.exception()  # told to those who waited; if nobody did any more, to nobody

    async def _run(self, identity: str, version: str, circuit: Circuit) -> bool:
        """Read, or with a version write; whether it was written. Memory then is what the server holds.

        A server that has lost the circuit is given it back with its next change.
        """
        is_written, present, age, text, writer = await self._asked(identity, version, circuit)
        version_known, known = self._known.get(identity, (0, CLOSED))
        if is_written and identity in self._unwritten and known != circuit:
            self._known[identity] = (present, known)  # changed again in memory, while this was on its way
        elif is_written:
            self._known[identity] = (present, circuit)
            self._unwritten.discard(identity)
        elif present == 0 or (writer == self._writer and identity in self._unwritten):
            # It is lost there; or what is there is a change of ours whose reply we missed, which memory holds too.
            self._known[identity] = (present, known)
        elif present > version_known or (version and present != version_known):
            # Another machine was first. To a reader an older version is an old reply; to a writer it is the present.
            self._known[identity] = (present, _from_json(text, self._clock.span() - max(0.0, age)))
            self._unwritten.discard(identity)
        return is_written

    async def _asked(self, identity: str, version: str, circuit: Circuit) -> tuple[bool, int, float, str, str]:
        age = repr(self._clock.span() - circuit.since)
        sent = (identity, version, _to_json(circuit), age, self._writer)
        async with asyncio.timeout(self._patience if self._is_joined else CONNECT_SECONDS):
            told: Any = self._connected().eval(_SCRIPT, 1, KEY, *sent)
            is_written, present, seconds, text, writer = await told
        return bool(is_written), int(present), float(seconds), str(text), str(writer)

    def _connected(self) -> Redis:
        if self._client is None:
            self._client = Redis.from_pool(self._pool())
        return self._client

    def _pool(self) -> BlockingConnectionPool:
        return BlockingConnectionPool.from_url(
            self._url,
            max_connections=CONNECTIONS,
            timeout=None,
            decode_responses=True,
            encoding_errors="replace",  # whatever another program left there
            retry=Retry(NoBackoff(), 0),  # whether to ask again is decided here
            socket_timeout=CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            client_name="ai-gateway",
        )

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, RedisError):
                await client.aclose()


def _to_json(circuit: Circuit) -> str:
    """All but `since`, which the server keeps by its own clock. `Infinity` is Python's spelling, read back by it."""
    return json.dumps({name: value for name, value in asdict(circuit).items() if name != "since"})


def _from_json(text: str, since: float) -> Circuit:
    """Values that make no sense are a closed circuit: a later version may write others."""
    try:
        told = json.loads(text)
        return Circuit(
            state=CircuitState(told["state"]),
            failures=int(told["failures"]),
            generation=int(told["generation"]),
            since=since,
            wait=float(told["wait"]),
            trips=int(told["trips"]),
            holds=int(told["holds"]),
            reason=reason_named(told["reason"]),
            reset_at=int(told["reset_at"]),
        )
    except (KeyError, TypeError, ValueError):
        return CLOSED


def _told(exc: Exception, url: str) -> str:
    """One sentence with the cure; of the address only what is no secret."""
    parts = urlsplit(url)
    where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    if isinstance(exc, TimeoutError):
        fault = "does not answer in time"
    elif isinstance(exc, AuthenticationError) or isinstance(exc.__cause__, AuthenticationError):
        fault = "refuses user or password; set the right ones in AI_GATEWAY_STORE"
    elif isinstance(exc, NoPermissionError):
        fault = "does not let this user run scripts on the key ai-gateway:circuits; grant EVAL and TIME"
    elif isinstance(exc, ReadOnlyError):
        fault = "is a read-only replica; name the primary in AI_GATEWAY_STORE"
    elif isinstance(exc, ResponseError):
        fault = f"refuses ({str(exc).split(' ', 1)[0]})"
    else:
        fault = "cannot be reached; start it, or look at AI_GATEWAY_STORE"
    return f"Circuits are kept in memory: the server at {where} {fault}."
