"""The HTTP edge: one factory for clients, one way to send a request, one place where foreign errors become ours.

`Http` is built once by the gateway. Each tier takes a `Client` from it and sends with `open_stream`, which says
`call.sent()` when the whole request has left, checks the head before anything is believed, and raises our errors
by the type of the foreign one, never by its words, and always `from None`: the frames of a cause hold headers
and prompts.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import anyio
import httpx

from ..clock import Clock, SystemClock
from ..errors import TierBroken, TierFailed, TierUnavailable
from ..secrets import Secret, redact
from ..settings import is_loopback
from ..types import Reason
from . import login_page
from .base import Call
from .http_failures import FOREIGN, Sending, at_proxy, failure_of
from .names import Resolver
from .network import Backend
from .transport import Transport, system_trust

ONE_DAY = 86_400.0
ERROR_LIMIT = 64 * 1024
JSON_LIMIT = 8 * 1024 * 1024
DRAIN_SECONDS = 0.05
DEAD_FOR = 5.0


class Watch(Protocol):
    """Sees each request as it leaves and each head as it arrives: for a transcript."""

    async def asked(self, request: httpx.Request) -> None: ...
    async def answered(self, response: httpx.Response) -> None: ...


class Http:
    """Everything clients share: resolver, trust store, proxies of the environment. Makes no connection itself."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        resolver: Resolver | None = None,
        proxies: Mapping[str, str] | None = None,
        trust: ssl.SSLContext | None = None,
        user_agent: str = "ai-gateway",
        connect_timeout: float = 2.0,
        blocked: Callable[[tuple[str, int]], Reason | None] = lambda address: None,
        watch: Watch | None = None,
    ) -> None:
        """`connect_timeout` holds for look-ups on the side; `blocked` knows addresses to which there is no way."""
        self.clock = clock or SystemClock()
        self.connect_timeout = connect_timeout
        self.blocked = blocked
        self.user_agent = user_agent
        self._resolver = resolver or Resolver()
        self.backend = Backend(self._resolver)
        self._proxies = dict(getproxies_environment() if proxies is None else proxies)
        for proxy in self._proxies.values():
            Secret.of(urlsplit(proxy).password)  # known from now on, and struck out of every log
        self._trust = trust
        self._trust_lock = asyncio.Lock()
        self._clients: set[Client] = set()
        self._watch = watch
        self._dead_proxies: dict[tuple[str, int], float] = {}

    def client(self, headers: Mapping[str, str] | None = None) -> Client:
        """A client of its own pool. It follows no redirect, reads no environment and asks for nothing compressed."""
        client = Client(
            self,
            headers={"accept-encoding": "identity", "user-agent": self.user_agent, **(headers or {})},
        )
        if self._watch is not None:
            client.event_hooks = {"request": [self._watch.asked], "response": [self._watch.answered]}
        self._clients.add(client)
        return client

    def proxy_for(self, url: str) -> str | None:
        """The proxy that a request to `url` goes through; loopback is never proxied."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not self._proxies or is_loopback(url):
            return None
        port = f":{parts.port}" if parts.port else ""
        if proxy_bypass_environment(host + port, self._proxies):
            return None
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        return (proxy if "://" in proxy else f"http://{proxy}") if proxy else None

    def address_of(self, url: str) -> tuple[str, int]:
        """Host and port that a request to `url` would really connect to."""
        parts = urlsplit(self.proxy_for(url) or url)
        return parts.hostname or "", parts.port or {"https": 443, "socks5": 1080, "socks5h": 1080}.get(parts.scheme, 80)

    def no_way_to(self, url: str) -> Reason | None:
        """Why a request to `url` would surely be in vain, as far as that is known without asking."""
        address = self.address_of(url)
        if self.clock.span() - self._dead_proxies.get(address, -DEAD_FOR) < DEAD_FOR:
            return Reason.PROXY
        return self.blocked(address)

    def proxy_is_dead(self, url: str) -> None:
        """The proxy on the way there does not answer: the next tier need not find that out again."""
        self._dead_proxies[self.address_of(url)] = self.clock.span()

    def proxy_note(self, url: str) -> str | None:
        """A line for status when a proxy stands between; without its user name and password."""
        proxy = self.proxy_for(url)
        if proxy is None:
            return None
        parts = urlsplit(proxy)
        return f"through the proxy {parts.scheme}://{parts.hostname}:{self.address_of(url)[1]} of the environment"

    async def trust(self) -> ssl.SSLContext:
        """The system's trust store; read once, at the first need, off the event loop."""
        async with self._trust_lock:
            if self._trust is None:
                self._trust = await asyncio.to_thread(system_trust)
        return self._trust

    async def renew(self) -> None:
        """The network changed: no idle connection is used again, and names are asked anew."""
        self._resolver.distrust()
        self._dead_proxies.clear()
        for client in tuple(self._clients):
            await client.renew()

    def drop_lost(self) -> None:
        """Addresses of this laptop may have gone, and connections with them."""
        self.backend.drop_lost()

    async def aclose(self) -> None:
        for client in tuple(self._clients):
            await client.aclose()
        self._clients.clear()


