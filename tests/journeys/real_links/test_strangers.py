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

from .wires import STALLED
from .world import World

PROXY = f"http://{STALLED}:3128"
MEGABYTE = 1024 * 1024


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


@contextmanager
def a_proxy(world: World, reply: bytes) -> Iterator[list[bytes]]:
    """A proxy on the far side that says the same to everybody; yields what came."""
    heard: list[bytes] = []
    with world.wires.inside(world.wires.internet):
        listener = socket.create_server((STALLED, 3128))
    listener.settimeout(0.2)
    is_open = threading.Event()
    is_open.set()

    def serve() -> None:
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

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        is_open.clear()
        thread.join(10)
        listener.close()


@pytest.mark.parametrize("death", ["refused", "black hole", "silent"])
def test_f80_a_dead_proxy_is_named_and_the_laptop_is_never_proxied(world: World, death: str):
    if death == "black hole":
        world.wires.filter(f"ip daddr {STALLED} drop")
    with a_proxy(world, b"") if death == "silent" else nullcontext():
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
    with a_proxy(world, refusal) as came:
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
