"""How each kind of server is asked, as its own page would ask it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx

Timed = tuple[float, float]  # seconds until the first text, and until the end


FIRST_TEXT = {"api": "event: delta", "page": "event: delta", "gradio": "event: generating"}
WHOLE = {"api": "event: done", "page": "event: turn", "gradio": "event: complete"}


class Asker:
    """One client of one server, over connections that it keeps."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self._client = httpx.Client(base_url=url, timeout=60)

    def ask(self, prompt: str) -> Timed:
        reading = self._reading(prompt)
        begun = time.perf_counter()
        first = whole = 0.0
        with reading() as reply:
            for line in reply.iter_lines():
                if not first and line.startswith(FIRST_TEXT[self.kind]):
                    first = time.perf_counter() - begun
                if line.startswith(WHOLE[self.kind]):
                    whole = time.perf_counter() - begun
        assert first
        assert whole, "the answer did not end well"
        return first, whole

    def leave(self) -> float:
        """Hang up in mid-answer; the moment at which that was done."""
        with self._reading("Hang")() as reply:
            lines = reply.iter_lines()  # held: an iterator that is dropped hangs up by itself
            next(line for line in lines if line.startswith(FIRST_TEXT[self.kind]))
            return time.monotonic()

    def _reading(self, prompt: str) -> Callable[[], AbstractContextManager[httpx.Response]]:
        """What asks. A conversation that has to be there before is made now."""
        if self.kind == "api":
            body = {"prompt": prompt, "stream": True}
            return lambda: self._client.stream("POST", "/ai/query", json=body)
        if self.kind == "page":
            chat = self._client.post("/ui/chats", json={}).json()["id"]
            return lambda: self._client.stream("POST", f"/ui/chats/{chat}/ask", json={"prompt": prompt})
        return lambda: self._two_steps(prompt)

    @contextmanager
    def _two_steps(self, prompt: str) -> Iterator[httpx.Response]:
        """Gradio takes a question in one request and answers in another."""
        call = self._client.post("/gradio_api/call/chat", json={"data": [prompt]}).json()["event_id"]
        with self._client.stream("GET", f"/gradio_api/call/chat/{call}") as reply:
            yield reply
