"""Small servers on loopback that say exactly the bytes a test wants."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway_core.clock import SystemClock
from gateway_core.deadline import Deadline
from gateway_core.testing import CopilotSimulator
from gateway_core.testing.clock import ManualClock
from gateway_core.tiers.base import Call
from gateway_core.tiers.copilot import CopilotTier
from gateway_core.tiers.copilot.tokens import TokenSources
from gateway_core.tiers.http import Http
from tests.missing import needs

from .asking import TOKEN, WALL, settings_for

Handler = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it arrived, and the socket to answer on."""

    head: str
    body: bytes
    writer: asyncio.StreamWriter
    connection: int

    @property
    def path(self) -> str:
        return self.head.split(" ", 2)[1]

    def header(self, name: str) -> str | None:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        return None

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def begin(self, content_type: str = "text/event-stream") -> None:
        await self.raw(
            f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )

    async def part(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    def reset(self) -> None:
        import socket
        import struct

        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


@dataclass
class TinyServer:
    """Calls `handler` for each request. `connections` counts, `closed` is set when a client hangs up."""

    handler: Handler
    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                exchange = Exchange(head, b"", writer, number)
                exchange.body = await reader.readexactly(int(exchange.header("content-length") or 0))
                self.exchanges.append(exchange)
                await self.handler(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.transport.abort()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[TinyServer]]]:
    servers: list[asyncio.Server] = []

    async def start(handler: Handler) -> TinyServer:
        tiny = TinyServer(handler)
        server = await asyncio.start_server(tiny.serve, "127.0.0.1", 0)
        servers.append(server)
        tiny.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return tiny

    yield start
    for server in servers:
        server.close()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    made = Http(SystemClock(), proxies={})
    yield made
    await made.aclose()


@pytest.fixture
def call() -> Call:
    return a_call()


def a_call(connect_timeout: float = 2.0, sent: Callable[[], None] = lambda: None) -> Call:
    return Call(Deadline.never(SystemClock()), connect_timeout, sent)


@dataclass
class TlsServer:
    url: str
    authority: str


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    openssl = needs("openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
async def tls_server(certificate: tuple[str, str]) -> AsyncIterator[TlsServer]:
    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"hello")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(TinyServer(handler).serve, "127.0.0.1", 0, ssl=context)
    yield TlsServer(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", certificate[0])
    server.close()


# Copilot


@pytest.fixture
def copilot() -> Iterator[CopilotSimulator]:
    with CopilotSimulator() as simulator:
        yield simulator


@pytest.fixture
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.endswith(("_TOKEN", "_MODEL")) or name.startswith("COPILOT")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def tier_of(http: Http, tmp_path: Any, _no_environment: None) -> AsyncIterator[Callable[..., CopilotTier]]:
    """Makes Copilot tiers before a simulator; settings by name override the plain ones."""
    made: list[CopilotTier] = []

    def make(simulator: CopilotSimulator, *, gh: Any = None, clock: Any = None, **fields: Any) -> CopilotTier:
        fields = {
            "github_copilot_token": TOKEN,
            "copilot_use_gh": gh is not None,
            "copilot_editor_login": False,
        } | fields
        fields = {"copilot_github_api": simulator.url, "copilot_max_rpm": 0, "copilot_max_in_flight": 0} | fields
        settings = settings_for(tmp_path, **fields)
        clock = clock or ManualClock(wall=WALL)

        async def run_gh(host: str) -> str | None:
            return gh() if gh else None

        sources = TokenSources(settings, clock, home=tmp_path / "home", run_gh=run_gh)
        made.append(CopilotTier(settings, clock, http, sources=sources, patience=0.3))
        return made[-1]

    yield make
    for tier in made:
        await tier.aclose()
