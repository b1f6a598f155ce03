"""More rows of the fault table over REST, each with a server of its own that has learned nothing yet.

Limits of time are three times what is promised.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER as WHOLE

from .certificates import Authority
from .test_links import local_asked
from .test_rest import Client, events_of, serving
from .test_strangers import PROXY
from .test_way_there import flows
from .wires import COPILOT, NOWHERE_6, STALLED
from .world import World

Start = Callable[..., Client]


@pytest.fixture
def world(made_world: World) -> World:
    made_world.restore()
    return made_world


@pytest.fixture
def start(world: World, tmp_path: Path) -> Iterator[Start]:
    """Starts a server; settings by name override the world's."""
    with ExitStack() as stack:
        yield lambda **environment: stack.enter_context(serving(world, tmp_path, **environment))


def attempts(reply: dict) -> list[tuple[str, str, str | None]]:
    return [(a["backend"], a["outcome"], a["reason"]) for a in reply["details"]["attempts"]]


def failures(client: Client, backend: str = "copilot") -> int:
    return next(t["circuit"]["failures"] for t in client.get("/status")["tiers"] if t["backend"] == backend)


def went_on_to_the_cloud(client: Client, reason: str, *, within: float, counts: int) -> dict:
    begun = time.monotonic()
    reply = client.ask()
    assert time.monotonic() - begun < 3 * within
    assert (reply["backend"], reply["response"]) == ("cloud", WHOLE)
    assert attempts(reply) == [("copilot", "failed", reason), ("cloud", "answered", None)]
    assert failures(client) == counts
    return reply


def test_f05_a_reset_after_the_request_over_rest(world: World, start: Start):
    client = start()
    world.copilot.script("reset_after_request", "reset_after_request")
    begun = time.monotonic()
    reply = client.ask()
    assert time.monotonic() - begun < 3 * 1
    assert (reply["backend"], reply["response"]) == ("cloud", WHOLE)
    # The look-up of the account has used the connection before, so the first reset may have been its end alone.
    assert attempts(reply) == [*[("copilot", "failed", "reset")] * 2, ("cloud", "answered", None)]
    assert reply["details"]["attempts"][1]["may_have_billed"]
    assert failures(client) == 1


@pytest.mark.parametrize("wrong", ["another name", "self-signed"])
def test_f30_a_wrong_certificate_is_never_accepted_over_rest(world: World, start: Start, wrong: str):
    made = world.authority.issue("elsewhere.example") if wrong == "another name" else None
    world.tls.load_cert_chain(made or world.authority.self_signed("copilot.example"))
    reply = went_on_to_the_cloud(start(), "tls", within=1, counts=0)
    assert reply["details"]["attempts"][0]["cure"]
    assert not world.copilot.calls, "not even a header was sent"


def test_f31_an_authority_that_the_system_trusts_over_rest(start: Start):
    reply = start().ask()
    assert (reply["backend"], reply["response"]) == ("copilot", WHOLE)
    assert attempts(reply) == [("copilot", "answered", None)]


def test_f31_an_authority_that_the_system_does_not_trust_over_rest(start: Start, tmp_path: Path):
    (tmp_path / "stranger").mkdir()
    reply = start(SSL_CERT_FILE=str(Authority(tmp_path / "stranger").bundle)).ask()
    assert attempts(reply)[:2] == [("copilot", "failed", "tls"), ("cloud", "failed", "tls")]
    assert reply["backend"] == "local"


def test_f32_a_handshake_that_stalls_over_rest(world: World, start: Start):
    with world.wires.inside(world.wires.internet):
        listener = socket.create_server((STALLED, 443))
    with listener:
        world.names.records["stalled.example"] = (STALLED,)
        client = start(COPILOT_GITHUB_API="https://stalled.example", CONNECT_TIMEOUT="0.6")
        went_on_to_the_cloud(client, "connect_timeout", within=0.6 + 1, counts=1)


def test_f33_a_name_that_does_not_exist_over_rest(world: World, start: Start):
    del world.names.records["copilot.example"]
    went_on_to_the_cloud(start(), "dns", within=1, counts=1)


def test_f34_a_silent_name_server_holds_nobody_up_for_long_over_rest(world: World, start: Start):
    client = start()
    world.names.silent = True

    def timed(_: int) -> tuple[float, dict]:
        begun = time.monotonic()
        reply = client.ask()
        return time.monotonic() - begun, reply

    with ThreadPoolExecutor(100) as pool:
        asked = list(pool.map(timed, range(100)))
    for seconds, reply in asked:
        assert seconds < 3 * 3
        assert (reply["backend"], reply["state"], reply["response"]) == ("local", "closed", WHOLE)
        assert {(tier, reason) for tier, _, reason in attempts(reply)[:2]} == {("copilot", "dns"), ("cloud", "dns")}
    seconds, reply = timed(0)
    assert seconds < 3 * 0.4
    assert attempts(reply)[:2] == [("copilot", "skipped", "dns"), ("cloud", "skipped", "dns")]
    assert [failures(client), failures(client, "cloud")] == [0, 0]


