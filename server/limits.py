"""How much one caller may ask of this gateway, where its owner has set a limit.

Counted is what may ask a tier: POST requests to `/ai`, `/v1` and `/api`, to `/admin`, and the questions of a page.
Looking costs nobody anything and is not counted: health, status, metrics, lists, pages and streams of events.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway_core import Reason, Settings

from .problems import RequestRefused

MINUTE = 60.0
MOST_CALLERS = 10_000
COUNTED = ("/ai/", "/v1/", "/api/", "/admin/")
SOON = 1.0  # seconds: nobody knows when an answer under way will end

PLACE = "ai_gateway.place"  # in the scope: for work that outlives its connection

Refuse = Callable[[RequestRefused, str], Response]


class Window:
    """At most `most` in any minute, exactly: each request leaves the window a minute after it came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._came: deque[float] = deque()

    def enter(self, now: float) -> float:
        """Count one; or, when there is no room, the seconds until there is. What is refused does not count."""
        while self._came and not 0 <= now - self._came[0] < MINUTE:
            self._came.popleft()
        if len(self._came) < self._most:
            self._came.append(now)
            return 0.0
        return MINUTE - (now - self._came[0])


class Place:
    """One request's place among those in flight, free again when all who hold it have left."""

    def __init__(self, on_free: Callable[[], None]) -> None:
        self._holders = 1
        self._on_free = on_free

    def hold(self) -> None:
        self._holders += 1

    def leave(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._on_free()


class Limits:
    """`span` is a clock that also runs while the laptop sleeps. No limit: nothing is counted."""

    def __init__(self, settings: Settings, span: Callable[[], float]) -> None:
        self._a_minute = settings.ai_gateway_max_rpm
        self._at_a_time = settings.ai_gateway_max_in_flight
        self._has_token = settings.ai_gateway_token is not None
        self._span = span
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._in_flight = 0

    def enter(self, scope: Scope) -> Place:
        """Make room for one request; raises `RequestRefused` when there is none. Its place must be left."""
        if self._at_a_time and self._in_flight >= self._at_a_time:
            raise RequestRefused(
                Reason.TOO_MANY_REQUESTS, f"{self._at_a_time} requests are being answered, and no more are taken",
                cure="wait for one of them, or raise AI_GATEWAY_MAX_IN_FLIGHT", retry_after=SOON,
            )  # fmt: skip
        if self._a_minute:
            wait = self._window(self._caller(scope)).enter(self._span())
            if wait:
                raise RequestRefused(
                    Reason.TOO_MANY_REQUESTS, f"this caller has sent {self._a_minute} requests within a minute",
                    cure="wait as long as Retry-After says, or raise AI_GATEWAY_MAX_RPM", retry_after=wait,
                )  # fmt: skip
        self._in_flight += 1
        return Place(self._freed)

    def _freed(self) -> None:
        self._in_flight -= 1

    def _caller(self, scope: Scope) -> str:
        """Who holds the token is one caller, from wherever; else each address is."""
        return "token" if self._has_token else str((scope.get("client") or ("",))[0])

    def _window(self, caller: str) -> Window:
        if caller not in self._windows:
            self._windows[caller] = Window(self._a_minute)
        self._windows.move_to_end(caller)
        while len(self._windows) > MOST_CALLERS:
            self._windows.popitem(last=False)
        return self._windows[caller]


class Limited:
    """ASGI middleware. `pages`: names of the pages whose questions count; `refuse` says it in a caller's words."""

    def __init__(self, app: ASGIApp, limits: Limits, pages: Iterable[str], refuse: Refuse) -> None:
        self._app = app
        self._limits = limits
        self._pages = tuple(f"/{name}/" for name in pages)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._counts(scope):
            await self._app(scope, receive, send)
            return
        try:
            place = self._limits.enter(scope)
        except RequestRefused as refused:
            await self._refuse(refused, scope["path"])(scope, receive, send)
            return
        try:
            await self._app({**scope, PLACE: place}, receive, send)
        finally:
            place.leave()

    def _counts(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "POST":
            return False
        path: str = scope["path"]
        return path.startswith(COUNTED) or (path.startswith(self._pages) and path.endswith("/ask"))
