"""One request as a careful client makes it: every word, the end, and the error are looked at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import httpx

from .rules import End, Seen

PATIENCE = 20.0  # for a whole answer; every gateway is told to give up a silent tier much sooner
PROMPT = "Tell me."


class Reading:
    """Collects one reply. What was read stays, however it ends."""

    def __init__(self) -> None:
        self.text, self.why = "", ""
        self.by: tuple[str, ...] = ()
        self.failed = self.garbage = self.marked = False

    def seen(self, end: End) -> Seen:
        if self.failed:
            end = End.ERROR
        elif self.garbage:
            end = End.BROKEN
        return Seen(self.text, end, self.why, self.by)

    def error(self, words: object) -> None:
        self.failed, self.why = True, _words(words)

    def restarted(self) -> None:
        self.text = ""


async def native(client: httpx.AsyncClient, *, stream: bool) -> Seen:
    """`POST /ai/query`."""
    body = {"prompt": PROMPT, "stream": stream, "details": True}

    async def read(reading: Reading) -> End:
        async with client.stream("POST", "/ai/query", json=body) as reply:
            if not reply.headers.get("content-type", "").startswith("text/event-stream"):
                told = json.loads(await reply.aread())
                _final(reading, told) if reply.is_success else reading.error(told.get("detail"))
                return End.DONE
            return await _native_events(reading, reply)

    return await _bounded(read)


async def _native_events(reading: Reading, reply: httpx.Response) -> End:
    kind = ""
    async with aclosing(_lines(reply)) as lines:
        async for line in lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = json.loads(value)
                if kind == "delta":
                    reading.text += data["text"]
                elif kind == "segment" and data["action"] == "restart":
                    reading.restarted()
                elif kind == "error":
                    reading.error(data.get("detail"))
                elif kind == "done":
                    shown = reading.text
                    _final(reading, data)
                    if shown != reading.text:
                        reading.text = shown  # the caller saw something else than the reply says
                    return End.DONE
    return End.BROKEN  # our own streams never end without done or error


def _final(reading: Reading, told: Mapping[str, Any]) -> None:
    reading.text = told["response"]
    reading.by = tuple(dict.fromkeys(segment["backend"] for segment in told["details"]["segments"]))
    reading.by = reading.by or (told["backend"],)
    if not reading.text:
        reading.why = " ".join(told["details"]["notes"])


async def openai(
    client: httpx.AsyncClient, *, stream: bool, model: str, headers: Mapping[str, str] | None = None
) -> Seen:
    """`POST /v1/chat/completions`."""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}

    async def read(reading: Reading) -> End:
        async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as reply:
            if not reply.is_success:
                reading.error(_error_of(await reply.aread()))
            elif stream and reply.headers.get("content-type", "").startswith("text/event-stream"):
                async with aclosing(_lines(reply)) as lines:
                    async for line in lines:
                        _openai_line(reading, line)
                return End.DONE if reading.marked else End.BARE
            else:
                _openai_whole(reading, await reply.aread())
        return End.DONE

    return await _bounded(read)


def _openai_line(reading: Reading, line: str) -> None:
    name, _, value = line.partition(":")
    if name != "data":
        return
    if value.strip() == "[DONE]":
        reading.marked = True
        return
    try:
        data = json.loads(value)
    except ValueError:
        reading.garbage = True
        return
    if data.get("error"):
        reading.error(data["error"])
    for choice in data.get("choices") or []:
        reading.text += (choice.get("delta") or {}).get("content") or ""
        reading.marked |= bool(choice.get("finish_reason"))
    _own_words(reading, data)


def _openai_whole(reading: Reading, body: bytes) -> None:
    try:
        data = json.loads(body)
    except ValueError:
        reading.garbage = True
        return
    if data.get("error"):
        reading.error(data["error"])
    for choice in data.get("choices") or []:
        reading.text += (choice.get("message") or {}).get("content") or ""
    _own_words(reading, data)


def _own_words(reading: Reading, data: Mapping[str, Any]) -> None:
    """What this project adds to the format; others may add a note on an empty answer in their own way."""
    own = data.get("ai_gateway") or {}
    if own.get("backend"):
        reading.by = tuple(dict.fromkeys(part["backend"] for part in own.get("segments") or [])) or (own["backend"],)
    if not reading.text and own.get("notes"):
        reading.why = " ".join(own["notes"])


async def _bounded(read: Callable[[Reading], Awaitable[End]]) -> Seen:
    reading = Reading()
    try:
        async with asyncio.timeout(PATIENCE):
            return reading.seen(await read(reading))
    except TimeoutError:
        return reading.seen(End.NEVER)
    except httpx.TransportError:
        return reading.seen(End.BROKEN)


async def _lines(reply: httpx.Response) -> AsyncGenerator[str, None]:
    async for line in reply.aiter_lines():
        if line and not line.startswith(":"):
            yield line


def _error_of(body: bytes) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    return (
        _words(told.get("error") or told.get("message") or told.get("detail") or "") if isinstance(told, dict) else ""
    )


def _words(error: object) -> str:
    return str(error.get("message") or "") if isinstance(error, Mapping) else str(error or "")
