"""What server tests share: a gateway of scripted tiers, callers without a socket, and a real server with one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway_core import Gateway, Settings
from gateway_core.testing import ScriptedTier
from server import create_app
from server.front_ends import FrontEnd
from server.run import GatewayServer

BASE = "http://127.0.0.1:8000"
JSON = {"content-type": "application/json"}


def gateway(*tiers: ScriptedTier, clock: Any = None, **settings: Any) -> Gateway:
    return Gateway(tiers, settings=Settings(ai_gateway_store="memory", **settings), clock=clock)


@asynccontextmanager
async def calling(*tiers: ScriptedTier, clock: Any = None, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with called(gateway(*tiers, clock=clock, **settings)) as client:
        yield client


@asynccontextmanager
async def called(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


@dataclass
class Heard:
    """One event of a stream."""

    name: str
    data: Any


def events(body: str | bytes) -> list[Heard]:
    """A finished event stream; comments are left out."""
    text = body.decode() if isinstance(body, bytes) else body
    heard = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            heard.append(Heard(fields.get("event", ""), json.loads(fields["data"])))
    return heard


def shown(heard: Iterable[Heard]) -> str:
    """The text on a reader's screen."""
    text = ""
    for event in heard:
        if event.name == "segment" and event.data["action"] == "restart":
            text = ""
        elif event.name == "delta":
            text += event.data["text"]
    return text


@dataclass
class Running:
    """A real server on a free port."""

    port: int
    server: GatewayServer
    task: asyncio.Task[None]
    tasks: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        await writer.drain()
        return reader, writer

    def post(self, path: str, body: Any, **headers: str) -> bytes:
        content = json.dumps(body).encode()
        told = {"host": f"127.0.0.1:{self.port}", **JSON, "content-length": str(len(content)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


@asynccontextmanager
async def running(
    gateway: Gateway, *, grace: float = 5.0, tell: Any = None, front_ends: Sequence[FrontEnd] = ()
) -> AsyncIterator[Running]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    listener.setblocking(False)
    server = GatewayServer(create_app(gateway, front_ends=front_ends), tell, grace=grace)
    task = asyncio.create_task(server.serve([listener]))
    await until(lambda: server.started)
    try:
        yield Running(listener.getsockname()[1], server, task)
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)


async def until(claim: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that is about to become true."""
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110 - what is waited for knows nothing of the test
            await asyncio.sleep(0.005)


async def cut_stream(server: Running, path: str, body: Any) -> str:
    """What came of a streamed reply whose connection is cut at its end; a clean end fails the test."""
    received = ""
    async with httpx.AsyncClient() as client, client.stream("POST", f"{server.url}{path}", json=body) as reply:
        try:
            async for part in reply.aiter_text():
                received += part
        except httpx.RemoteProtocolError:
            return received
    raise AssertionError(f"a clean end after: {received}")
