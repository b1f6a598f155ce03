"""Pages beside the API: found by entry point, none required, loaded after the API answers.

The entry point `ui` of the group `ai_gateway.front_ends` leads to a function `(gateway) -> ASGI application`, which
is served at `/ui`. Importing and building it may take seconds and is done in a thread; until then its
path shows a page that reloads itself, and everything below it is a 503.
"""

from __future__ import annotations

import asyncio
import html
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_core import Gateway, Reason

from .problems import RequestRefused, reply

log = logging.getLogger("ai_gateway.server")

GROUP = "ai_gateway.front_ends"
PAGE = "ui"
_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><title>AI Gateway</title>'
_STYLE = "<style>body{font:16px system-ui;margin:4rem auto;max-width:40rem;padding:0 1rem}</style>"


class FrontEnd:
    """One page at `/name`. `load` returns the function that builds it from the gateway; both may be slow."""

    def __init__(self, name: str, load: Callable[[], Callable[[Gateway], ASGIApp]]) -> None:
        self.name = name
        self._load = load
        self._app: ASGIApp | None = None
        self._fault: str | None = None
        self._loading: asyncio.Task[None] | None = None
        self._life: _Lifespan | None = None

    @property
    def is_loading(self) -> bool:
        return self._app is None and self._fault is None

    def start(self, gateway: Gateway) -> None:
        self._loading = asyncio.create_task(self._start(gateway))

    async def stop(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        if self._life is not None:
            await self._life.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            if scope["type"] == "http" and scope["path"] == f"/{self.name}":
                await RedirectResponse(f"/{self.name}/", 307)(scope, receive, send)
                return
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._not_yet(scope)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1013})

    def _not_yet(self, scope: Scope) -> Response:
        if self._fault is not None:
            told = f"<p>The page could not be loaded: {html.escape(self._fault)}</p><p>The API works without it.</p>"
            return HTMLResponse(f"{_HEAD}{_STYLE}<h1>AI Gateway</h1>{told}", 503)
        if scope["method"] != "GET" or scope["path"] not in (f"/{self.name}", f"/{self.name}/"):
            # Its scripts and programs: a question or "erase" that nobody heard must not look like one that was done.
            return reply(RequestRefused(Reason.STARTING_UP, "the page is loading", cure="ask again in a moment"))
        reload = '<meta http-equiv="refresh" content="1">'
        return HTMLResponse(f"{_HEAD}{reload}{_STYLE}<h1>AI Gateway</h1><p>The page is loading …</p>")

    async def _start(self, gateway: Gateway) -> None:
        begun = time.monotonic()
        try:
            app = await _in_a_thread_of_its_own(lambda: self._load()(gateway))
            life = _Lifespan(app)
            await life.start()
        except Exception as exc:  # whatever a page does, the API goes on without it
            missing = exc.name if isinstance(exc, ModuleNotFoundError) else None
            self._fault = f"{missing} is not installed" if missing else type(exc).__name__
            log.warning("the page /%s could not be loaded: %s", self.name, self._fault)
            log.debug("its traceback", exc_info=exc)
            return
        self._life, self._app = life, app
        log.info("the page /%s was ready after %.1f s", self.name, time.monotonic() - begun)


def found() -> tuple[FrontEnd, ...]:
    """The pages that are installed. The group names this server too, for the command line."""
    return tuple(FrontEnd(entry.name, entry.load) for entry in entry_points(group=GROUP) if entry.name != "server")


def route(front_ends: Iterable[FrontEnd], path: str) -> FrontEnd | None:
    name = path[1:].partition("/")[0]
    return next((f for f in front_ends if f.name == name), None)


async def _in_a_thread_of_its_own(work: Callable[[], ASGIApp]) -> ASGIApp:
    """As `asyncio.to_thread`, but neither the loop nor the program waits for it at its end: importing takes seconds."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[ASGIApp] = loop.create_future()

    def run() -> None:
        app, failure = None, None
        try:
            app = work()
        except Exception as exc:  # noqa: BLE001 - it is raised where it is awaited
            failure = exc
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, app, failure)

    def tell(app: ASGIApp | None, failure: Exception | None) -> None:
        if result.done():
            return  # it was cancelled
        if failure is not None:
            result.set_exception(failure)
        elif app is not None:
            result.set_result(app)

    threading.Thread(target=run, name="ai-gateway-page", daemon=True).start()
    return await result


class _Lifespan:
    """Start-up and shutdown of an application that is mounted late, by the ASGI lifespan protocol."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())
        told = await self._exchange("lifespan.startup")
        if told["type"] == "lifespan.startup.failed":
            raise RuntimeError("it failed to start")

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            await self._exchange("lifespan.shutdown")

    async def _exchange(self, message: str) -> Message:
        await self._to_app.put({"type": message})
        return await self._from_app.get()

    async def _run(self) -> None:
        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        try:
            await self._app(scope, self._to_app.get, self._from_app.put)
        except Exception as exc:  # noqa: BLE001 - by the protocol, an application without a lifespan raises
            log.debug("no lifespan: %s", type(exc).__name__)
        await self._from_app.put({"type": "lifespan.over"})
