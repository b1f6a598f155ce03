"""S13, S14: requests that two readers would read differently. One reading only, and it is the one that was checked."""

from __future__ import annotations

import json
import time

import pytest

from .live import TOKEN, Live, Said, next_reply

PROMPT = b'{"prompt":"hi"}'
HIDDEN = b"POST /admin/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"


def ask(*fields: str, body: bytes = PROMPT, token: str = "") -> bytes:
    key = f"Authorization: Bearer {token}\r\n" if token else ""
    lines = "".join(f"{field}\r\n" for field in fields)
    head = f"POST /ai/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{key}{lines}\r\n"
    return head.encode("latin-1") + body


AMBIGUOUS = [
    pytest.param(["Content-Length: 15", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + HIDDEN, id="two ways to end"),
    pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: x"], b"0\r\n\r\n" + HIDDEN, id="two encodings"),
    pytest.param(["Transfer-Encoding: x, chunked, y"], b"0\r\n\r\n" + HIDDEN, id="chunked is not the last"),
    pytest.param(["Transfer-Encoding: xchunked"], b"0\r\n\r\n" + HIDDEN, id="nearly chunked"),
    pytest.param(["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n" + HIDDEN, id="an odd blank before it"),
    pytest.param(["Transfer-Encoding : chunked"], b"0\r\n\r\n" + HIDDEN, id="a blank before the colon"),
    pytest.param(["Transfer-Encoding: identity", "Content-Length: 15"], PROMPT + HIDDEN, id="identity"),
    pytest.param(["Content-Length: 15", "Content-Length: 0"], PROMPT + HIDDEN, id="two lengths"),
    pytest.param(["Content-Length: 15", "Content-Length: 15"], PROMPT + HIDDEN, id="one length twice"),
    pytest.param(["Content-Length: 15, 0"], PROMPT + HIDDEN, id="a list of lengths"),
    pytest.param(["Content-Length: -1"], PROMPT + HIDDEN, id="a negative length"),
    pytest.param(["Content-Length: +15"], PROMPT + HIDDEN, id="a length with a sign"),
    pytest.param(["Content-Length: 0xf"], PROMPT + HIDDEN, id="a length in hex"),
    pytest.param(["Content-Length: 1 5"], PROMPT + HIDDEN, id="a length with a blank"),
    pytest.param(["Content-Length: "], PROMPT + HIDDEN, id="an empty length"),
    pytest.param(["Content-Length: " + "9" * 30], PROMPT, id="an endless length"),
    pytest.param(["Transfer-Encoding: chunked"], b"-1\r\n\r\n" + HIDDEN, id="a negative piece"),
    pytest.param(["Transfer-Encoding: chunked"], b"F" * 17 + b"\r\n" + PROMPT, id="an endless piece"),
    pytest.param(["Transfer-Encoding: chunked"], b"f\n" + PROMPT + b"\n0\n\n" + HIDDEN, id="bare line feeds"),
    pytest.param(["Transfer-Encoding: chunked"], b"1\r\n" + PROMPT + b"\r\n0\r\n\r\n" + HIDDEN, id="a piece too short"),
    pytest.param(["X-A: b\r\n c", "Content-Length: 15"], PROMPT + HIDDEN, id="a folded field"),
    pytest.param(["X-A: b\0c", "Content-Length: 15"], PROMPT + HIDDEN, id="NUL in a field"),
    pytest.param(["X-A: b\rX-B: c", "Content-Length: 15"], PROMPT + HIDDEN, id="a bare carriage return"),
    pytest.param(["nonsense", "Content-Length: 15"], PROMPT + HIDDEN, id="a line without a colon"),
]


@pytest.mark.parametrize(("fields", "body"), AMBIGUOUS)
def test_s13_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(
    server: Live, fields: list[str], body: bytes
):
    said = server.say(ask(*fields, body=body))

    assert [one.status for one in said] == [400]
    assert is_problem(said[0])


def is_problem(said: Said) -> bool:
    """The one body that stands for all that cannot be read."""
    told = json.loads(said.body)
    assert said.header("connection") == "close"
    return said.header("content-type") == "application/problem+json" and told["status"] == 400 and bool(told["cure"])


def test_s14_no_request_hides_in_the_body_of_another(guarded: Live):
    """The hidden one is the body of the first, with its token or without; what it asks for does not happen."""
    hidden = HIDDEN.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    body = json.dumps({"prompt": "x", "note": ""}).encode()[:-2] + hidden + b'"}'
    said = guarded.say(ask(f"Content-Length: {len(body)}", "Connection: close", body=body, token=TOKEN))

    assert [one.status for one in said] == [422]


OFFERS = [
    pytest.param(["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"], id="HTTP/2"),
    pytest.param(["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"], id="WebSocket"),
    pytest.param(["Connection: upgrade", "Upgrade: anything"], id="anything"),
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_s14_a_body_stays_one_though_another_protocol_is_offered(server: Live, offer: list[str], in_pieces: bool):
    """Clients of Java offer HTTP/2 with every first request. Its body is neither lost nor taken for a request."""
    body = b'{"prompt":"hi"}  ' + b" " * 200_000
    with server.connect() as wire:
        request = ask(*offer, f"Content-Length: {len(body)}", body=body)
        end_of_head = request.index(b"\r\n\r\n") + 4
        for part in (request[:end_of_head], request[end_of_head:]) if in_pieces else (request,):
            wire.sendall(part)
            time.sleep(0.05 * in_pieces)
        first = next_reply(wire)
        wire.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        second = next_reply(wire)

    assert (first.status, second.status) == (200, 200)
    assert b'"backend":"copilot"' in first.body
    assert b'"circuit_state"' in second.body


@pytest.mark.parametrize("offer", OFFERS)
def test_s14_a_body_that_looks_like_a_request_is_none(guarded: Live, offer: list[str]):
    with guarded.connect() as wire:
        wire.sendall(ask(*offer, f"Content-Length: {len(HIDDEN)}", body=b"", token=TOKEN))
        time.sleep(0.1)
        wire.sendall(HIDDEN)
        said = next_reply(wire)
        wire.settimeout(0.3)
        with pytest.raises(TimeoutError):
            wire.recv(65536)

    assert said.status == 422


def test_s14_many_offers_at_once_are_answered_one_by_one(server: Live):
    offer = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: anything\r\n\r\n"
    with server.connect() as wire:
        wire.sendall(offer * 1000)
        statuses = {next_reply(wire).status for _ in range(1000)}

    assert statuses == {200}


def test_s14_no_socket_is_opened_to_a_page(server: Live):
    """A WebSocket of a foreign page carries its origin; without one there is none to open either."""
    offer = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"
    foreign = f"GET /ai/events HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n{offer}\r\n"
    plain = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n{offer}\r\n"
    statuses = [server.say(request.encode(), 0.5)[0].status for request in (foreign, plain)]

    assert statuses == [403, 200]


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 300, id="TLS"),
        pytest.param(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="a proxy"),
        pytest.param(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="a proxy to this laptop"),
        pytest.param(b"GET /health HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", id="a version to come"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: b\r\n" * 9000 + b"\r\n", id="many fields"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"b" * 70_000 + b"\r\n\r\n", id="a long one"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="a long target"),
        pytest.param(b"\0" * 1000, id="zeros"),
    ],
)
def test_s13_other_protocols_and_endless_heads_are_refused_at_once(server: Live, request_bytes: bytes):
    begun = time.monotonic()
    said = server.say(request_bytes)

    assert [one.status for one in said] in ([400], [])
    assert all(map(is_problem, said))
    assert time.monotonic() - begun < 5


SPELLINGS = [
    "//health", "/health/", "/health/../status", "/health/..%2fstatus", "/health%2f..%2fstatus", "/health/..;/status",
    "/health%00", "/health%00/status", "/health;x", "/health%20", "/health\\..\\status", "/health%5c..%5cstatus",
    "/./status", "/x/../status", "/%2e%2e/status", "/%2e/status", "/sign-in/../status", "/sign-in%2f..%2fstatus",
    "/sign-in/", "//ui/../status", "/ui/../status", "/ui/..%2fstatus", "/ui/", "/ui", "/ui/chats", "/STATUS", "/Health",
    "/status%20", "/status/", "/statu%73", "/%73tatus", "/status?/health", "/status#/health", "/status;/health", "/%ff",
    "/health%ff", "/health%E2%80%8B", "/openapi.json", "/metrics", "/ai/events", "/v1/models", "/api/tags", "/", "*",
]  # fmt: skip


@pytest.mark.parametrize("path", SPELLINGS)
def test_s14_no_spelling_of_a_path_is_open(guarded: Live, path: str):
    statuses = set()
    for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
        request = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with guarded.connect() as wire:
            wire.sendall(request.encode("latin-1"))
            statuses.add(int(wire.recv(20).split()[1]))

    assert statuses <= {400, 401}
