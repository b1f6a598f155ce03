"""The REST API over a gateway: `create_app`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway_core import Gateway, GatewayError, Reason, Settings, __version__

from . import endpoints
from .attention import Closing, Endless
from .documentation import describe
from .front_ends import FrontEnd, route
from .guard import Guard, LastResort
from .heads import Heads
from .limits import Limited, Limits
from .problems import RequestRefused
from .service import Service
from .surfaces import chat_completions, embeddings, messages, ollama, responses
from .surfaces.refusals import reply

DESCRIPTION = "GitHub Copilot, else a cloud LLM, else a local model: one answer, and always told who gave it."
# The framework can export spans and logs of its own, with query strings and the words of errors. Ours hold neither.
NO_TELEMETRY: Any = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}
UNOBSERVED = {"fastapi.telemetry": None}
SURFACES = (chat_completions, responses, embeddings, messages, ollama)


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
    app.add_middleware(Pages, front_ends=service.front_ends, closing=service.closing)
    app.add_middleware(Heads)
    limits = Limits(settings, lambda: service.gateway.clock.span())
    app.add_middleware(Limited, limits=limits, pages=[f.name for f in service.front_ends], refuse=reply)
    app.add_middleware(Guard, settings=settings, guesses=service.guesses)
    app.add_middleware(LastResort)
    describe(app)
    return app


class Pages:
    """ASGI middleware: what lies under a front end's path is its own.

    A page asks by POST, and such an answer may finish when the server is being stopped. What it merely fetches is
    short, or a stream without an end, such as Gradio's heartbeat: that ends at once.
    """

    def __init__(self, app: ASGIApp, front_ends: Sequence[FrontEnd], closing: Closing) -> None:
        self._app = app
        self._front_ends = front_ends
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        front_end = route(self._front_ends, scope["path"]) if scope["type"] in ("http", "websocket") else None
        if front_end is None:
            await self._app(scope, receive, send)
            return
        inside = {**scope, "root_path": scope.get("root_path", "") + f"/{front_end.name}", **UNOBSERVED}
        if scope.get("method") == "GET":
            with Endless(self._closing):
                await front_end(inside, receive, send)
        else:
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
