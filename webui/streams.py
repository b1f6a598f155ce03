"""Server-sent events over ASGI, whose work ends when the reader hangs up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SECONDS_BETWEEN_COMMENTS = 10.0
SECONDS_BETWEEN_EVENTS = 0.05  # a page cannot show more, and each event costs it a layout

Named = tuple[str, dict[str, Any]]
Tell = Callable[[str, dict[str, Any]], None]


class Events(Protocol):
    """What is told one after the other. Closing ends the work behind it, also before it has begun."""

    def __aiter__(self) -> AsyncIterator[Named]: ...

    async def aclose(self) -> None: ...


def sse(name: str, value: Any) -> bytes:
    """One event. ASCII only: other line breaks of Unicode must not end it early."""
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


class EventStream(Response):
    """Sends what `begin` yields. Deltas that come faster than a page can show are joined; nothing else waits.

    `begin` is given a function that tells of what happens between two events, while nothing is yielded.
    When the reader leaves, or the server cancels the request, the events are closed at once and hear of it as
    a cancellation.
    """

    def __init__(self, begin: Callable[[Tell], Events]) -> None:
        self.background = None
        self._events = begin(self._tell)
        self._waiting: list[Named] = []
        self._has_more = asyncio.Event()
        self._is_pressing = asyncio.Event()  # there is more than deltas, or it is over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._play(receive, send)
        finally:  # a client that was gone before anything was read
            with suppress(RuntimeError):  # cancelled twice: they are being read yet, and closed by their reader
                await self._events.aclose()

    async def _play(self, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        reading = asyncio.create_task(self._read())
        sending = asyncio.create_task(self._send(send, reading))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving, reading):
                task.cancel()
            await asyncio.wait((sending, leaving, reading))
        if not sending.cancelled():
            sending.result()
        if not reading.cancelled():
            reading.result()

    async def _read(self) -> None:
        try:
            async with aclosing(self._events) as events:
                async for name, value in events:
                    self._tell(name, value)
        finally:
            self._has_more.set()
            self._is_pressing.set()

    def _tell(self, name: str, value: dict[str, Any]) -> None:
        last = self._waiting[-1] if self._waiting else None
        if name == "delta" and last is not None and last[0] == "delta":
            self._waiting[-1] = ("delta", {"text": last[1]["text"] + value["text"]})
        else:
            self._waiting.append((name, value))
        self._has_more.set()
        if name != "delta":
            self._is_pressing.set()

    async def _send(self, send: Send, reading: asyncio.Task[None]) -> None:
        while True:
            try:
                async with asyncio.timeout(SECONDS_BETWEEN_COMMENTS):
                    await self._has_more.wait()
            except TimeoutError:
                await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
                continue
            is_over = reading.done()
            self._has_more.clear()
            self._is_pressing.clear()
            taken, self._waiting = self._waiting, []
            body = b"".join(sse(name, value) for name, value in taken)
            if body or is_over:
                await send({"type": "http.response.body", "body": body, "more_body": not is_over})
            if is_over:
                return
            if taken and taken[-1][0] == "delta":
                with suppress(TimeoutError):
                    async with asyncio.timeout(SECONDS_BETWEEN_EVENTS):
                        await self._is_pressing.wait()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
