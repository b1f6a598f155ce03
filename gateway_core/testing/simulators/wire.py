"""HTTP/1.1 with every byte in our own hands: resets, drips and wrong lengths are made here, on purpose."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

HEAD_LIMIT = 64 * 1024
NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # close() then sends RST instead of FIN


class ClientGone(Exception):
    """The client hung up."""


class BadRequest(Exception):
    """What came is not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, `None` when it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def form(self) -> dict[str, str]:
        """The fields of a JSON or form-encoded body."""
        if isinstance(fields := self.json, dict):
            return {name: str(value) for name, value in fields.items()}
        return dict(parse_qsl(self.body.decode("utf-8", "replace")))


# --- what is sent: a head, then steps -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes to send; `role` says what they are to the stream's reader."""

    data: bytes
    role: Literal["opening", "thought", "token", "ending", "done", "noise", "body"] = "body"


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing more until the client leaves."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Break off: with a reset, or with an orderly close before the promised end."""

    reset: bool = True


Step = Send | Pause | Hang | Drop
Framing = Literal["length", "chunked", "close"]


@dataclass(slots=True)
class Outgoing:
    """A reply on its way out. `length` may lie; `head_pace` is the pause after each byte of the head."""

    status: int
    headers: list[tuple[str, str]]
    steps: Iterable[Step]
    framing: Framing = "length"
    length: int = 0
    head_pace: float = 0.0
    recode: Callable[[bytes], Iterable[bytes]] | None = None  # the last word on how payload bytes are written

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}", f"date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += {
            "length": [f"content-length: {self.length}"],
            "chunked": ["transfer-encoding: chunked"],
            "close": ["connection: close"],
        }[self.framing]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(frozen=True, slots=True)
class Reply:
    """A short reply, whole in memory."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def outgoing(self) -> Outgoing:
        kind = [("content-type", self.content_type)] if self.content_type else []
        return Outgoing(self.status, [*kind, *self.headers], [Send(self.body)], length=len(self.body))


def as_json(value: Any) -> bytes:
    """JSON as providers send it: compact, characters beyond ASCII raw."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, as_json(value), headers=tuple((k.replace("_", "-"), v) for k, v in headers.items()))


def text_reply(text: str, status: int = 200, kind: str = "text/plain; charset=utf-8", **headers: str) -> Reply:
    return Reply(status, text.encode(), kind, tuple((k.replace("_", "-"), v) for k, v in headers.items()))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


# --- the connection -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Connection(asyncio.Protocol):
    """One accepted connection. Whatever waits here ends with `ClientGone` as soon as the client hangs up."""

    number: int
    requests: int = 0
    busy: bool = False
    last_request: bool = False  # close after the one under way
    closing: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    _received: bytearray = field(default_factory=bytearray)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _writable: asyncio.Event = field(default_factory=asyncio.Event)
    _transport: asyncio.Transport | None = None

    # asyncio calls these
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._writable.set()
        if self.closing:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._news.set()

    def eof_received(self) -> None:
        self._left()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _left(self) -> None:
        self.gone.set()
        self._news.set()
        self._writable.set()

    # reading
    async def next_request(self) -> Request | None:
        """The next request, or `None` when the client has left in peace."""
        head = await self._until(b"\r\n\r\n")
        if head is None:
            return None
        self.busy = True
        try:
            head = head.lstrip(b"\r\n")  # some clients send an empty line after a body
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _version = first.split(" ")
            headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
            length = int(headers.get("content-length", 0))
        except ValueError:
            raise BadRequest(f"not a request: {head[:60]!r}") from None
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        body = await (self._chunks() if chunked else self._exactly(length))
        self.requests += 1
        url = urlsplit(target)
        return Request(method, unquote(url.path), dict(parse_qsl(url.query)), headers, body)

    async def _chunks(self) -> bytes:
        body = bytearray()
        while size := _hexadecimal((await self._line()).split(b";")[0]):
            body += await self._exactly(size)
            await self._line()
        while await self._line():
            pass
        return bytes(body)

    async def _line(self) -> bytes:
        line = await self._until(b"\r\n")
        if line is None:
            raise ClientGone
        return line

    async def _until(self, mark: bytes) -> bytes | None:
        while (end := self._received.find(mark)) < 0:
            if len(self._received) > HEAD_LIMIT:
                raise BadRequest("head too long")
            if self.gone.is_set():
                if self._received:
                    raise ClientGone
                return None
            await self._more()
        found = bytes(self._received[:end])
        del self._received[: end + len(mark)]
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if self.gone.is_set():
                raise ClientGone
            await self._more()
        found = bytes(self._received[:size])
        del self._received[:size]
        return found

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()

    # writing
    async def send(self, data: bytes) -> None:
        """Write now; wait while the client reads more slowly than we write."""
        if self.gone.is_set() or self._transport is None:
            raise ClientGone
        self._transport.write(data)
        await asyncio.sleep(0)  # lets the loop see a client that hung up
        await self._writable.wait()

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        try:
            async with asyncio.timeout(seconds):
                await self.hang()
        except TimeoutError:
            return

    async def hang(self) -> None:
        """Do nothing until the client leaves."""
        await self.gone.wait()
        raise ClientGone

    async def until_read(self) -> None:
        """Until the reader has taken what was sent, for a second at most: a reset throws away what it has not."""
        ours = self._transport and self._transport.get_extra_info("sockname")
        theirs = self._transport and self._transport.get_extra_info("peername")
        await self.pause(0.02)
        if not (ours and theirs):
            return
        for _ in range(98):
            if not _unread(theirs[1], ours[1]):
                return
            await self.pause(0.01)

    def close(self) -> None:
        """An orderly end: what was written is still delivered."""
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """An RST on the wire: the peer sees "connection reset"."""
        self.closing = True
        if self._transport is not None:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self._transport.abort()


def _unread(reader_port: int, writer_port: int) -> int:
    """Bytes that lie unread at the reader's end of a loopback connection; 0 where the system does not tell."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(table) as rows:
            for row in rows:
                words = row.split()
                if (
                    len(words) > 4
                    and words[1].endswith(f":{reader_port:04X}")
                    and words[2].endswith(f":{writer_port:04X}")
                ):
                    return int(words[4].partition(":")[2], 16)
    return 0


def _hexadecimal(digits: bytes) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        raise BadRequest(f"not a chunk size: {digits[:20]!r}") from None


async def deliver(
    connection: Connection,
    out: Outgoing,
    sent: Callable[[Step], None] = lambda step: None,
    bodiless: bool = False,
) -> bool:
    """Send `out`, telling `sent` each step that has left. False when it broke its promise: then the connection ends."""
    head = out.head()
    if out.head_pace:
        for byte in head:
            await connection.send(bytes([byte]))
            await connection.pause(out.head_pace)
    else:
        await connection.send(head)
    if bodiless:
        return True
    written = 0
    for step in out.steps:
        match step:
            case Send(data):
                for piece in out.recode(data) if out.recode else (data,):
                    if piece:
                        written += len(piece)
                        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if out.framing == "chunked" else piece
                        await connection.send(framed)
            case Pause(seconds):
                await connection.pause(seconds)
            case Hang():
                await connection.hang()
            case Drop(reset):
                sent(step)
                await connection.until_read()
                connection.reset() if reset else connection.close()
                return False
        sent(step)
    if out.framing == "chunked":
        await connection.send(b"0\r\n\r\n")
        return True
    if out.framing == "close" or written != out.length:
        connection.close()
    return out.framing == "close" or written == out.length
