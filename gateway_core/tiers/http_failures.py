"""What a failed exchange means: the type of the foreign error, how far the request had come, by which way."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import httpcore
import httpx

from ..errors import TierBroken, TierFailed, TierUnavailable, TierUnreachable
from ..settings import is_loopback
from ..types import Reason
from .base import Call
from .names import CannotConnect, CannotResolve
from .network import NO_ROOM, NO_WAY_OUT, CannotTrust, Dropped

# Where the address of a tier is set: what to look at when nobody answers there.
VARIABLES = {
    "copilot": "COPILOT_API_BASE and COPILOT_GITHUB_API",
    "cloud": "CLOUD_BASE_URL",
    "local": "OLLAMA_BASE_URL",
}


class Sending:
    """How far one request has come, told by httpcore's trace."""

    def __init__(
        self, tier: str, call: Call | None, *, proxy: str | None, billed: bool, connect: float, host: str = ""
    ) -> None:
        self.tier = tier
        self.host = host  # with its port, where that is not the usual one
        self.proxy = proxy
        self.limits: dict[str, float | None] = {"connect": connect, "read": None, "write": None, "pool": connect}
        self.is_sent = False
        self.is_reused = True
        self.tunnel_status: int | None = None
        self._call = call
        self._billed = billed
        self._tunnelling = False
        self._reached_proxy = False

    @property
    def may_have_billed(self) -> bool:
        return self._billed and self.is_sent

    @property
    def fails_at_proxy(self) -> bool:
        return self.proxy is not None and not self._reached_proxy

    @property
    def cure(self) -> str:
        """For an address that nobody answers at."""
        is_here, name = is_loopback(self.host), VARIABLES.get(self.tier)
        told = "start what should listen there" if is_here else "check the network"
        return f"{told}, or {'check ' if is_here else ''}{name}" if name else told

    def named(self, told: str) -> str:
        return f"{self.host}: {told}" if self.host else told

    @property
    def waits_for_tunnel(self) -> bool:
        return self._tunnelling and self.tunnel_status is None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        step = event.partition(".")[2]
        if step == "connect_tcp.started":
            self.is_reused = False
        elif step == "connect_tcp.complete":
            self._reached_proxy = True
        elif step == "send_request_headers.started":
            self._tunnelling = info["request"].method == b"CONNECT"
            self._reached_proxy = True
            # The way through a proxy belongs to the connection, whose limit it has; the answer has the router's.
            self.limits["read"] = self.limits["connect"] if self._tunnelling else None
        elif step == "receive_response_headers.complete" and self._tunnelling:
            self.tunnel_status = info["return_value"][1]
        elif step == "send_request_body.complete" and not self._tunnelling:
            self.left()

    def left(self) -> None:
        """The whole request is out."""
        if not self.is_sent:
            self.is_sent = True
            if self._call is not None:
                self._call.sent()


BROKE_OFF = "the connection broke off in the middle of the answer"


def failure_of(exc: Exception, sending: Sending, *, in_body: bool = False) -> TierFailed:
    """Our error for a foreign one. In the middle of a body nothing is asked again."""
    for kinds, told in _MEANINGS:
        if isinstance(exc, kinds):
            return told(exc, sending, in_body)
    return TierBroken(sending.tier, type(exc).__name__, reason=Reason.UPSTREAM_ERROR)


def _own_fault(tier: str, code: int | None, billed: bool) -> TierFailed | None:
    """Errors of this laptop: nothing that a tier could be charged for."""
    if code in NO_WAY_OUT:
        return TierUnavailable(
            tier,
            "no way out of this laptop",
            reason=Reason.OFFLINE,
            cure="check the network",
            may_have_billed=billed,
        )
    if code in NO_ROOM:
        return TierUnavailable(
            tier, "this laptop has no room for another connection", reason=Reason.INTERNAL, cure="raise `ulimit -n`"
        )
    return None


def at_proxy(tier: str, told: str) -> TierFailed:
    return TierUnavailable(tier, told, reason=Reason.PROXY, cure="check HTTPS_PROXY and HTTP_PROXY, or unset them")


def _not_resolved(exc: CannotResolve, sending: Sending, in_body: bool) -> TierFailed:
    if sending.fails_at_proxy:
        return at_proxy(sending.tier, "the name of the proxy cannot be looked up")
    if exc.silent:
        return TierUnavailable(
            sending.tier, "the name server does not answer", reason=Reason.DNS, cure="check the network"
        )
    return TierUnreachable(sending.tier, sending.named("its name has no address"), reason=Reason.DNS, cure=sending.cure)


