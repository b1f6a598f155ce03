"""The least that can stand there: the same server and client libraries, every byte passed on, nothing looked at."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import uvicorn

Message = MutableMapping[str, Any]


class BareProxy:
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._client = httpx.AsyncClient(timeout=60, trust_env=False)

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        kept = [(name, value) for name, value in scope["headers"] if name in (b"authorization", b"content-type")]
        where = self._upstream + scope["path"]
        async with self._client.stream(scope["method"], where, content=body, headers=kept) as reply:
            kind = [(b"content-type", reply.headers.get("content-type", "").encode())]
            await send({"type": "http.response.start", "status": reply.status_code, "headers": kind})
            async for piece in reply.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(BareProxy(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", lifespan="off")
