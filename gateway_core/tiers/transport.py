"""httpx above, httpcore's pool below, our own sockets under that.

A pool can be given up at any time: the requests that use it go on, and it is closed after the last of them.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Protocol

import anyio
import httpcore
import httpx

from .network import Backend

IDLE_LIMIT = 20.0
MOST_CONNECTIONS = 256
MOST_IDLE = 20


class Shared(Protocol):
    """What the pools of all clients have in common."""

    backend: Backend

    def proxy_for(self, url: str) -> str | None: ...
    async def trust(self) -> ssl.SSLContext: ...


class Transport(httpx.AsyncBaseTransport):
    """The pools of one client: one for each proxy, with TLS and without."""

    def __init__(self, http: Shared) -> None:
        self.http = http
        self._pools: dict[str | None, httpcore.AsyncConnectionPool] = {}
        self._retired: dict[httpcore.AsyncConnectionPool, int] = {}
        self._busy: dict[httpcore.AsyncConnectionPool, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        pool = await self._pool(self.http.proxy_for(str(url)), secure=url.scheme == "https")
        self._busy[pool] = self._busy.get(pool, 0) + 1
        try:
            reply = await pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.release(pool)
            raise
        return httpx.Response(
            reply.status, headers=reply.headers, stream=Body(self, pool, reply), extensions=reply.extensions
        )

    async def release(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._busy[pool] -= 1
        if not self._busy[pool]:
            del self._busy[pool]
            if pool not in self._pools.values():
                await pool.aclose()

    async def renew(self) -> None:
        old, self._pools = self._pools, {}
        for pool in old.values():
            if pool not in self._busy:
                await pool.aclose()

    async def aclose(self) -> None:
        pools = {*self._pools.values(), *self._busy}
        self._pools = {}
        for pool in pools:
            await pool.aclose()

    async def _pool(self, proxy: str | None, *, secure: bool) -> httpcore.AsyncConnectionPool:
        key = f"{'tls' if secure else 'plain'} {proxy or ''}"
        trust = await self.http.trust() if secure or (proxy or "").startswith("https:") else None
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = httpcore.AsyncConnectionPool(
                ssl_context=trust,
                proxy=_proxy(proxy, trust) if proxy else None,
                max_connections=MOST_CONNECTIONS,
                max_keepalive_connections=MOST_IDLE,
                keepalive_expiry=IDLE_LIMIT,
                network_backend=self.http.backend,
            )
        return pool


class Body(httpx.AsyncByteStream):
    def __init__(self, transport: Transport, pool: httpcore.AsyncConnectionPool, reply: httpcore.Response) -> None:
        self._transport = transport
        self._pool: httpcore.AsyncConnectionPool | None = pool
        self._reply = reply

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._reply.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._reply.aclose()
        pool, self._pool = self._pool, None
        if pool is not None:
            await self._transport.release(pool)


def _proxy(url: str, trust: ssl.SSLContext | None) -> httpcore.Proxy:
    parts = httpx.URL(url)
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        raise httpcore.ProxyError("a SOCKS proxy needs the package socksio")
    bare = httpcore.URL(scheme=parts.raw_scheme, host=parts.raw_host, port=parts.port, target=b"/")
    auth = (parts.username, parts.password) if parts.username or parts.password else None
    return httpcore.Proxy(bare, auth=auth, ssl_context=trust if parts.scheme == "https" else None)


def system_trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not context.get_ca_certs() and not paths.cafile and not paths.capath and find_spec("certifi"):
        import certifi  # some Python builds for macOS come without any

        context.load_verify_locations(certifi.where())
    return context
