"""What every request shares: the gateway, and what watches over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

from gateway_core import Gateway, Settings

from .attention import Closing
from .changes import StatusFeed
from .front_ends import FrontEnd
from .guesses import Guesses
from .metrics import Metrics
from .repeats import Repeats


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


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
