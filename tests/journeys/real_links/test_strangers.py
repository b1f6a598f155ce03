"""Somebody else answers: a network's login page, a proxy; or the provider sends what nobody can want.

Limits of time are three times what is promised.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER as WHOLE

from .wires import CLOUD, COPILOT, STALLED
from .world import World

PROXY = f"http://{STALLED}:3128"
MEGABYTE = 1024 * 1024


@contextmanager
def somebody(world: World, reply: bytes, *addresses: tuple[str, int]) -> Iterator[list[bytes]]:
    """On the far side, says the same to everybody at these addresses; yields what came."""
    heard: list[bytes] = []
    with world.wires.inside(world.wires.internet):
        listeners = [socket.create_server(address) for address in addresses]
    is_open = threading.Event()
    is_open.set()

    def serve(listener: socket.socket) -> None:
        listener.settimeout(0.2)
        while is_open.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                heard.append(connection.recv(65536))
                connection.sendall(reply)
                if not reply:  # silent until the other side gives up
                    with suppress(OSError):
                        connection.recv(1)

    threads = [threading.Thread(target=serve, args=(listener,), daemon=True) for listener in listeners]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        is_open.clear()
        for thread in threads:
            thread.join(10)
        for listener in listeners:
            listener.close()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("html_200", id="f21 a page in place of an answer"),
        pytest.param("redirect:https://login.example/", id="f22 a redirect to the page"),
        pytest.param("status_511", id="f23 network authentication required"),
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_a_login_page_in_the_way_is_named_and_charged_to_nobody(world: World, page: str, is_known: bool):
    if is_known:
        world.laptop.ask()
    for cloud in (world.copilot, world.cloud):
        cloud.script(then=page, free=page)
    heard = world.laptop.ask()
    assert heard.first_text_of(0) - heard.begun < 3 * 1
    assert (heard.backend, heard.shown) == ("local", WHOLE)
    assert heard.attempts[:2] == [("copilot", "failed", "portal"), ("cloud", "failed", "portal")]
    assert "log in" in heard.attempt("copilot")["cure"]
    again = world.laptop.ask()
    assert again.attempts[:2] == [("copilot", "skipped", "portal"), ("cloud", "skipped", "portal")]
    status = world.laptop.status()
    assert status["connectivity"] == "portal"
    assert [tier["circuit"]["failures"] for tier in status["tiers"][:2]] == [0, 0]
    assert not any("login.example" in name for name in world.names.asked)


@pytest.mark.parametrize(
    ("reply", "is_portal"),
    [
        ("302 Found\r\nlocation: http://login.example/", True),
        ("200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 0", True),
        ("511 Network Authentication Required\r\ncontent-length: 0", True),
        ("200 OK\r\ncontent-type: Text/HTML\r\ncontent-length: 0", True),
        ("301 Moved\r\nlocation: https://copilot.example/", False),
        ("302 Found\r\nlocation: http://[nowhere/", False),
        ("404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 0", False),
    ],
)
def test_a_login_page_that_breaks_tls_is_named_by_a_look_without_a_key(world: World, reply: str, is_portal: bool):
    for context in (world.tls, world.cloud_tls):
        context.load_cert_chain(world.authority.self_signed("login.example"))
    page = f"HTTP/1.1 {reply}\r\nconnection: close\r\n\r\n".encode()
    with somebody(world, page, (COPILOT, 80), (CLOUD, 80)) as heard:
        told = world.laptop.ask()
    assert told.first_text_of(0) - told.begun < 3 * 1
    assert (told.backend, told.shown) == ("local", WHOLE)
    assert told.attempts[0] == ("copilot", "failed", "portal" if is_portal else "tls")
    assert world.laptop.status()["connectivity"] == ("portal" if is_portal else "online")
    assert heard[0].startswith(b"GET / HTTP/1.1\r\n")
    assert b"authorization" not in heard[0].lower()
    assert world.laptop.circuit()["failures"] == 0
    assert not world.copilot.calls


@pytest.mark.parametrize("death", ["refused", "black hole", "silent"])
def test_f80_a_dead_proxy_is_named_and_the_laptop_is_never_proxied(world: World, death: str):
    if death == "black hole":
        world.wires.filter(f"ip daddr {STALLED} drop")
    with somebody(world, b"", (STALLED, 3128)) if death == "silent" else nullcontext():
        laptop = world.build({"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY}, connect_timeout=0.6)
        heard = laptop.ask()
    assert heard.attempts[:2] == [("copilot", "failed", "proxy"), ("cloud", "failed", "proxy")]
    assert heard.attempt("cloud")["ms"] < 300, "what the first tier found out serves the second"
    assert "HTTPS_PROXY" in heard.attempt("copilot")["cure"]
    assert (heard.backend, heard.shown) == ("local", WHOLE)
    assert heard.first_text_of(0) - heard.begun < 3 * (0.6 + 0.3)
    assert (laptop.circuit()["failures"], laptop.circuit("cloud")["failures"]) == (0, 0)


def test_f81_a_proxy_that_wants_a_password(world: World):
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    with somebody(world, refusal, (STALLED, 3128)) as came:
        laptop = world.build({"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY})
        heard = laptop.ask()
        failures = laptop.circuit()["failures"], laptop.circuit("cloud")["failures"]
    assert heard.attempts[:2] == [("copilot", "failed", "proxy"), ("cloud", "failed", "proxy")]
    assert heard.backend == "local"
    assert heard.first_text_of(0) - heard.begun < 3 * 0.5
    assert failures == (0, 0)
    assert came
    assert all(request.startswith(b"CONNECT c") for request in came), "neither loopback nor a key came here"
    assert not any(b"authorization" in request.lower() for request in came)


@pytest.mark.parametrize(
    "flood", ["huge_body:200", "huge_body:200,lines=1", "huge_body:200+whole_reply", "gzip_bomb:200"]
)
def test_f28_a_flood_leaves_the_memory_as_it_was(world: World, flood: str):
    laptop = world.laptop
    laptop.ask()
    laptop.forget_peak()
    before = laptop.peak_memory()
    world.copilot.script(flood)
    heard = laptop.ask()
    assert (heard.backend, heard.shown) == ("cloud", WHOLE)
    assert heard.first_text_of(0) - heard.begun < 3 * 2
    assert laptop.peak_memory() - before < 20 * MEGABYTE
    assert laptop.circuit()["failures"] == 1
