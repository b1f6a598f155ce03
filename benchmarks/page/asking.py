"""How each kind of server is asked, as its own page would ask it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

Timed = tuple[float, float]  # seconds until the first text, and until the end


@contextmanager
def stream_of(kind: str, url: str, prompt: str) -> Iterator[httpx.Response]:
    """The reply as it comes. What precedes a question (a conversation made) is over when the clock starts."""
    if kind == "api":
        with httpx.stream("POST", f"{url}/ai/query", json={"prompt": prompt, "stream": True}, timeout=60) as reply:
            yield reply
    elif kind == "page":
        chat = httpx.post(f"{url}/ui/chats", json={}).json()["id"]
        with httpx.stream("POST", f"{url}/ui/chats/{chat}/ask", json={"prompt": prompt}, timeout=60) as reply:
            yield reply
    else:
        call = httpx.post(f"{url}/gradio_api/call/chat", json={"data": [prompt]}).json()["event_id"]
        with httpx.stream("GET", f"{url}/gradio_api/call/chat/{call}", timeout=60) as reply:
            yield reply


FIRST_TEXT = {"api": "event: delta", "page": "event: delta", "gradio": "event: generating"}
WHOLE = {"api": "event: done", "page": "event: turn", "gradio": "event: complete"}


def asker(kind: str, url: str) -> Callable[[str], Timed]:
    def ask(prompt: str) -> Timed:
        begun = time.perf_counter()
        first = whole = 0.0
        with stream_of(kind, url, prompt) as reply:
            for line in reply.iter_lines():
                if not first and line.startswith(FIRST_TEXT[kind]):
                    first = time.perf_counter() - begun
                if line.startswith(WHOLE[kind]):
                    whole = time.perf_counter() - begun
        assert first
        assert whole, "the answer did not end well"
        return first, whole

    return ask


def leave(kind: str, url: str, closed: Callable[[], Any]) -> float:
    """Seconds from hanging up in mid-answer until the provider's connection is closed."""
    with stream_of(kind, url, "Hang") as reply:
        for line in reply.iter_lines():
            if line.startswith(FIRST_TEXT[kind]):
                break
        left = time.monotonic()
    return float(closed()["closed"]) - left
