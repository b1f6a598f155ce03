from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import aclosing

import httpcore
import httpx
import pytest
import respx

from gateway_core.clock import SystemClock
from gateway_core.errors import TierBroken, TierFailed, TierUnavailable, TierUnreachable
from gateway_core.tiers.http import Http, open_stream, retry_after
from gateway_core.tiers.names import CannotConnect, CannotResolve, Resolver
from gateway_core.tiers.network import Backend
from gateway_core.types import Reason

from .conftest import Exchange, a_call

HANG_GUARD = 20.0


async def ask(http: Http, url: str, **options) -> bytes:
    client = http.client()
    request = client.build_request("POST", url, json={"prompt": "x"})
    async with open_stream(client, request, a_call(options.pop("connect_timeout", 2.0)), tier="cloud", **options) as r:
        return await r.read()


async def failure(http: Http, url: str, **options) -> TierFailed:
    with pytest.raises(TierFailed) as raised:
        async with asyncio.timeout(HANG_GUARD):
            await ask(http, url, **options)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None  # the frames of a foreign error hold headers and prompts
    return raised.value


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_the_whole_body_arrives_and_sent_is_said_once(http, serve):
    said = []

    async def handler(exchange: Exchange) -> None:
        assert said == [1]
        await exchange.reply(b"hello")

    server = await serve(handler)
    client = http.client()
    request = client.build_request("POST", server.url, json={})
    async with open_stream(client, request, a_call(sent=lambda: said.append(1)), tier="cloud") as reply:
        assert await reply.read() == b"hello"
    assert said == [1]
    assert server.exchanges[0].header("accept-encoding") == "identity"


