"""`Idempotency-Key`: a request that is sent again gets the same answer and costs nothing more.

The reply is produced apart from the connections that listen to it: every client with the same key hears it from its
beginning, live while it grows. If the last listener hangs up, it goes on for some seconds, so that the repeated
request of a client that lost its connection finds it; then it is cancelled like any other. Only whole answers are
kept, for ten minutes: after a failure the same key asks anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway_core import Reason

from .attention import Attention
from .intake import off_loop
from .limits import PLACE, Place
from .problems import RequestRefused

KEPT_SECONDS = 600.0
SECONDS_TO_COME_BACK = 10.0
MOST_KEPT = 1000
MOST_KEPT_BYTES = 64_000_000
LONGEST_REPLY = 16_000_000
LONGEST_KEY = 255


class Produced(Response):
    """A reply that is made while it is said. `succeeded`: it was said whole."""

    succeeded: bool


class Repeats:
    """Replies by path and key. `span` is a clock that also runs while the laptop sleeps."""

    def __init__(self, span: Callable[[], float]) -> None:
        self._span = span
        self._known: OrderedDict[tuple[str, str], _Performance] = OrderedDict()

    async def once(self, scope: Scope, key: str | None, body: bytes, answering: Produced) -> Response:
        """The reply to this request, or to the one it repeats. Without a key: just `answering`."""
        if key is None:
            return answering
        if not 0 < len(key) <= LONGEST_KEY:
            raise RequestRefused(
                Reason.INVALID_REQUEST,
                f"Idempotency-Key must have 1 to {LONGEST_KEY} characters",
                field="Idempotency-Key",
            )
        digest = await off_loop(body, lambda: sha256(body).digest())
        self._forget_the_old()
        name = (scope["path"], key)
        known = self._known.get(name)
        if known is None:
            known = _Performance(answering, scope, digest, lambda kept: self._ended(name, kept))
            self._known[name] = known
            return _Listening(known, is_repeat=False)
        if known.digest != digest:
            raise RequestRefused(
                Reason.KEY_REUSED, "this Idempotency-Key was used for another request", field="Idempotency-Key",
                cure="use a new key for a new request",
            )  # fmt: skip
        return _Listening(known, is_repeat=True)

    def forget(self) -> None:
        """Every reply: at once those that are over, and at its end each that is still produced."""
        for name, performance in list(self._known.items()):
            performance.is_kept = False
            if performance.is_over:
                del self._known[name]

    def _ended(self, name: tuple[str, str], performance: _Performance) -> None:
        performance.until = self._span() + KEPT_SECONDS
        is_kept = performance.succeeded and performance.is_kept
        if not is_kept and self._known.get(name) is performance:
            del self._known[name]

    def _forget_the_old(self) -> None:
        now = self._span()
        kept = 0
        finished = [(name, p) for name, p in self._known.items() if p.is_over]
        for count, (name, performance) in enumerate(reversed(finished)):
            kept += performance.size
            if performance.until < now or kept > MOST_KEPT_BYTES or count >= MOST_KEPT:
                del self._known[name]


class _Performance:
    """One reply, produced once, as the messages it consists of."""

    def __init__(
        self, answering: Produced, scope: Scope, digest: bytes, on_end: Callable[[_Performance], None]
    ) -> None:
        self.digest = digest
        self.messages: list[Message] = []
        self.size = 0
        self.until = 0.0
        self.is_over = False
        self.is_kept = True
        self.error: BaseException | None = None
        self._answering = answering
        self._scope = scope
        self._place: Place | None = scope.get(PLACE)
        self._on_end = on_end
        self._listeners = 0
        self._news = asyncio.Event()
        self._is_left = asyncio.Event()
        self._goodbye: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def succeeded(self) -> bool:
        return self._answering.succeeded

    def enter(self) -> None:
        self._listeners += 1
        if self._goodbye is not None:
            self._goodbye.cancel()
            self._goodbye = None
        if self._task is None:
            if self._place is not None:
                self._place.hold()  # for as long as it is produced, whoever listens
            self._task = asyncio.create_task(self._perform())

    def leave(self) -> None:
        self._listeners -= 1
        if not self._listeners and not self.is_over:
            self._goodbye = asyncio.get_running_loop().call_later(SECONDS_TO_COME_BACK, self._is_left.set)

    async def more_than(self, count: int) -> bool:
        """Wait for another message; False when there will be none."""
        while len(self.messages) <= count:
            if self.is_over:
                return False
            await self._news.wait()
        return True

    async def _perform(self) -> None:
        try:
            await self._answering(self._scope, self._receive, self._record)
        except Exception as exc:  # noqa: BLE001 - it is raised again where somebody listens
            self.error = exc
        finally:
            self.is_over = True
            if self._place is not None:
                self._place.leave()
            self._tell()
            self._on_end(self)
            if self._goodbye is not None:
                self._goodbye.cancel()

    async def _receive(self) -> Message:
        await self._is_left.wait()
        return {"type": "http.disconnect"}

    async def _record(self, message: Message) -> None:
        self.size += len(message.get("body", b""))
        if self.size > LONGEST_REPLY and message.get("more_body"):  # a stream without an end; what is whole is paid for
            self._is_left.set()
            return
        self.messages.append(message)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class _Listening(Response):
    """One client's way to a performance."""

    def __init__(self, performance: _Performance, *, is_repeat: bool) -> None:
        self.background = None
        self._performance = performance
        self._is_repeat = is_repeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        performance = self._performance
        performance.enter()
        try:
            async with Attention(receive):
                heard = 0
                while await performance.more_than(heard):
                    await send(self._marked(performance.messages[heard]))
                    heard += 1
        finally:
            performance.leave()
        if performance.error is not None:
            raise performance.error

    def _marked(self, message: Message) -> Message:
        if self._is_repeat and message["type"] == "http.response.start":
            return {**message, "headers": [*message["headers"], (b"idempotency-replayed", b"true")]}
        return message
