"""Who may call at all. A port on a laptop is a door that every web page can knock at.

In order: the `Host` must be one of our names, exactly parsed (a foreign name that resolves to 127.0.0.1 gets nothing);
a request made by a foreign page is refused; the token, when one is set, must be right. One place, for every path.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_core import Reason, Settings
from gateway_core.discretion import places_of
from gateway_core.secrets import Secret

from . import sign_in
from .problems import ClientLeft, RequestRefused
from .surfaces.refusals import reply

log = logging.getLogger("ai_gateway.server")

OPEN_PATHS = frozenset({"/health", sign_in.PATH})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Hosts:
    """The names this gateway answers to: loopback with any port, and those that were allowed by name."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._names = set(_LOOPBACK)
        self._with_port = set[str]()
        for entry in allowed:
            match = _HOST.fullmatch(entry.lower())
            if match:
                (self._with_port if match["port"] else self._names).add(_joined(match["name"], match["port"]))

    def serves(self, host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        if match is None or (host.startswith("[") and host[host.find("]") + 1 :].startswith(".")):
            return False
        name, port = match["name"], match["port"]
        if port is not None and int(port) > 65535:
            return False
        return name in self._names or _joined(name, port) in self._with_port


def _joined(name: str, port: str | None) -> str:
    return f"{name}:{int(port)}" if port else name


class Guard:
    """ASGI middleware. Refuses with a problem, before anything is read or routed."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = Hosts(settings.allowed_hosts)
        token = settings.ai_gateway_token
        self._token = Secret(token.get_secret_value()) if token else None
        self._session = sign_in.session_of(self._token.reveal().encode()) if self._token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except RequestRefused as refused:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            asks_for_page = refused.reason is Reason.TOKEN_NEEDED and _wants_page(scope)
            await (sign_in.form() if asks_for_page else reply(refused, scope["path"]))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        hosts, origins, tokens, sessions, site = list[str](), list[str](), list[bytes](), list[bytes](), b""
        for name, value in scope["headers"]:
            match name:
                case b"host":
                    hosts.append(value.decode("latin-1"))
                case b"origin":
                    origins.append(value.decode("latin-1"))
                case b"sec-fetch-site":
                    site = value.strip().lower()
                case b"cookie":
                    sessions.append(value)
                case b"x-api-key":
                    tokens.append(value)
                case b"authorization" if value[:7].lower() == b"bearer ":
                    tokens.append(value[7:].strip())
        if len(hosts) != 1 or not self._hosts.serves(hosts[0]):
            raise RequestRefused(
                Reason.HOST_REFUSED, "this Host is not one of the gateway's names",
                cure="call it as 127.0.0.1 or localhost, or add the name to AI_GATEWAY_ALLOWED_HOSTS",
            )  # fmt: skip
        if site == b"cross-site" or len(origins) > 1 or (origins and not _is_own(origins[0], hosts[0])):
            raise RequestRefused(
                Reason.CROSS_SITE, "a page of another site made this request", cure="call the gateway from a program"
            )
        if self._token is not None and scope["path"] not in OPEN_PATHS and not self._is_right(tokens, sessions):
            raise RequestRefused(
                Reason.TOKEN_NEEDED, "the gateway's token is missing or wrong",
                cure="send the header Authorization: Bearer with the value of AI_GATEWAY_TOKEN",
                headers={"www-authenticate": "Bearer"},
            )  # fmt: skip

    def _is_right(self, tokens: Iterable[bytes], cookies: Iterable[bytes]) -> bool:
        assert self._token is not None
        assert self._session is not None
        rights = [hmac.compare_digest(token, self._token.reveal().encode()) for token in tokens]
        rights += [hmac.compare_digest(sign_in.session_in(cookie), self._session) for cookie in cookies]
        return any(rights)


def _wants_page(scope: Scope) -> bool:
    return (
        scope["type"] == "http" and scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")
    )


def _is_own(origin: str, host: str) -> bool:
    """The page that made the request was served under the very name and port it calls."""
    try:
        parts = urlsplit(origin)
        default = {"http": 80, "https": 443}[parts.scheme]
        own = urlsplit(f"//{host}")
        return bool(parts.hostname) and (parts.hostname, parts.port or default) == (own.hostname, own.port or default)
    except (KeyError, ValueError):
        return False


class LastResort:
    """ASGI middleware around everything: an error of our own becomes a problem, and a log line without contents."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientLeft:
            return
        except Exception as exc:  # noqa: BLE001 - the very top: whatever it is, the client hears of it
            log.error("an error of our own: %s at %s", type(exc).__name__, _place(exc))
            log.debug("from:\n%s", "\n".join(places_of(exc)))
            if not has_begun:
                await reply(exc, scope["path"])(scope, receive, send)


def _place(exc: BaseException) -> str:
    at = exc.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else "?"