async def test_no_cookie_is_kept_or_sent(http, serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\nset-cookie: mark=1; path=/\r\ncontent-length: 2\r\n\r\nhi")

    server = await serve(handler)
    client = http.client()
    for _ in range(2):
        async with open_stream(client, client.build_request("GET", server.url), a_call(), tier="x") as reply:
            await reply.read()

    assert len(client.cookies) == 0
    assert [exchange.header("cookie") for exchange in server.exchanges] == [None, None]


async def test_a_connection_read_to_its_end_is_used_again(http, serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"hello")

    server = await serve(handler)
    client = http.client()
    for _ in range(3):
        async with open_stream(client, client.build_request("GET", server.url), a_call(), tier="x") as reply:
            await reply.read()
    assert server.connections == 1


async def test_f2_a_refused_connection_is_unreachable(http):
    found = await failure(http, f"http://127.0.0.1:{unused_port()}")
    assert isinstance(found, TierUnreachable)
    assert found.reason is Reason.CONNECT_REFUSED
    assert not found.may_have_billed


async def test_f3_a_black_hole_ends_at_the_connect_limit(http):
    with socket.socket() as deaf:  # a full backlog: the kernel drops what comes after
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
            fillers.append(filler)
        found = await failure(http, f"http://127.0.0.1:{deaf.getsockname()[1]}", connect_timeout=0.2)
        for filler in fillers:
            filler.close()
    assert isinstance(found, TierUnreachable)
    assert found.reason is Reason.CONNECT_TIMEOUT


async def test_f5_a_reset_after_the_request_may_have_billed(http, serve):
    async def handler(exchange: Exchange) -> None:
        exchange.reset()

    found = await failure(http, (await serve(handler)).url)
    assert (type(found), found.reason, found.may_have_billed, found.again) == (TierBroken, Reason.RESET, True, False)


async def test_f7_a_close_without_reply_on_a_fresh_connection_counts(http, serve):
    async def handler(exchange: Exchange) -> None:
        exchange.close()

    found = await failure(http, (await serve(handler)).url)
    assert (type(found), found.reason, found.again) == (TierBroken, Reason.PROTOCOL, False)


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_f6_a_reused_connection_that_dies_untouched_is_asked_again_freshly(http, serve, way):
    async def handler(exchange: Exchange) -> None:
        if len(server.exchanges) == 2:
            getattr(exchange, way)()
        else:
            await exchange.reply(b"hello")

    server = await serve(handler)
    client = http.client()

    async def once() -> bytes:
        async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x") as reply:
            return await reply.read()

    await once()
    with pytest.raises(TierBroken) as raised:
        await once()
    assert raised.value.again
    assert await once() == b"hello"
    assert server.connections == 2


async def test_an_unread_byte_of_the_head_is_no_reason_to_ask_again(http, serve):
    async def handler(exchange: Exchange) -> None:
        if len(server.exchanges) == 2:
            await exchange.raw(b"HTTP/1.1 2")
            exchange.close()
        else:
            await exchange.reply(b"hello")

    server = await serve(handler)
    client = http.client()
    async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x") as reply:
        await reply.read()
    with pytest.raises(TierBroken) as raised:
        async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x"):
            pass
    assert not raised.value.again


async def test_bytes_that_are_not_http_are_a_protocol_error(http, serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.raw(b"\x16\x03\x01 whatever\r\n\r\n")

    assert (await failure(http, (await serve(handler)).url)).reason is Reason.PROTOCOL


async def test_f27_a_body_shorter_than_announced_is_truncated(http, serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        exchange.close()

    found = await failure(http, (await serve(handler)).url)
    assert (type(found), found.reason, found.may_have_billed) == (TierBroken, Reason.TRUNCATED, True)


async def test_a_reset_in_the_body_is_a_reset(http, serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        exchange.reset()

    assert (await failure(http, (await serve(handler)).url)).reason is Reason.RESET


@pytest.mark.parametrize(
    ("status", "headers", "kind", "reason"),
    [
        pytest.param(200, {"content_type": "text/html"}, TierUnavailable, Reason.PORTAL, id="f21 a login page"),
        pytest.param(302, {"location": "http://login.example/"}, TierUnavailable, Reason.PORTAL, id="f22 elsewhere"),
        pytest.param(301, {"location": "/v1/"}, TierUnavailable, Reason.REDIRECTED, id="f22 same host"),
        pytest.param(302, {"location": "http://[nowhere/"}, TierUnavailable, Reason.REDIRECTED, id="f22 to no address"),
        pytest.param(511, {}, TierUnavailable, Reason.PORTAL, id="f23"),
        pytest.param(407, {}, TierUnavailable, Reason.PROXY, id="f81"),
        pytest.param(200, {"content_encoding": "gzip"}, TierBroken, Reason.BAD_PAYLOAD, id="f28 not unpacked"),
    ],
)
async def test_a_head_that_cannot_be_believed(http, serve, status, headers, kind, reason):
    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"<html>", status, **headers)

    server = await serve(handler)
    found = await failure(http, server.url)
    assert (type(found), found.reason) == (kind, reason)
    assert len(server.exchanges) == 1


async def test_f28_a_body_beyond_the_limit_is_cut_off(http, serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.begin("application/json")
        while True:
            await exchange.part(b" " * 65536)

    found = await failure(http, (await serve(handler)).url)
    assert (type(found), found.reason) == (TierBroken, Reason.TOO_LARGE)


async def test_leaving_the_block_closes_the_connection(http, serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.part(b"data: 1\n\n")

    server = await serve(handler)
    client = http.client()

    async def events():
        async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x") as reply:
            async for part in reply.parts():
                yield part

    async with aclosing(events()) as stream:
        assert await anext(stream) == b"data: 1\n\n"
    await asyncio.wait_for(server.closed.wait(), HANG_GUARD)


async def test_a_cancelled_request_closes_the_connection(http, serve):
    arrived = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        arrived.set()

    server = await serve(handler)
    task = asyncio.create_task(ask(http, server.url))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.closed.wait(), HANG_GUARD)


async def test_renewing_closes_idle_connections_and_lets_running_ones_end(http, serve):
    go_on = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.part(b"a")
        await go_on.wait()
        await exchange.part(b"b")
        await exchange.end()

    server = await serve(handler)
    client = http.client()
    async with open_stream(client, client.build_request("POST", server.url), a_call(), tier="x") as reply:
        assert await anext(reply.parts()) == b"a"
        await http.renew()
        go_on.set()
        assert await reply.read() == b"b"
    await asyncio.wait_for(server.closed.wait(), HANG_GUARD)


@pytest.mark.parametrize("kind", ["httpx", "httpcore"])
@pytest.mark.parametrize(
    ("name", "expected", "reason"),
    [
        ("ConnectError", TierUnreachable, Reason.CONNECT_REFUSED),
        ("ConnectTimeout", TierUnreachable, Reason.CONNECT_TIMEOUT),
        ("ReadError", TierBroken, Reason.RESET),
        ("ReadTimeout", TierBroken, Reason.STALLED),
        ("RemoteProtocolError", TierBroken, Reason.PROTOCOL),
        ("PoolTimeout", TierUnavailable, Reason.BUSY),
        ("ProxyError", TierUnavailable, Reason.PROXY),
        ("LocalProtocolError", TierUnavailable, Reason.INTERNAL),
        ("UnsupportedProtocol", TierUnavailable, Reason.INTERNAL),
    ],
)
async def test_foreign_errors_become_ours_by_type(http, kind, name, expected, reason):
    foreign = getattr(httpx if kind == "httpx" else httpcore, name)
    with respx.mock(using="httpx") as mock:
        mock.post("https://api.example/").mock(side_effect=foreign("secret words"))
        found = await failure(http, "https://api.example/")
    assert (type(found), found.reason) == (expected, reason)
    assert "secret" not in str(found)


# Names


def resolver_of(answers: dict[str, object], now=None) -> Resolver:
    asked: list[str] = []

    def look_up(host: str):
        asked.append(host)
        answer = answers[host]
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        return answer

    made = Resolver(look_up, now or (lambda: 0.0))
    made.asked = asked
    return made


V4 = (socket.AF_INET, ("127.0.0.1", 0))


async def test_f33_an_unknown_name_is_unreachable():
    http = Http(resolver=resolver_of({"api.example": socket.gaierror(socket.EAI_NONAME, "no")}), proxies={})
    found = await failure(http, "http://api.example/")
    assert (type(found), found.reason) == (TierUnreachable, Reason.DNS)
    await http.aclose()


async def test_f34_a_silent_name_server_costs_the_connect_limit_once_and_harms_no_tier():
    import threading

    gate = threading.Event()
    http = Http(resolver=resolver_of({"api.example": lambda: gate.wait(10) and (V4,)}), proxies={})
    found = await failure(http, "http://api.example/", connect_timeout=0.1)
    again = await failure(http, "http://api.example/", connect_timeout=HANG_GUARD * 2)
    gate.set()
    assert [(type(f), f.reason) for f in (found, again)] == [(TierUnavailable, Reason.DNS)] * 2
    await http.aclose()


async def test_many_hung_look_ups_use_few_threads_and_leave_literal_addresses_alone(serve):
    import threading

    gate = threading.Event()
    resolver = resolver_of({f"h{n}": lambda: gate.wait(10) and (V4,) for n in range(40)})

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"here")

    server = await serve(handler)
    http = Http(resolver=resolver, proxies={})
    before = threading.active_count()
    hung = [asyncio.create_task(failure(http, f"http://h{n}/", connect_timeout=0.3)) for n in range(40)]
    await asyncio.sleep(0)
    assert await ask(http, server.url.replace("127.0.0.1", "localhost")) == b"here"
    assert threading.active_count() - before <= 4
    await asyncio.gather(*hung)
    gate.set()
    await http.aclose()


async def test_parallel_look_ups_of_one_name_are_one(serve):
    resolver = resolver_of({"api.example": (V4,)})
    await asyncio.gather(*(resolver.addresses("api.example", 1) for _ in range(50)))
    assert resolver.asked == ["api.example"]


async def test_the_last_good_answer_serves_ten_minutes_when_the_name_server_fails():
    time = [0.0]
    answers: dict[str, object] = {"api.example": (V4,)}
    resolver = resolver_of(answers, lambda: time[0])
    await resolver.addresses("api.example", 1)
    answers["api.example"] = socket.gaierror(socket.EAI_AGAIN, "later")
    time[0] = 599.0
    assert await resolver.addresses("api.example", 1) == (V4,)
    time[0] = 601.0
    with pytest.raises(CannotResolve):
        await resolver.addresses("api.example", 1)


async def test_a_refused_first_address_does_not_hold_up_the_second(serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"here")

    server = await serve(handler)
    port = int(server.url.rsplit(":", 1)[1])
    dead = (socket.AF_INET, ("127.0.0.2", 0))
    backend = Backend(resolver_of({"api.example": (dead, V4)}))
    stream = await backend.connect_tcp("api.example", port, timeout=HANG_GUARD)
    assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    await stream.aclose()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENETUNREACH, Reason.OFFLINE),
        (errno.EHOSTUNREACH, Reason.OFFLINE),
        (errno.EMFILE, Reason.INTERNAL),
    ],
)
async def test_f36_f89_errors_of_this_laptop_harm_no_tier(http, code, reason):
    with respx.mock(using="httpx") as mock:
        mock.post("https://api.example/").mock(side_effect=CannotConnect(code))
        found = await failure(http, "https://api.example/")
    assert (type(found), found.reason) == (TierUnavailable, reason)


