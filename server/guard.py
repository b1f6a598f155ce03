"""Who may call at all. A port on a laptop is a door that every web page can knock at.

In order: the `Host` must be one of our names, exactly parsed (a foreign name that resolves to 127.0.0.1 gets nothing);
a request made by a foreign page is refused, unless its origin was allowed by name; the token, when one is set, must be
right. One place, for every path.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_core import Reason, Settings
from gateway_core.discretion import place_of, places_of
from gateway_core.secrets import Secret

from . import sign_in
from .cross_origin import CrossOrigin
from .guesses import Guesses, client_of
from .problems import ClientLeft, RequestRefused
from .surfaces.refusals import reply

log = logging.getLogger("ai_gateway.server")

OPEN_PATHS = frozenset({"/health", sign_in.PATH})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
MOST_SHOWN = 3  # tokens and sessions in one request, else it would be many guesses in one
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


@dataclass
class _Claims:
    """What a request says of where it comes from, and by whose leave."""

    hosts: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    tokens: list[bytes] = field(default_factory=list)
    cookies: list[bytes] = field(default_factory=list)
    sites: set[bytes] = field(default_factory=set)
    is_visit: bool = False

    @property
    def is_of_another_site(self) -> bool:
        # Every program of this laptop with a page is "same-site": a link in one may lead here, it may embed nothing.
        return b"cross-site" in self.sites or (b"same-site" in self.sites and not self.is_visit)

    @classmethod
    def of(cls, scope: Scope) -> _Claims:
        found = cls()
        for name, value in scope["headers"]:
            match name:
                case b"host":
                    found.hosts.append(value.decode("latin-1"))
                case b"origin":
                    found.origins.append(value.decode("latin-1"))
                case b"sec-fetch-site":
                    found.sites.add(value.strip().lower())
                case b"sec-fetch-mode":
                    found.is_visit = value.strip().lower() == b"navigate"
                case b"cookie":
                    found.cookies.append(value)
                case b"x-api-key":
                    found.tokens.append(value)
                case b"authorization" if value[:7].lower() == b"bearer ":
                    found.tokens.append(value[7:].strip())
        return found


class Guard:
    """ASGI middleware. Refuses with a problem, before anything is read or routed."""

    def __init__(self, app: ASGIApp, settings: Settings, guesses: Guesses) -> None:
        self._app = app
        self._hosts = Hosts(settings.allowed_hosts)
        self._cross_origin = CrossOrigin(settings.cors_origins)
        self._guesses = guesses
        token = settings.ai_gateway_token
        self._token = Secret(token.get_secret_value()) if token else None
        self._session = sign_in.session_of(self._token.reveal().encode()) if self._token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        claims = _Claims.of(scope)
        foreign: str | None = None
        try:
            self._check_host(claims)
            foreign = self._foreign_origin(scope, claims)
            if foreign is not None and (answer := self._cross_origin.preflight(scope, foreign)) is not None:
                await answer(scope, receive, send)
                return
            send = self._cross_origin.marking(send, scope["path"], foreign)
            await self._check_token(scope, claims, is_foreign=foreign is not None)
        except RequestRefused as refused:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            asks_for_page = refused.reason is Reason.TOKEN_NEEDED and _wants_page(scope)
            await (sign_in.form() if asks_for_page else reply(refused, scope["path"]))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host(self, claims: _Claims) -> None:
        if len(claims.hosts) != 1 or not self._hosts.serves(claims.hosts[0]):
            raise RequestRefused(
                Reason.HOST_REFUSED, "this Host is not one of the gateway's names",
                cure="call it as 127.0.0.1 or localhost, or add the name to AI_GATEWAY_ALLOWED_HOSTS",
            )  # fmt: skip

    def _foreign_origin(self, scope: Scope, claims: _Claims) -> str | None:
        """The allowed origin whose page made this request; `None`: no foreign page did. Raises if it may not."""
        if len(claims.origins) == 1 and scope["type"] == "http":
            origin = claims.origins[0]
            if not _is_own(origin, claims.hosts[0]) and self._cross_origin.allows(origin, scope["path"]):
                return origin
        is_own = not claims.origins or (len(claims.origins) == 1 and _is_own(claims.origins[0], claims.hosts[0]))
        if claims.is_of_another_site or not is_own:
            raise RequestRefused(
                Reason.CROSS_SITE, "a page of another site made this request", cure="call the gateway from a program"
            )
        return None

    async def _check_token(self, scope: Scope, claims: _Claims, *, is_foreign: bool) -> None:
        if self._token is None or scope["path"] in OPEN_PATHS:
            return
        sessions = (
            [] if is_foreign else [s for c in claims.cookies if sign_in.may_be_session(s := sign_in.session_in(c))]
        )
        shown = len(claims.tokens) + len(sessions)
        if shown > 0 and await self._guesses.look(
            client_of(scope),
            lambda: shown <= MOST_SHOWN and self._is_right(claims.tokens, sessions),
        ):
            return
        raise RequestRefused(
            Reason.TOKEN_NEEDED, "the gateway's token is missing or wrong",
            cure="send the header Authorization: Bearer with the value of AI_GATEWAY_TOKEN",
            headers={"www-authenticate": "Bearer"},
        )  # fmt: skip

    def _is_right(self, tokens: Iterable[bytes], sessions: Iterable[bytes]) -> bool:
        assert self._token is not None
        assert self._session is not None
        right = self._token.reveal().encode()
        found = [hmac.compare_digest(token, right) for token in tokens]
        found += [hmac.compare_digest(session, self._session) for session in sessions]  # made of the token: a guess too
        return any(found)  # none is left out, whichever is right


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
            log.error("an error of our own: %s at %s", type(exc).__name__, place_of(exc))
            log.debug("from:\n%s", "\n".join(places_of(exc)))
            if not has_begun:
                await reply(exc, scope["path"])(scope, receive, send)
