"""S12, S13: one caller who sends too much, too slowly or a bomb, while others want their answers."""

from __future__ import annotations

import base64
import io
import json
import socket
import statistics
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from .live import Live, next_reply, until

MB = 1_000_000
JSON = {"content-type": "application/json"}
HEAD = b"POST /ai/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


class Others:
    """Somebody who asks again and again meanwhile, and how long each answer took."""

    def __init__(self, server: Live) -> None:
        self._server = server
        self._is_over = threading.Event()
        self.seconds: list[float] = []
        self.failed: list[object] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=30) as client:
            while not self._is_over.is_set():
                begun = time.monotonic()
                try:
                    reply = client.post("/ai/query", json={"prompt": "What is the capital of France?"})
                except httpx.HTTPError as failed:
                    self.failed.append(failed)
                else:
                    self.seconds.append(time.monotonic() - begun)
                    if reply.status_code != 200:
                        self.failed.append(reply.status_code)
                self._is_over.wait(0.02)

    @contextmanager
    def asking(self) -> Iterator[Others]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            until(lambda: self.seconds or self.failed)
            yield self
        finally:
            self._is_over.set()
            thread.join()

    def check(self) -> None:
        """Everybody was answered, and nobody waited for the attacker. Generous: the machine may be busy."""
        assert self.failed == []
        assert statistics.median(self.seconds) < 2
        assert max(self.seconds) < 8


def sent(server: Live, head: bytes, part: bytes, times: int, between: float = 0.0) -> list[int]:
    """Push a body in pieces until it is all sent or refused: the statuses."""
    with server.connect(20) as wire:
        try:
            wire.sendall(head)
            for _ in range(times):
                wire.sendall(part)
                time.sleep(between)
        except OSError:
            pass
        try:
            return [next_reply(wire).status]
        except (OSError, AssertionError):
            return []


CHUNK = f"{MB:x}\r\n".encode() + b" " * MB + b"\r\n"
LENGTH = b"Content-Length: 50000000\r\n\r\n"
PIECES = b"Transfer-Encoding: chunked\r\n\r\n"


def to(path: bytes) -> bytes:
    return HEAD.replace(b"/ai/query", path)


# What reads no body answers without it; what reads one says that it is too large. Nobody is cut off without a word.
OVERSIZED: list[object] = [
    pytest.param(HEAD + LENGTH, b" " * MB, 50, 413, id="50 MB"),
    pytest.param(HEAD + PIECES, CHUNK, 50, 413, id="50 MB without a length"),
    pytest.param(HEAD + b"Content-Length: 9223372036854775807\r\n\r\n", b" " * MB, 50, 413, id="a length beyond all"),
    pytest.param(to(b"/v1/chat/completions") + PIECES, CHUNK, 50, 413, id="where pictures may be sent"),
    pytest.param(HEAD + PIECES, b"1\r\n \r\n" * 100_000, 22, 413, id="in pieces of one byte"),
    pytest.param(to(b"/sign-in") + LENGTH, b" " * MB, 50, 303, id="to the sign-in, where there is no token"),
    pytest.param(to(b"/admin/reset") + LENGTH, b" " * MB, 50, 200, id="to an endpoint that reads none"),
    pytest.param(to(b"/nothing") + LENGTH, b" " * MB, 50, 404, id="to nowhere"),
]


@pytest.mark.parametrize(("head", "part", "times", "status"), OVERSIZED)
def test_s13_a_body_without_end_is_refused_while_others_are_answered(
    server: Live, head: bytes, part: bytes, times: int, status: int
):
    before = server.resident()
    with Others(server).asking() as others:
        statuses = sent(server, head, part, times)

    others.check()
    assert statuses == [status]
    assert server.resident() - before < 60 * MB


@pytest.mark.slow
def test_s13_a_body_that_comes_too_slowly_is_given_up_with_a_word(server: Live):
    assert sent(server, HEAD + b"Content-Length: 1000\r\n\r\n", b" ", 65, between=1.0) == [408]


def test_s13_two_hundred_who_never_finish_hold_nobody_up(server: Live):
    """Heads, bodies and pieces that come a byte at a time; and some who only connect, or never read."""
    beginnings = [
        b"", b"POST /ai", HEAD, HEAD + b"X-A: ", HEAD + b"Content-Length: 1000000\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b"GET /ai/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20,
    ]  # fmt: skip
    with ExitStack() as stack, Others(server).asking() as others:
        slow = [stack.enter_context(server.connect()) for _ in range(200)]
        for number, wire in enumerate(slow):
            wire.sendall(beginnings[number % len(beginnings)])
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for number, wire in enumerate(slow):
                if number % len(beginnings) not in (0, 6, 7):
                    drip(wire)
            time.sleep(0.2)

    others.check()
    assert len(others.seconds) > 10
    assert httpx.get(f"{server.url}/health").status_code == 200


