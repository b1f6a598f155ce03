"""What uvicorn's parser leaves open, closed: each request is read in one way only, the one that the guard checks.

By RFC 9112: the host is the one in the target if there is one (3.2.2), fields that follow the body are not fields of
the head (6.5), and a body belongs to its request even if the client offers another protocol (RFC 9110, 7.8). Left as
they are, a field after the body could pass as a second `Host` or as a token, and the body of a request that offers
another protocol would be lost, or be taken for the next request.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from gateway_core import Reason

from .problems import JSON_HEADERS, MEDIA_TYPE, RequestRefused, problem
from .wire import dump

LARGEST_HEAD = 65_536


def _unreadable() -> bytes:
    """The reply to what cannot be read: a problem like every other, and the end of the connection."""
    refused = RequestRefused(
        Reason.INVALID_REQUEST, "this cannot be read as one HTTP/1.1 request, or its head is larger than 64 KB",
        cure="send plain HTTP/1.1; what is long belongs in the body",
    )  # fmt: skip
    body = dump({**problem(refused), "status": 400})
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **JSON_HEADERS, "connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 400 Bad Request\r\n{head}\r\n".encode() + body


_UNREADABLE = _unreadable()


class StrictProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # whichever parser uvicorn has chosen
    """The callbacks of httptools. With uvicorn's other parser they are never called: it has none of these faults."""

    parser: Any
    _head_is_over = False
    _is_replay = False
    _received = b""
    _rest = b""

    def data_received(self, data: bytes) -> None:
        while data:  # requests that offer another protocol, one behind the other: each leaves the rest
            self._received, self._rest = data, b""
            try:
                super().data_received(data)
            finally:
                self._received = b""
            data = self._rest

    def on_message_begin(self) -> None:
        if not self._is_replay:
            self._head_is_over = False
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_replay:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_is_over:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_replay:
            return
        self._head_is_over = True
        if len(self._received) > LARGEST_HEAD and self._length_of_head() > LARGEST_HEAD:
            raise ValueError("the head is too long")  # the parser makes a 400 of it
        named = _host_in(self.url)
        if named is not None and [named] != [value.lower() for name, value in self.headers if name == b"host"]:
            self.headers.append((b"host", named))  # two names: the guard refuses
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for what is no request, and would say so in plain text."""
        if self.transport.is_closing():
            return
        is_replying = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not is_replying:  # else it would stand in the midst of another reply
            self.transport.write(_UNREADABLE)
        self.transport.close()

    def _length_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _unsupported_upgrade_warning(self) -> None:
        """uvicorn calls this when a request offers another protocol. None is spoken here: it is read as if it did not.

        The parser has skipped the body. A new one reads the same head without the offer, and goes on from there.
        """
        offered = sys.exc_info()[1]
        assert isinstance(offered, httptools.HttpParserUpgrade)
        cycle = self.cycle
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += (name, b": ", value, b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        with suppress(AttributeError):  # as uvicorn sets it; older parsers lack it
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        cycle.more_body = True
        self._is_replay = True
        try:
            self.parser.feed_data(b"".join((*head, b"\r\n")))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.send_400_response("")
            return
        finally:
            self._is_replay = False
        self._rest = self._received[offered.args[0] :]


def _host_in(target: bytes) -> bytes | None:
    """The authority of a target in absolute form; `None` for a plain path."""
    _, separator, rest = target.partition(b"://")
    if target.startswith(b"/") or not separator:
        return None
    return rest.partition(b"/")[0].partition(b"?")[0].partition(b"#")[0].lower()
