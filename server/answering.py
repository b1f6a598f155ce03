"""From a checked request to the answer on the wire, whole or as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway_core import Done, Gateway, GatewayError, Meta, Reason

from .attention import Attention, Closing, Ended
from .dialects import Dialect
from .problems import JSON_HEADERS, RequestRefused, headers_of, problem
from .repeats import Produced

LONGEST_SILENCE_BEFORE_THE_HEAD = 8.0
SECONDS_BETWEEN_COMMENTS = 10.0
LONGEST_STANDSTILL = 300.0  # seconds a reader may take nothing at all, while a provider waits for it
BACKEND_HEADER = "x-ai-gateway-backend"
FINISH_HEADER = "x-ai-gateway-finish-reason"  # so that an answer cut by its longest length never looks whole
NOTES_HEADER = "x-ai-gateway-notes"  # so that a document that could not be read never goes missing unseen
LONGEST_NOTES = 500
MOST_NAMED = 3


class Answering(Produced):
    """Asks the gateway while the client listens. `succeeded`: a whole answer was said."""

    def __init__(
        self,
        gateway: Gateway,
        closing: Closing,
        dialect: Dialect,
        prompt: str | None,
        options: Mapping[str, Any],
        *,
        stream: bool,
    ) -> None:
        # Not Response.__init__: status and headers are only known once a tier has spoken.
        self.background = None
        self.succeeded = False
        self._gateway = gateway
        self._closing = closing
        self._dialect = dialect
        self._prompt = prompt
        self._options = options
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = Headers(scope=scope).get("traceparent")
        if caller is not None:
            self._options = {**self._options, "traceparent": caller}
        await (self._grow if self._stream else self._ask)(receive, send)

    async def _ask(self, receive: Receive, send: Send) -> None:
        error: GatewayError | None = None
        async with Attention(receive, self._closing) as attention:
            try:
                answer = await self._gateway.ask(self._prompt, **self._options)
            except GatewayError as exc:
                error = exc
        error = ended(attention) or error
        if attention.ended is Ended.GONE:
            return
        if error is not None:
            await self._refuse(error, send)
            return
        body = self._dialect.whole(answer)
        headers = {**JSON_HEADERS, BACKEND_HEADER: answer.backend, FINISH_HEADER: answer.finish_reason}
        if answer.left_out:
            headers[NOTES_HEADER] = _left_out(answer.left_out)
        headers |= self._dialect.headers(None)
        await Response(body, 200, headers, "application/json")({"type": "http"}, receive, send)
        self.succeeded = True

    async def _grow(self, receive: Receive, send: Send) -> None:
        error: GatewayError | None = None
        dialect, last = self._dialect, b""
        headers = {**JSON_HEADERS, "x-accel-buffering": "no", **dialect.headers(None)}
        voice = _Voice(send, dialect.stream_type, headers, dialect.idle)
        try:
            async with (
                Attention(receive, self._closing) as attention,
                aclosing(self._gateway.stream(self._prompt, in_line=voice.stand, **self._options)) as events,
            ):
                voice.on_standstill = attention.give_up
                try:
                    async for event in events:
                        if isinstance(event, Done):
                            voice.name(event.answer.backend)
                            last = dialect.event(event)
                        else:
                            if isinstance(event, Meta):
                                voice.name(event.backend)
                            await voice.say(dialect.event(event))
                except GatewayError as exc:
                    error = exc
        finally:
            voice.rest()
        error = ended(attention) or error
        if attention.ended is Ended.GONE:
            voice.fall_silent()
        elif error is None:
            self.succeeded = True
            await voice.end(last)
        elif not voice.has_begun:
            voice.fall_silent()
            await self._refuse(error, send)
        elif dialect.breaks_off:
            await voice.say(dialect.broken(problem(error)))
        else:
            await voice.end(dialect.broken(problem(error)))

    async def _refuse(self, error: GatewayError, send: Send) -> None:
        told = problem(error)
        headers = {**headers_of(error, told), **self._dialect.headers(told)}
        response = Response(self._dialect.refused(told), told["status"], headers, self._dialect.refusal_type)
        await response({"type": "http"}, _nothing_more, send)


class _Voice:
    """Says the head and the parts of a stream in order, and a comment whenever nothing was said for long.

    A slow reader makes `say` wait, and with it the provider: nothing piles up here. A reader that stands still is
    told to `on_standstill`.
    """

    def __init__(self, send: Send, media_type: str, headers: Mapping[str, str], idle: Callable[[int], bytes]) -> None:
        self.has_begun = False
        self.on_standstill: Callable[[], None] = _nothing
        self._send = send
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._headers.append((b"content-type", media_type.encode()))
        self._idle = idle
        self._before = 0  # those that stand before it in line
        self._one_at_a_time = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._said_at = self._loop.time()
        self._pulse: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(LONGEST_SILENCE_BEFORE_THE_HEAD, self._tick)

    def name(self, backend: str) -> None:
        """The tier, for the head if it has not left yet."""
        if not self.has_begun:
            self._headers.append((BACKEND_HEADER.encode(), backend.encode()))

    def stand(self, before: int) -> None:
        """Its place in the line for a local model."""
        self._before = before

    async def say(self, part: bytes, *, is_last: bool = False) -> None:
        async with self._one_at_a_time:
            if not self.has_begun:
                self.has_begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            if part or is_last:
                await self._send({"type": "http.response.body", "body": part, "more_body": not is_last})
            self._said_at = self._loop.time()

    async def end(self, part: bytes) -> None:
        await self.say(part, is_last=True)

    def rest(self) -> None:
        """No more comments."""
        self._timer.cancel()

    def fall_silent(self) -> None:
        """A comment that is about to be said is not."""
        if self._pulse is not None:
            self._pulse.cancel()

    def _tick(self) -> None:
        due = self._said_at + SECONDS_BETWEEN_COMMENTS
        if self.has_begun and self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._tick)
            return
        if self._one_at_a_time.locked():  # the reader is slow, and needs no sign of life
            if self._loop.time() - self._said_at > LONGEST_STANDSTILL:
                self.on_standstill()
        else:
            self._pulse = self._loop.create_task(self.say(self._idle(self._before)))
        self._timer = self._loop.call_later(SECONDS_BETWEEN_COMMENTS, self._tick)


def ended(attention: Attention) -> GatewayError | None:
    if attention.ended is Ended.STOPPED:
        return RequestRefused(Reason.SHUTTING_DOWN, "the gateway is being stopped", cure="ask again in a moment")
    return None


def _left_out(documents: Sequence[str]) -> str:
    """One line of plain ASCII: whoever sent a file chose its name."""
    more = f"; and {len(documents) - MOST_NAMED} more" if len(documents) > MOST_NAMED else ""
    named = "; ".join(documents[:MOST_NAMED])
    counted = "1 document" if len(documents) == 1 else f"{len(documents)} documents"
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in f"{counted} left out: {named}")
    room = LONGEST_NOTES - len(more)
    return (plain if len(plain) <= room else f"{plain[: room - 3]}...") + more


def _nothing() -> None:
    return


async def _nothing_more() -> Any:
    return {"type": "http.disconnect"}