class Client(httpx.AsyncClient):
    """An `httpx.AsyncClient` whose pool can be renewed. Limits of time are the caller's."""

    def __init__(self, http: Http, headers: Mapping[str, str]) -> None:
        self._http = http
        self._pools = Transport(http)
        super().__init__(
            transport=self._pools, headers=headers, trust_env=False, follow_redirects=False, timeout=httpx.Timeout(None)
        )
        # What a provider, or a login page in its name, sets would go out with every later call.
        self.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    async def renew(self) -> None:
        """The next request uses a fresh connection; those under way go on."""
        await self._pools.renew()

    @property
    def http(self) -> Http:
        return self._http


# One exchange


class Reply:
    """The head of an answer, and its body as it arrives. Errors are ours."""

    def __init__(self, response: httpx.Response, sending: Sending) -> None:
        self._response = response
        self._sending = sending
        self._parts = self._read_parts()
        self.status = response.status_code
        self.headers = response.headers
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.is_complete = False  # set by the reader that has seen the end marker: the connection may be kept

    @property
    def is_reused(self) -> bool:
        return self._sending.is_reused

    @property
    def may_have_billed(self) -> bool:
        return self._sending.may_have_billed

    def parts(self) -> AsyncIterator[bytes]:
        """The bytes as they arrive. There is one reading: a second loop goes on where the first one stopped."""
        return self._parts

    async def _read_parts(self) -> AsyncGenerator[bytes, None]:
        try:
            async for part in self._response.stream:  # type: ignore[union-attr]
                if part:
                    yield part
            return
        except FOREIGN as exc:
            failure = failure_of(exc, self._sending, in_body=True)
        raise failure  # out here, so that not even its context leads to the foreign error's frames

    async def read(self, limit: int = JSON_LIMIT) -> bytes:
        """The whole body; `TierBroken(too_large)` beyond `limit`."""
        body = bytearray()
        async for part in self.parts():
            body += part
            if len(body) > limit:
                raise TierBroken(
                    self._sending.tier,
                    f"the reply is larger than {limit} bytes",
                    reason=Reason.TOO_LARGE,
                    may_have_billed=self._sending.may_have_billed,
                )
        self.is_complete = True
        return bytes(body)

    async def error_text(self, limit: int = ERROR_LIMIT) -> str:
        """The beginning of the body of an error, without our own key if it echoes that; empty if it cannot be read."""
        body = bytearray()
        try:
            async for part in self.parts():
                body += part
                if len(body) >= limit:
                    break
        except TierFailed:
            pass  # the status has told enough
        return redact(bytes(body[:limit]).decode("utf-8", "replace"))

    async def json(self, limit: int = JSON_LIMIT) -> Any:
        """The body as JSON; `TierBroken(empty_body | bad_payload)` if it is none."""
        body = await self.read(limit)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            told = "the reply is not JSON" if body.strip() else "the reply is empty"
            reason = Reason.BAD_PAYLOAD if body.strip() else Reason.EMPTY_BODY
            raise TierBroken(
                self._sending.tier, told, reason=reason, may_have_billed=self._sending.may_have_billed
            ) from None

    async def aclose(self) -> None:
        """Close the connection at once; if the answer was read to its end, keep it for the next request."""
        if self.is_complete:
            await self._drain()
        await self._parts.aclose()
        await self._response.aclose()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in self._parts:
                    pass  # what comes after the end marker is nobody's; read, the connection can be used again
        except (TierFailed, TimeoutError):
            return


