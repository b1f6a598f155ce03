"""The status as a stream of server-sent events: once at the start, and again whenever it has changed."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway_core import Gateway

from .attention import Attention, Closing, Ended
from .problems import JSON_HEADERS
from .wire import dump, sse

SECONDS_BETWEEN_LOOKS = 2.0
SETTLING_SECONDS = 0.1  # happenings come in bursts
SECONDS_BETWEEN_COMMENTS = 10.0
_TELLING = frozenset({"circuit", "connectivity", "reset", "store", "tier"})


class StatusFeed:
    """One watcher for any number of readers; it looks only while somebody reads."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._readers = 0
        self._task: asyncio.Task[None] | None = None
        self._hint = asyncio.Event()
        self._changed = asyncio.Event()
        self._seen: Any = None
        self.number = 0
        self.status: dict[str, Any] = {}

    async def after(self, number: int) -> None:
        """Return when there is a newer status than `number`."""
        while self.number <= number:
            await self._changed.wait()

    def enter(self) -> None:
        self._readers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    async def leave(self) -> None:
        self._readers -= 1
        if not self._readers and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        def hear(happening: Any) -> None:
            if happening.kind in _TELLING:
                self._hint.set()

        forget = self._gateway.telemetry.listen(hear)
        try:
            while True:
                self._hint.clear()
                self._note((await self._gateway.status()).as_dict())
                try:
                    async with asyncio.timeout(SECONDS_BETWEEN_LOOKS):
                        await self._hint.wait()
                    await asyncio.sleep(SETTLING_SECONDS)
                except TimeoutError:
                    pass
        finally:
            forget()

    def _note(self, status: dict[str, Any]) -> None:
        # The seconds left run on by themselves; only what a reader cannot count is a change.
        seen = {
            **status,
            "tiers": [{**t, "circuit": {**t["circuit"], "reopens_in": None}} for t in status["tiers"]],
        }
        if seen != self._seen:
            self._seen, self.status = seen, status
            self.number += 1
            self._changed.set()
            self._changed = asyncio.Event()


class StatusStream(Response):
    """`event: status` for one reader, until it leaves or the server stops."""

    def __init__(self, feed: StatusFeed, closing: Closing) -> None:
        self.background = None
        self._feed = feed
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in JSON_HEADERS.items()]
        headers += [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 2000\n\n", "more_body": True})
        self._feed.enter()
        try:
            async with Attention(receive, self._closing, is_endless=True) as attention:
                heard = 0
                while True:
                    try:
                        async with asyncio.timeout(SECONDS_BETWEEN_COMMENTS):
                            await self._feed.after(heard)
                        heard = self._feed.number
                        part = b"id: %d\n" % heard + sse(b"status", dump(self._feed.status))
                    except TimeoutError:
                        part = b": still here\n\n"
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        finally:
            await self._feed.leave()
        if attention.ended is Ended.STOPPED:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