def _not_connected(exc: CannotConnect, sending: Sending, in_body: bool) -> TierFailed:
    own = _own_fault(sending.tier, exc.code, False)
    if own is not None:
        return own
    if sending.fails_at_proxy:
        return at_proxy(sending.tier, "the proxy cannot be reached")
    told, reason = "the connection was refused", Reason.CONNECT_REFUSED
    if exc.code == errno.ETIMEDOUT:
        told, reason = "no connection in time", Reason.CONNECT_TIMEOUT
    elif exc.code in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        told, reason = "the connection was reset", Reason.RESET
    return TierUnreachable(sending.tier, sending.named(told), reason=reason, cure=sending.cure)


def _not_trusted(exc: CannotTrust, sending: Sending, in_body: bool) -> TierFailed:
    told = f": {exc}" if str(exc) else ""
    return TierUnavailable(
        sending.tier,
        f"its certificate cannot be trusted, or it speaks no TLS{told}",
        reason=Reason.TLS,
        cure="check the base URL, the clock, and whether your company's certificate is in the system's store",
    )


def _too_slow_to_connect(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    if sending.fails_at_proxy:
        return at_proxy(sending.tier, "the proxy does not answer")
    told = sending.named("no connection in time")
    return TierUnreachable(sending.tier, told, reason=Reason.CONNECT_TIMEOUT, cure=sending.cure)


def _plainly_not_connected(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    return _not_connected(CannotConnect(None), sending, in_body)


def _lost(code: int | None, untouched: bool, sending: Sending, in_body: bool) -> TierFailed:
    billed = sending.may_have_billed
    own = _own_fault(sending.tier, code, billed)
    if own is not None:
        return own
    again = untouched and sending.is_reused and not in_body
    cure = "" if in_body else sending.cure
    if code is not None and in_body:
        told, reason = BROKE_OFF, Reason.RESET
    elif code is not None:
        told, reason = sending.named("the connection was reset"), Reason.RESET
    elif in_body:
        told, reason = BROKE_OFF, Reason.TRUNCATED
    else:
        told, reason = sending.named("the connection was closed without a reply"), Reason.PROTOCOL
    return TierBroken(sending.tier, told, reason=reason, cure=cure, may_have_billed=billed, again=again)


def _dropped(exc: Dropped, sending: Sending, in_body: bool) -> TierFailed:
    return _lost(exc.code, exc.untouched, sending, in_body)


def _read_failed(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    return _lost(errno.ECONNRESET, False, sending, in_body)


def _not_http(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    told, reason = (BROKE_OFF, Reason.TRUNCATED) if in_body else ("the reply is not HTTP", Reason.PROTOCOL)
    return TierBroken(sending.tier, told, reason=reason, may_have_billed=sending.may_have_billed)


def _silent(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    if sending.waits_for_tunnel:
        return at_proxy(sending.tier, "the proxy does not answer")
    return TierBroken(sending.tier, "silence", reason=Reason.STALLED, may_have_billed=sending.may_have_billed)


def _proxy_refused(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    status = sending.tunnel_status
    if status is not None and status >= 500:
        return TierUnreachable(sending.tier, f"the proxy cannot reach it ({status})", reason=Reason.PROXY)
    return at_proxy(sending.tier, f"the proxy refuses the way ({status})" if status else "the proxy cannot be used")


def _our_request(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    return TierUnavailable(
        sending.tier, "the request cannot be written as HTTP", reason=Reason.INTERNAL, cure="check key and base URL"
    )


def _busy(exc: Exception, sending: Sending, in_body: bool) -> TierFailed:
    return TierUnavailable(sending.tier, "too many requests are under way", reason=Reason.BUSY)


def _system(exc: OSError, sending: Sending, in_body: bool) -> TierFailed:
    return _own_fault(sending.tier, exc.errno, sending.may_have_billed) or _lost(exc.errno, False, sending, in_body)


# The first row that fits: our own kinds before their parents.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], Callable[[Any, Sending, bool], TierFailed]], ...] = (
    ((CannotResolve,), _not_resolved),
    ((CannotConnect,), _not_connected),
    ((CannotTrust,), _not_trusted),
    ((Dropped,), _dropped),
    ((httpx.ConnectTimeout, httpcore.ConnectTimeout), _too_slow_to_connect),
    ((httpx.PoolTimeout, httpcore.PoolTimeout), _busy),
    ((httpx.TimeoutException, httpcore.TimeoutException), _silent),
    ((httpx.ProxyError, httpcore.ProxyError), _proxy_refused),
    ((httpx.ConnectError, httpcore.ConnectError), _plainly_not_connected),
    ((httpx.NetworkError, httpcore.NetworkError), _read_failed),
    ((httpx.RemoteProtocolError, httpcore.RemoteProtocolError), _not_http),
    ((httpx.LocalProtocolError, httpcore.LocalProtocolError), _our_request),
    ((httpx.UnsupportedProtocol, httpcore.UnsupportedProtocol, httpx.InvalidURL), _our_request),
    ((OSError,), _system),
)

FOREIGN = tuple({kind for kinds, _ in _MEANINGS for kind in kinds})
