"""The REST API over a gateway: `create_app`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway_core import Gateway, GatewayError, Reason, Settings, __version__

from . import endpoints
from .attention import Closing
from .changes import StatusFeed
from .documentation import describe
from .front_ends import FrontEnd, route
from .guard import Guard, LastResort
from .guesses import Guesses
from .heads import Heads
from .limits import Limited, Limits
from .metrics import Metrics
from .problems import RequestRefused
from .repeats import Repeats
from .surfaces import chat_completions, embeddings, messages, ollama, responses
from .surfaces.refusals import reply

DESCRIPTION = "GitHub Copilot, else a cloud LLM, else a local model: one answer, and always told who gave it."
# The framework can export spans and logs of its own, with query strings and the words of errors. Ours hold neither.
NO_TELEMETRY: Any = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}
UNOBSERVED = {"fastapi.telemetry": None}
SURFACES = (chat_completions, responses, embeddings, messages, ollama)


class Service:
    """What the endpoints share. The gateway is built on first use if none was handed in, and then is ours to close."""

    def __init__(self, gateway: Gateway | None, settings: Settings, front_ends: Sequence[FrontEnd]) -> None:
        self.settings = settings
        self.front_ends = tuple(front_ends)
        self.closing = Closing()
        self.guesses = Guesses()
        self._given = gateway
        self._built: Gateway | None = None
        self._metrics: Metrics | None = None
        self._feed: StatusFeed | None = None
        self._repeats: Repeats | None = None
        if gateway is not None:
            self._metrics = Metrics(gateway)

    @property
    def gateway(self) -> Gateway:
        if self._given is not None:
            return self._given
        if self._built is None:
            self._built = Gateway.from_settings(self.settings)
        return self._built

    @property
    def metrics(self) -> Metrics:
        if self._metrics is None:
            self._metrics = Metrics(self.gateway)
        return self._metrics

    @property
    def feed(self) -> StatusFeed:
        if self._feed is None:
            self._feed = StatusFeed(self.gateway)
        return self._feed

    @property
    def repeats(self) -> Repeats:
        if self._repeats is None:
            repeats = self._repeats = Repeats(self.gateway.clock.span)
            self.gateway.telemetry.listen(lambda happening: repeats.forget() if happening.kind == "erased" else None)
        return self._repeats

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        gateway, metrics = self.gateway, self.metrics
        for front_end in self.front_ends:
            front_end.start(gateway)
        try:
            yield
        finally:
            await asyncio.gather(*(f.stop() for f in self.front_ends))
            metrics.stop()
            if self._built is not None:
                await self._built.aclose()
                self._built = None


def create_app(gateway: Gateway | None = None, *, front_ends: Sequence[FrontEnd] = ()) -> FastAPI:
    """The application. A gateway handed in stays its owner's; else one is built from the settings."""
    settings = gateway.settings if gateway is not None else Settings.load()
    service = Service(gateway, settings, front_ends)
    app = FastAPI(
        title="AI Gateway",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # both pages load their scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
        lifespan=service.running,
        telemetry=NO_TELEMETRY,
    )
    app.state.service = service
    for surface in (endpoints, *SURFACES):
        app.include_router(surface.router)
    app.add_exception_handler(GatewayError, _told)
    app.add_exception_handler(HTTPException, _told_of_http)
    app.add_middleware(Pages, front_ends=service.front_ends)
    app.add_middleware(Heads)
    limits = Limits(settings, lambda: service.gateway.clock.span())
    app.add_middleware(Limited, limits=limits, pages=[f.name for f in service.front_ends], refuse=reply)
    app.add_middleware(Guard, settings=settings, guesses=service.guesses)
    app.add_middleware(LastResort)
    describe(app)
    return app


class Pages:
    """ASGI middleware: what lies under a front end's path is its own."""

    def __init__(self, app: ASGIApp, front_ends: Sequence[FrontEnd]) -> None:
        self._app = app
        self._front_ends = front_ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        front_end = route(self._front_ends, scope["path"]) if scope["type"] in ("http", "websocket") else None
        if front_end is None:
            await self._app(scope, receive, send)
            return
        inside = {**scope, "root_path": scope.get("root_path", "") + f"/{front_end.name}", **UNOBSERVED}
        await front_end(inside, receive, send)


async def _told(request: Request, error: Exception) -> Response:
    return reply(error, request.url.path)


async def _told_of_http(request: Request, error: Any) -> Response:
    """What the router refuses by itself: no such path, another method."""
    if error.status_code == 405:
        allowed = error.headers.get("Allow", "") if error.headers else ""
        return reply(
            RequestRefused(
                Reason.METHOD_NOT_ALLOWED, f"{request.method} is not served here", cure=f"use {allowed}",
                headers={"allow": allowed},
            ),
            request.url.path,
        )  # fmt: skip
    unknown = RequestRefused(Reason.NOT_FOUND, "nothing is served at this path", cure="see / for what is")
    return reply(unknown, request.url.path)