@asynccontextmanager
async def open_stream(
    client: Client,
    request: httpx.Request,
    call: Call | None = None,
    *,
    tier: str,
    billed: bool = True,
    is_local: bool = False,
) -> AsyncIterator[Reply]:
    """Send `request`; hand out the reply once its head has arrived and can be believed.

    `call` is told when the request has left; without one (look-ups on the side) nothing is billed.
    `is_local`: a web page that answers is another program on this laptop, not a network's login page.
    Leaving the block closes the connection at once, unless the answer was read to its end.
    """
    http, url = client.http, str(request.url)
    limit = call.connect_timeout if call else http.connect_timeout
    if call is not None:
        default = 443 if request.url.scheme == "https" else 80
        call.asked.host, call.asked.port = request.url.host, request.url.port or default
    sending = Sending(
        tier, call, proxy=http.proxy_for(url), billed=billed and call is not None, connect=limit,
        host=request.url.netloc.decode("ascii"),
    )  # fmt: skip
    no_way = http.no_way_to(url)
    if no_way is not None:
        if no_way is Reason.PROXY:
            raise at_proxy(tier, "the proxy did not answer just now")
        raise TierUnavailable(tier, "there is no way to it at present", reason=no_way, cure="check the network")
    request.extensions = {**request.extensions, "trace": sending.trace, "timeout": sending.limits}
    try:
        response = await client.send(request, stream=True)
    except FOREIGN as exc:
        failure = failure_of(exc, sending)
    else:
        sending.left()  # said already, unless the reply overtook the end of the request
        reply = Reply(response, sending)
        try:
            check_head(reply, tier, request.url, is_local=is_local, billed=sending.may_have_billed)
            yield reply
        finally:
            with anyio.CancelScope(shield=True):
                await reply.aclose()
        return
    if failure.reason is Reason.PROXY and (sending.fails_at_proxy or sending.waits_for_tunnel):
        http.proxy_is_dead(url)
    if failure.again:
        await client.renew()
    is_strange = failure.reason is Reason.TLS and sending.proxy is None and not is_local
    if is_strange and await login_page.stands_before(client, request.url.host):
        failure = portal(tier)
    raise failure


def check_head(reply: Reply, tier: str, url: httpx.URL, *, is_local: bool, billed: bool) -> None:
    """Refuse what did not come from the service we asked: redirects, login pages, compressed bodies."""
    status, headers = reply.status, reply.headers
    page = reply.content_type in ("text/html", "application/xhtml+xml")
    if status == 407:
        raise TierUnavailable(
            tier, "the proxy wants a login (407)", reason=Reason.PROXY, cure="put user and password into HTTPS_PROXY"
        )
    if status == 511 or (not is_local and 200 <= status < 300 and page):
        raise portal(tier)
    if 300 <= status < 400:
        target = login_page.host_in(headers.get("location", ""))
        if target and target != url.host and not is_local:
            raise portal(tier)
        raise TierUnavailable(
            tier,
            f"{url.host} sends us elsewhere ({status}); the key is not sent after it",
            reason=Reason.REDIRECTED,
            cure="check the base URL",
        )
    if 200 <= status < 300 and page:
        raise TierBroken(tier, "a web page answers at this address", reason=Reason.BAD_PAYLOAD)
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise TierBroken(
            tier, "the reply is compressed, which was not asked for", reason=Reason.BAD_PAYLOAD, may_have_billed=billed
        )


def bearer(key: Secret | None) -> dict[str, str]:
    """The header that carries `key`: made where it is sent, so that no frame keeps it as text."""
    return {"authorization": f"Bearer {key.reveal()}"} if key is not None else {}


def portal(tier: str) -> TierUnavailable:
    return TierUnavailable(
        tier,
        "a login page of the network answered instead of the service",
        reason=Reason.PORTAL,
        cure="open any web page and log in to the network",
    )


def retry_after(headers: Mapping[str, str], wall: float, most: float = ONE_DAY) -> float | None:
    """Seconds to wait, as the service says them: milliseconds, seconds or a date; at most `most`."""
    readings = (
        (headers.get("retry-after-ms"), 0.001),
        (headers.get("retry-after"), 1.0),
    )
    for text, unit in readings:
        if not text:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - wall
            except (ValueError, TypeError, OverflowError):
                continue
        if seconds == seconds:  # not NaN
            return min(max(0.0, seconds), most)
    return None