def test_f35_ipv6_that_leads_nowhere_is_passed_by_over_rest(world: World, start: Start):
    world.names.records["copilot.example"] = (NOWHERE_6, COPILOT)
    client = start()
    begun = time.monotonic()
    reply = client.ask()
    assert time.monotonic() - begun < 3 * 1.5
    assert (reply["backend"], reply["response"]) == ("copilot", WHOLE)
    assert attempts(reply) == [("copilot", "answered", None)]


def test_f37_link_down_while_waiting_for_the_first_word_over_rest(world: World, start: Start):
    client = start()
    client.ask()
    world.copilot.script("hang")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.ask)
        end = time.monotonic() + 20
        while not (world.copilot.paid_calls and world.copilot.paid_calls[-1].fault == "hang"):
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(0.1)
        cut = world.wires.cut()
        reply = asked.result(20)
    assert local_asked(world, cut) < 3 * 0.1
    assert (reply["backend"], reply["response"]) == ("local", WHOLE)
    assert attempts(reply)[0] == ("copilot", "failed", "offline")
    assert reply["details"]["attempts"][0]["may_have_billed"]
    assert failures(client) == 0


def interrupted(client: Client, change: Callable[[], object]) -> dict:
    """The end of a streamed answer in the middle of which the network changes."""
    shown, count = "", 0
    with client.reply("POST", "/ai/query", prompt="Tell me.", stream=True, details=True) as reply:
        assert reply.status == 200
        for _, kind, data in events_of(reply):
            if kind == "delta":
                shown += data["text"]
                count += 1
                if count == 5:
                    change()
            last = kind, data
    assert last[0] == "done", last
    assert shown == last[1]["response"] == WHOLE
    return last[1]


def test_f39_the_carrier_is_lost_in_mid_answer_over_rest(world: World, start: Start):
    client = start()
    client.ask()
    world.copilot.token_delay = 0.05
    begun = time.monotonic()
    done = interrupted(client, lambda: world.wires.far("link", "set", "wire1", "down"))
    assert time.monotonic() - begun < 3 * 2.5
    assert done["backend"] == "local"
    assert attempts(done)[0] == ("copilot", "interrupted", "offline")
    again = client.ask()
    assert again["backend"] == "local"
    assert attempts(again)[:2] == [("copilot", "skipped", "offline"), ("cloud", "skipped", "offline")]
    assert failures(client) == 0


def test_f41_a_vpn_comes_up_over_rest(world: World, start: Start):
    client = start()
    client.ask()
    old = flows(world)
    assert old
    world.wires.near("address", "add", "10.79.0.2/32", "dev", "wire0")
    world.wires.filter("ip saddr 10.78.0.2 drop")
    world.wires.near("route", "replace", "default", "via", "10.78.0.1", "src", "10.79.0.2")
    begun = time.monotonic()
    reply = client.ask()
    assert time.monotonic() - begun < 3 * 1
    assert (reply["backend"], reply["response"]) == ("copilot", WHOLE)
    assert attempts(reply) == [("copilot", "answered", None)]
    assert not set(old) & set(flows(world))


def test_f41_the_address_changes_in_mid_answer_over_rest(world: World, start: Start):
    client = start()
    client.ask()
    world.copilot.token_delay = 0.05

    def change() -> None:
        world.wires.near("address", "add", "10.78.0.3/25", "dev", "wire0")
        world.wires.near("route", "replace", "default", "via", "10.78.0.1", "src", "10.78.0.3")
        world.wires.near("address", "delete", "10.78.0.2/24", "dev", "wire0")

    assert attempts(interrupted(client, change))[0] == ("copilot", "interrupted", "offline")
    assert failures(client) == 0
    assert client.ask()["backend"] == "copilot"


@pytest.mark.parametrize("death", ["refused", "black hole"])
def test_f80_a_dead_proxy_is_named_and_the_laptop_is_never_proxied_over_rest(world: World, start: Start, death: str):
    if death == "black hole":
        world.wires.filter(f"ip daddr {STALLED} drop")
    client = start(HTTPS_PROXY=PROXY, HTTP_PROXY=PROXY, CONNECT_TIMEOUT="0.6")
    begun = time.monotonic()
    reply = client.ask()
    assert time.monotonic() - begun < 3 * (0.6 + 1)
    assert (reply["backend"], reply["response"]) == ("local", WHOLE)
    assert attempts(reply)[:2] == [("copilot", "failed", "proxy"), ("cloud", "failed", "proxy")]
    assert "HTTPS_PROXY" in reply["details"]["attempts"][0]["cure"]
    assert (failures(client), failures(client, "cloud")) == (0, 0)
