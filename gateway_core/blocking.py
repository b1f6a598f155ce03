"""The gateway for code that does not await: one background thread runs the event loop.

Ctrl-C cancels the request, which closes the connection to the provider at once. A forked child starts a gateway of
its own: threads and sockets do not survive a fork.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from .gateway import Gateway, Health, Status
from .settings import Settings
from .types import Answer, Document, Event

T = TypeVar("T")


class BlockingGateway:
    """`Gateway` without await; same methods, arguments and errors. Close it, or use it as a context manager."""

    def __init__(self, build: Callable[[], Gateway]) -> None:
        self._build = build
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gateway: Gateway | None = None
        self._owner = 0
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> BlockingGateway:
        chosen = settings or Settings.load()
        return cls(lambda: Gateway.from_settings(chosen))

    def __enter__(self) -> BlockingGateway:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def ask(self, prompt: str, **options: Any) -> Answer:
        return self._call(lambda gateway: gateway.ask(prompt, **options))

    def ask_documents(self, prompt: str, documents: Sequence[Document | str], **options: Any) -> Answer:
        return self._call(lambda gateway: gateway.ask_documents(prompt, documents, **options))

    def stream(self, prompt: str, **options: Any) -> Iterator[Event]:
        """The events as they come. Closing the iterator, or Ctrl-C while waiting, cancels the request."""
        events: Any = None

        async def following(gateway: Gateway) -> Event | None:
            nonlocal events
            if events is None:
                events = gateway.stream(prompt, **options)
            return await anext(events, None)

        async def close(gateway: Gateway) -> None:
            if events is not None:
                await events.aclose()

        try:
            while (event := self._call(following)) is not None:
                yield event
        finally:
            self._call(close)

    def status(self) -> Status:
        return self._call(lambda gateway: gateway.status())

    def health(self) -> Health:
        return self._call(lambda gateway: gateway.health())

    def reset(self) -> None:
        self._call(lambda gateway: gateway.reset())

    def close(self) -> None:
        with self._lock:
            loop, gateway = self._loop, self._gateway
            self._loop = self._gateway = None
        if loop is None or gateway is None or self._owner != os.getpid():
            return
        asyncio.run_coroutine_threadsafe(gateway.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)

    def _call(self, work: Callable[[Gateway], Coroutine[Any, Any, T]]) -> T:
        loop, gateway = self._running()
        future = asyncio.run_coroutine_threadsafe(work(gateway), loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C arrives in this thread: the request must not go on without us.
            if not future.done():
                future.cancel()
            raise

    def _running(self) -> tuple[asyncio.AbstractEventLoop, Gateway]:
        with self._lock:
            if self._loop is None or self._gateway is None or self._owner != os.getpid():
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_run, args=(loop,), name="ai-gateway", daemon=True)
                thread.start()
                self._loop, self._owner = loop, os.getpid()

                async def build() -> Gateway:
                    return self._build()

                self._gateway = asyncio.run_coroutine_threadsafe(build(), loop).result()
            return self._loop, self._gateway


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