# Proxies


async def test_loopback_is_never_proxied(serve):
    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"direct")

    server = await serve(handler)
    http = Http(proxies={"http": "http://127.0.0.1:1", "all": "http://127.0.0.1:1"})
    assert await ask(http, server.url) == b"direct"
    assert http.address_of("http://api.example/v1") == ("127.0.0.1", 1)
    await http.aclose()


async def test_no_proxy_is_honoured_and_the_note_hides_the_password():
    http = Http(proxies={"https": "http://user:hunter2@proxy.example:3128", "no": "internal.example"})
    assert http.proxy_for("https://internal.example/") is None
    assert http.address_of("https://internal.example/") == ("internal.example", 443)
    assert "hunter2" not in (http.proxy_note("https://api.example/") or "hunter2")


async def test_f80_a_dead_proxy_is_a_matter_of_configuration():
    http = Http(proxies={"http": f"http://127.0.0.1:{unused_port()}"})
    found = await failure(http, "http://api.example/")
    assert (type(found), found.reason) == (TierUnavailable, Reason.PROXY)
    assert "PROXY" in found.cure
    await http.aclose()


@pytest.mark.parametrize(("status", "kind"), [(407, TierUnavailable), (403, TierUnavailable), (502, TierUnreachable)])
async def test_f81_a_proxy_that_refuses_the_tunnel(serve, status, kind):
    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"", status)

    server = await serve(handler)
    http = Http(proxies={"https": server.url})
    said = []
    client = http.client()
    request = client.build_request("POST", "https://api.example/", content=b"x")
    with pytest.raises(TierFailed) as raised:
        async with open_stream(client, request, a_call(sent=lambda: said.append(1)), tier="cloud"):
            pass
    assert (type(raised.value), raised.value.reason, said) == (kind, Reason.PROXY, [])
    await http.aclose()


# TLS


async def test_f30_a_certificate_nobody_vouches_for_is_a_matter_of_configuration(http, tls_server):
    found = await failure(http, tls_server.url)
    assert (type(found), found.reason) == (TierUnavailable, Reason.TLS)


async def test_f31_a_certificate_of_an_authority_in_the_store_is_trusted(tls_server):
    http = Http(SystemClock(), proxies={}, trust=ssl.create_default_context(cafile=tls_server.authority))
    assert await ask(http, tls_server.url) == b"hello"
    assert await ask(http, tls_server.url) == b"hello"
    await http.aclose()


async def test_f32_a_tls_handshake_that_stalls_ends_at_the_connect_limit(http):
    async def handler(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = await failure(http, f"https://127.0.0.1:{port}/", connect_timeout=0.2)
    server.close()
    assert (type(found), found.reason) == (TierUnreachable, Reason.CONNECT_TIMEOUT)


# Waits


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "60"}, 60.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "208800"}, 86400.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:17:40 GMT"}, 60.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, 0.0),
    ],
)
def test_retry_after_in_every_spelling(headers, seconds):
    assert retry_after(headers, wall=1000.0) == seconds
