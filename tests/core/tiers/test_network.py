from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
from typing import Any

import pytest

from gateway_core.clock import SystemClock
from gateway_core.errors import TierFailed, TierUnavailable
from gateway_core.tiers.http import Http, open_stream
from gateway_core.tiers.http_failures import Sending, failure_of
from gateway_core.tiers.names import Resolver, literal_address
from gateway_core.tiers.network import Backend, Dropped, Stream
from gateway_core.types import Reason

from .conftest import Exchange, a_call

HANG_GUARD = 20.0
V4 = (socket.AF_INET, ("127.0.0.1", 0))
V6 = (socket.AF_INET6, ("::1", 0, 0, 0))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", V4),
        ("localhost", V4),
        ("api.localhost", V4),
        ("::1", V6),
        ("[::1]", V6),
        ("api.example", None),
    ],
)
def test_what_is_spelt_out_is_not_looked_up(host, address):
    assert literal_address(host) == address


class SlowFamily(Backend):
    """A backend whose connections to one address never come about."""

    def __init__(self, resolver: Resolver, black_hole: Any) -> None:
        super().__init__(resolver)
        self.tried: list[Any] = []
        self._black_hole = black_hole

    async def _connect(self, address: Any, port: int) -> socket.socket:
        self.tried.append(address[0])
        if address == self._black_hole:
            await asyncio.sleep(HANG_GUARD * 2)
        return await super()._connect(address, port)


async def answering(exchange: Exchange) -> None:
    await exchange.reply(b"here")


async def test_f35_a_black_hole_on_one_family_costs_a_quarter_of_a_second_once(serve):
    server = await serve(answering)
    port = int(server.url.rsplit(":", 1)[1])
    backend = SlowFamily(Resolver(lambda host: (V6, V4)), V6)
    for _ in range(2):
        async with asyncio.timeout(HANG_GUARD):
            stream = await backend.connect_tcp("api.example", port, timeout=HANG_GUARD)
        await stream.aclose()
    assert backend.tried == [socket.AF_INET6, socket.AF_INET, socket.AF_INET]


@pytest.mark.skipif(sys.platform != "linux", reason="open files cannot be counted here")
async def test_no_socket_is_left_behind_when_the_caller_gives_up():
    before = len(os.listdir("/proc/self/fd"))
    backend = SlowFamily(Resolver(lambda host: (V4,)), V4)
    task = asyncio.create_task(backend.connect_tcp("api.example", 9, timeout=HANG_GUARD))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
async def test_f42_a_connection_from_the_pool_gets_little_patience_until_it_answers(http, serve):
    server = await serve(answering)
    client = http.client()
    patience = []

    async def once() -> None:
        async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x") as reply:
            await reply.read()
            patience.append(user_timeout(reply))

    def user_timeout(reply: Any) -> int:
        stream = reply._response.extensions["network_stream"]
        return stream.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    await once()
    await once()
    assert patience == [20_000, 20_000]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
async def test_f42_until_then_the_kernel_gives_up_after_two_seconds(serve):
    server = await serve(answering)
    port = int(server.url.rsplit(":", 1)[1])
    stream = await Backend(Resolver()).connect_tcp("127.0.0.1", port, timeout=HANG_GUARD)
    assert isinstance(stream, Stream)
    await stream.write(b"GET / HTTP/1.1\r\n\r\n")
    await stream.read(1000)
    await stream.write(b"GET / HTTP/1.1\r\n\r\n")
    sock = stream.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2_000
    await stream.aclose()


@pytest.mark.parametrize("in_body", [False, True])
@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN])
def test_f37_f38_a_way_that_vanishes_under_a_request_is_nobodys_fault(code, in_body):
    sending = Sending("copilot", a_call(), proxy=None, billed=True, connect=2.0)
    sending.left()
    found = failure_of(Dropped(code, untouched=False), sending, in_body=in_body)
    assert (type(found), found.reason, found.may_have_billed) == (TierUnavailable, Reason.OFFLINE, True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
async def test_f89_without_file_handles_no_tier_is_charged_and_it_recovers(serve):
    server = await serve(answering)
    http = Http(SystemClock(), proxies={})
    client = http.client()
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)  # the next handle anybody would get
    os.close(lowest)
    request = client.build_request("POST", server.url)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(TierFailed) as raised:
            async with open_stream(client, request, a_call(), tier="x"):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (type(raised.value), raised.value.reason) == (TierUnavailable, Reason.INTERNAL)
    async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x") as reply:
        assert await reply.read() == b"here"
    await http.aclose()


async def test_a_reader_who_stands_still_holds_the_sender_back(http, serve):
    sent = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.begin()
        while sent < 64 * 1024 * 1024:
            await exchange.part(b"x" * 65536)
            sent += 65536

    server = await serve(handler)
    client = http.client()
    async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x") as reply:
        await anext(reply.parts())
        await asyncio.sleep(0.3)
        assert sent < 32 * 1024 * 1024


async def test_over_tls_every_request_leaves_and_is_over_when_the_kernel_has_it(tls_server):
    http = Http(SystemClock(), proxies={}, trust=ssl.create_default_context(cafile=tls_server.authority))
    client = http.client()
    for size in (1, 2_000_000, 1, 1, 1):
        request = client.build_request("POST", tls_server.url, content=b"x" * size)
        async with asyncio.timeout(HANG_GUARD), open_stream(client, request, a_call(), tier="x") as reply:
            assert await reply.read() == b"hello"
    await http.aclose()
