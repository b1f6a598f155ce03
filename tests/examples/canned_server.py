"""A server that says the same bytes to everybody, to end a reply in ways the gateway never does."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END_OF_CHUNKS = b"0\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@contextmanager
def saying(reply: bytes, *, resets: bool = False) -> Iterator[str]:
    """The address of a server that answers each request with `reply` and closes, or resets, the connection."""

    class Handler(StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            length = 0
            while (line := self.rfile.readline()).strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.rfile.read(length)
            self.wfile.write(reply)
            if resets:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self.connection.close()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def chunk(text: str) -> bytes:
    data = text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(name: str, data: str) -> bytes:
    """One server-sent event as one chunk."""
    return chunk(f"event: {name}\ndata: {data}\n\n")
