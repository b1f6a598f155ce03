"""The gateway for code that does not await: one background thread runs the event loop.

Ctrl-C cancels the request, which closes the connection to the provider at once. A forked child starts a gateway of
its own: threads and sockets do not survive a fork.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import aclosing
from typing import Any, TypeVar

from .compose import Sent
from .discretion import Discreet
from .drill import Drill, drilled
from .gateway import Gateway
from .settings import Settings
from .standing import Health, Status
from .types import Answer, Embeddings, Event

T = TypeVar("T")

LONGEST_GOODBYE = 5.0  # seconds that a connection may take to close before it is left to the end of the process
_TICK = 0.2 if sys.platform == "win32" else None


class BlockingGateway:
    """`Gateway` without await; same methods, arguments and errors. Close it, or use it as a context manager."""

    def __init__(self, build: Callable[[], Gateway]) -> None:
        self._build = build
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
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

    def ask_documents(self, prompt: str, documents: Sequence[Sent], **options: Any) -> Answer:
        return self._call(lambda gateway: gateway.ask_documents(prompt, documents, **options))

    def stream(self, prompt: str, **options: Any) -> BlockingStream:
        """The events as they come. Closing the stream, or Ctrl-C while waiting, cancels the request."""
        loop, gateway = self._running()
        return BlockingStream(loop, lambda: gateway.stream(prompt, **options))

    def drill(self, drill: Drill, prompt: str, **options: Any) -> BlockingStream:
        """`stream`, with a fault in front of the tiers; no circuit of this gateway hears of it."""
        loop, gateway = self._running()
        return BlockingStream(loop, lambda: drilled(gateway, drill).stream(prompt, **options))

    def embed(self, texts: Sequence[str], **options: Any) -> Embeddings:
        return self._call(lambda gateway: gateway.embed(texts, **options))

    def status(self) -> Status:
        return self._call(lambda gateway: gateway.status())

    def health(self) -> Health:
        return self._call(lambda gateway: gateway.health())

    def reset(self) -> None:
        self._call(lambda gateway: gateway.reset())

    def close(self) -> None:
        with self._lock:
            loop, gateway, thread = self._loop, self._gateway, self._thread
            self._loop = self._gateway = self._thread = None
        if loop is None or thread is None or self._owner != os.getpid():
            return
        if gateway is not None:
            wait([asyncio.run_coroutine_threadsafe(gateway.aclose(), loop)], LONGEST_GOODBYE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LONGEST_GOODBYE)

    def _call(self, work: Callable[[Gateway], Coroutine[Any, Any, T]]) -> T:
        future = self._start(work)
        try:
            return _result(future)
        finally:
            # Ctrl-C arrives in this thread: the request must not go on without us.
            future.cancel()

    def _start(self, work: Callable[[Gateway], Coroutine[Any, Any, T]]) -> Future[T]:
        loop, gateway = self._running()
        return asyncio.run_coroutine_threadsafe(work(gateway), loop)

    def _running(self) -> tuple[asyncio.AbstractEventLoop, Gateway]:
        if self._owner not in (0, os.getpid()):
            self._lock = threading.Lock()  # another thread of the parent may have held it at the fork
        with self._lock:
            if self._loop is None or self._owner != os.getpid():
                self._loop, self._gateway, self._owner = asyncio.new_event_loop(), None, os.getpid()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="ai-gateway", daemon=True)
                self._thread.start()
            if self._gateway is None:

                async def build() -> Gateway:
                    return self._build()

                self._gateway = _result(asyncio.run_coroutine_threadsafe(build(), self._loop))
            return self._loop, self._gateway


class BlockingStream(Iterator[Event]):
    """The events of one answer, received by the loop's thread and read by another.

    One task reads the whole answer: closing a generator from a second task fails while the first is inside it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, open_stream: Callable[[], AsyncGenerator[Event, None]]) -> None:
        self._events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self.is_over = False
        loop.call_soon_threadsafe(self._start, open_stream)

    def __next__(self) -> Event:
        while not self.is_over:
            event = self.wait(_TICK)
            if event is not None:
                return event
        raise StopIteration

    def wait(self, seconds: float | None) -> Event | None:
        """The next event, or `None` when none came in `seconds` or the answer `is_over`."""
        if self.is_over:
            return None
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        except BaseException:  # Ctrl-C arrives here: the request must not go on without a reader
            self.close()
            raise
        if isinstance(event, BaseException):
            self.is_over = True
            raise event
        self.is_over = event is None
        return event

    def close(self) -> None:
        """Hang up. Returns when the connection is closed; safe to call twice."""
        self.is_over = True
        if not self._ended.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)
            self._ended.wait(LONGEST_GOODBYE)

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._ended.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _start(self, open_stream: Callable[[], AsyncGenerator[Event, None]]) -> None:
        self._task = self._loop.create_task(self._read(open_stream))
        self._task.add_done_callback(lambda task: self._ended.set())

    async def _read(self, open_stream: Callable[[], AsyncGenerator[Event, None]]) -> None:
        try:
            async with aclosing(open_stream()) as events:
                async for event in events:
                    self._events.put(event)
            self._events.put(None)
        except BaseException as exc:
            self._events.put(exc)
            if not isinstance(exc, Exception):
                raise  # cancelled: the loop must hear of it

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _result(future: Future[T]) -> T:
    """The future's result. On Windows a wait without an end cannot be broken by Ctrl-C."""
    while not wait([future], _TICK).done:
        pass
    with Discreet():
        return future.result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=LONGEST_GOODBYE))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