def drip(wire: socket.socket) -> None:
    try:
        wire.sendall(b"a")
    except OSError:  # given up by the server: well done
        return


def zipped(name: str, content: bytes, times: int = 1) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", '<Types><Override ContentType="wordprocessingml.document"/></Types>')
        archive.writestr("word/document.xml", b"<w:document/>")
        for number in range(times):
            archive.writestr(f"{name}{number}.xml", content)
    return buffer.getvalue()


def docx(document: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b"<Types/>")
        archive.writestr("word/document.xml", document)
    return buffer.getvalue()


def pdf_bomb() -> bytes:
    """A page whose content unpacks to 400 MB, packed twice."""
    packed = zlib.compress(zlib.compress(b"0 0 m " * 66_000_000, 1), 9)
    return (
        (
            b"%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
            b"3 0 obj<</Type/Page/Parent 2 0 R/Contents 4 0 R>>endobj\n"
            b"4 0 obj<</Filter[/FlateDecode/FlateDecode]/Length %d>>stream\n" % len(packed)
        )
        + packed
        + b"\nendstream endobj\ntrailer<</Root 1 0 R>>"
    )


def pdf_of_itself() -> bytes:
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2000000000>>endobj\ntrailer<</Root 1 0 R/Prev 0>>"
    )


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "' + b"ha" * 5000 + b'">'
    + b"".join(b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 20) for c in range(ord("b"), ord("j")))
    + b"]><w:document><w:p>&i;</w:p></w:document>"
)  # fmt: skip
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><w:document>&x;</w:document>'
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "an archive of zeros": ("a.docx", lambda: docx(b"\0" * 300 * MB)),
    "an archive of archives": ("a.docx", lambda: zipped("x", zipped("y", b"\0" * 20 * MB, 4), 4)),
    "an archive of many": ("a.docx", lambda: zipped("x", b"", 30_000)),
    "words that unfold": ("a.docx", lambda: docx(LAUGHS)),
    "words from outside": ("a.docx", lambda: docx(OUTSIDE)),
    "deep words": ("a.docx", lambda: docx(b"<a>" * 500_000 + b"</a>" * 500_000)),
    "a page that unfolds": ("a.pdf", pdf_bomb),
    "a page within itself": ("a.pdf", pdf_of_itself),
    "deep markup": ("a.html", lambda: b"<html>" + b"<div>" * 200_000),
    "endless markup": ("a.html", lambda: b"<html><" + b"a='" * 1_000_000),
    "a page of half comments": ("a.html", lambda: b"<!--" * 2_000_000),
    "a deep notebook": ("a.ipynb", lambda: b'{"cells":' + b"[" * 1_000_000),
    "deep data": ("a.json", lambda: b"[" * 5_000_000),
    "a number without end": ("a.json", lambda: b"1" * 5_000_000),
    "a mail of mails": ("a.eml", lambda: b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" * 5_000),
    "a line without end": ("a.txt", lambda: b"a" * 15 * MB),
    "nothing but blanks": ("a.txt", lambda: b" " * 15 * MB + b"."),
    "a trap for patterns": ("a.txt", lambda: (b"<!--" + b"ignore " * 20 + b"![" * 50 + b"](" + b" " * 50) * 20_000),
    "a table without end": ("a.csv", lambda: b'"' + b'a,"",' * 2_000_000),
    "orders in one breath": ("a.md", lambda: b"ignore all the previous and " * 400_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_s12_a_bomb_is_an_answer_or_a_clear_error_while_others_are_answered(server: Live, name: str):
    file, make = BOMBS[name]
    item = {"name": file, "content_base64": base64.b64encode(make()).decode()}
    body = json.dumps({"prompt": "what?", "documents": [item], "tier": "copilot"}).encode()
    before = server.resident()
    with Others(server).asking() as others:
        reply = httpx.post(f"{server.url}/ai/query/rag", content=body, headers=JSON, timeout=120)
    told = reply.json()

    others.check()
    assert reply.status_code in (200, 413, 422), told
    assert (reply.status_code == 200) == ("response" in told)
    assert "root:" not in reply.text
    if reply.status_code == 422:
        assert file in told["detail"]
    assert server.resident() - before < 100 * MB + 4 * len(body)
