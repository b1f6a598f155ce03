"""`serve`: the API, and the page if one is installed, until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from gateway_core import Gateway, Settings, SettingsInvalid, Status
from gateway_core.secrets import RedactingFilter

from .app import create_app
from .front_ends import FrontEnd, found
from .listening import listen, url_of
from .patience import PatientProtocol
from .service import Service

GRACE = 10.0  # seconds that answers under way have to finish once the server is told to stop
_AT_ONCE = 1.0  # seconds for closing after the second signal
_LAST_WORDS = 3.0  # seconds for their error events and closing
_KEEP_ALIVE = 75  # seconds; clients that re-use a connection should be the ones who close it

_no_secrets = RedactingFilter()  # one: a handler takes the same filter once

Tell = Callable[[str], None]


def serve(
    host: str | None = None,
    port: int | None = None,
    *,
    ui: bool = True,
    settings: Settings | None = None,
    tell: Tell | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code: 0, or 2 when the settings or the address forbid it.

    `host` and `port` win over the settings. `tell` takes what is shown to the user, line by line.
    """
    say = tell or _print
    try:
        chosen = settings or Settings.load()
        address = chosen.ai_gateway_host if host is None else host
        listener = listen(address, chosen.ai_gateway_port if port is None else port, chosen)
    except SettingsInvalid as exc:
        sys.stderr.write(f"ai-gateway: {exc}\n")
        return 2
    for oddity in chosen.left_out_untold():
        sys.stderr.write(f"ai-gateway: {oddity}\n")
    if chosen.state_trouble:
        sys.stderr.write(f"ai-gateway: nothing is kept: {chosen.state_trouble}\n")
    with listener:
        serve_on(listener, chosen, found() if ui else (), say)
    return 0


def serve_on(
    listener: socket.socket, settings: Settings, front_ends: tuple[FrontEnd, ...] = (), tell: Tell | None = None
) -> None:
    """Serve on a socket that listens already, until a signal."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_no_secrets)
    for name in ("httpx", "httpcore"):  # their lines name address and headers of every reply
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_news)

    signals = Signals()

    def build() -> FastAPI:
        return create_app(Gateway.from_settings(settings), front_ends=front_ends)

    async def run() -> None:
        app = build()
        service: Service = app.state.service
        server = GatewayServer(app, tell)
        signals.lead_to(server)
        try:
            await server.serve([listener])
        finally:
            await service.gateway.aclose()

    config = uvicorn.Config("", loop="auto", log_config=None)
    with signals.heard():
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(run())
        # The interpreter's own end takes a second with a page's many modules, unless it need not look through them.
        gc.freeze()


class Signals:
    """SIGINT and SIGTERM before the server listens to them, and after: none of them shows a traceback."""

    def __init__(self) -> None:
        self._early: list[int] = []

    def lead_to(self, server: GatewayServer) -> None:
        """The server is told of those that came too early for it."""
        for number in self._early:
            server.handle_exit(number, None)

    @contextmanager
    def heard(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except BaseException:
            for number, handler in before.items():
                signal.signal(number, handler)
            raise
        for number in before:  # it was stopped: what is left is the interpreter's own end
            signal.signal(number, _leave)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._early.append(number)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)  # all is closed; the interpreter alone would take longer


class GatewayServer(uvicorn.Server):
    """uvicorn, with a stop that lets answers finish: after the grace they end in an explained error instead.

    It returns when it was stopped, whatever the signal, and prints who is lit once it is up.
    """

    def __init__(self, app: FastAPI, tell: Tell | None = None, *, grace: float = GRACE) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=int(grace + _LAST_WORDS),
            )
        )
        self._service: Service = app.state.service
        self._tell = tell
        self._grace = grace
        self._telling: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._tell is not None and sockets:
            self._tell(f"AI Gateway serves on {url_of(sockets[0])} (Ctrl-C stops it)")
            self._telling = asyncio.create_task(self._tell_tiers(self._tell))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._telling is not None:
            self._telling.cancel()
        closing = self._service.closing
        closing.begin()
        end = asyncio.get_running_loop().call_later(self._grace, closing.finish)
        try:
            await super().shutdown(sockets)
            if self.force_exit:  # uvicorn would leave the application where it stands, and tell of that in a traceback
                with suppress(TimeoutError):
                    async with asyncio.timeout(_AT_ONCE):
                        await self.lifespan.shutdown()
        finally:
            end.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = [signal.SIGINT, signal.SIGTERM]
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:  # the second signal does not wait for anybody
            self._service.closing.finish()
            self.force_exit = True
        elif self._tell is not None:
            with suppress(OSError, ValueError, RuntimeError):  # closed, or written to just now
                sys.stderr.write("stopping (Ctrl-C again: at once)\n")
        self.should_exit = True

    async def _tell_tiers(self, tell: Tell) -> None:
        for line in lines_of(await self._service.gateway.status()):
            tell(line)


def lines_of(status: Status) -> list[str]:
    """Which tiers are lit, and what would light the others: one line each."""
    lines = []
    for tier in status.tiers:
        name = tier.backend if tier.mode == tier.backend else f"{tier.backend} ({tier.mode})"
        if tier.available:
            model = f", {tier.info.model}" if tier.info.model else ""
            lines.append(f"  ● {name}: ready{model}")
        else:
            if tier.mode == "extractive":  # it waits for documents, not for a cure
                lines.append(f"  ◐ {name}: quotes your documents when no model answers")
                continue
            cure = f"; {tier.cure}" if tier.cure else ""
            lines.append(f"  ○ {name}: {tier.why_not or 'not available'}{cure}")
    return lines


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _is_news(record: logging.LogRecord) -> bool:
    # A stream that broke off is cut on purpose, so that no client takes it for whole.
    return "without completing response" not in str(record.msg)
