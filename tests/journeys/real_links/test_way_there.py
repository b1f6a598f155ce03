"""Between the laptop and a provider: black holes, resets, names, certificates, dead connections.

Limits of time are three times what is promised.
"""

from __future__ import annotations

import socket
import subprocess
import time

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER as WHOLE

from .certificates import Authority
from .wires import COPILOT, NOWHERE_6, STALLED
from .world import World


def went_on_to_the_cloud(heard, reason: str, *, within: float) -> None:
    assert heard.attempts[0] == ("copilot", "failed", reason)
    assert (heard.backend, heard.shown) == ("cloud", WHOLE)
    assert heard.first_text_of(0) - heard.begun < 3 * within


@pytest.mark.parametrize("is_known", [True, False])
def test_f03_a_black_hole_costs_the_connect_limit_once(world: World, is_known: bool):
    laptop = world.build(connect_timeout=0.6)
    if is_known:
        laptop.ask()
        world.copilot.drop_connections()
        time.sleep(0.05)
    world.wires.filter(f"ip daddr {COPILOT} drop")
    heard = laptop.ask()
    went_on_to_the_cloud(heard, "connect_timeout", within=0.6 + 0.3)
    assert laptop.circuit()["failures"] == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_f02_a_refusal_of_the_far_end(world: World, is_known: bool):
    if is_known:
        world.laptop.ask()
    world.copilot.stop()
    heard = world.laptop.ask()
    went_on_to_the_cloud(heard, "connect_refused", within=0.2)
    assert world.laptop.circuit()["failures"] == 1


def test_f05_a_reset_after_the_request(world: World):
    world.copilot.script("reset_after_request", "reset_after_request")
    heard = world.laptop.ask()
    # The look-up of the account has used the connection before, so the first reset may have been its end alone.
    assert heard.attempts[:2] == [("copilot", "failed", "reset")] * 2
    went_on_to_the_cloud(heard, "reset", within=0.3)
    assert heard.attempt("copilot")["may_have_billed"]
    assert world.laptop.circuit()["failures"] == 1


def test_f29_a_header_that_drips(world: World):
    laptop = world.build(first_token_timeout=0.5)
    world.copilot.script("drip_headers:1")
    went_on_to_the_cloud(laptop.ask(), "first_token_timeout", within=0.5 + 0.5)
    assert laptop.circuit()["failures"] == 1


@pytest.mark.parametrize("wrong", ["another name", "self-signed"])
def test_f30_a_wrong_certificate_is_never_accepted(world: World, wrong: str):
    made = world.authority.issue("elsewhere.example") if wrong == "another name" else None
    world.tls.load_cert_chain(made or world.authority.self_signed("copilot.example"))
    heard = world.laptop.ask()
    went_on_to_the_cloud(heard, "tls", within=0.5)
    assert heard.attempt("copilot")["cure"]
    assert not world.copilot.calls, "not even a header was sent"
    assert world.laptop.circuit()["failures"] == 0


def test_f31_an_authority_counts_only_if_the_system_trusts_it(world: World, tmp_path):
    world.copilot.token_delay = 0.0
    assert world.laptop.ask().backend == "copilot"
    stranger = Authority(tmp_path).bundle
    heard = world.build({"SSL_CERT_FILE": str(stranger)}).ask()
    assert [reason for backend, _, reason in heard.attempts if backend != "local"] == ["tls", "tls"]
    assert heard.backend == "local"


def test_f32_a_handshake_that_stalls_costs_the_connect_limit(world: World):
    with world.wires.inside(world.wires.internet):
        listener = socket.create_server((STALLED, 443))
    with listener:
        world.names.records["stalled.example"] = (STALLED,)
        laptop = world.build(copilot_github_api="https://stalled.example", connect_timeout=0.6)
        went_on_to_the_cloud(laptop.ask(), "connect_timeout", within=0.6 + 0.3)
        assert laptop.circuit()["failures"] == 1


def test_f33_a_name_that_does_not_exist(world: World):
    del world.names.records["copilot.example"]
    went_on_to_the_cloud(world.laptop.ask(), "dns", within=0.3)
    assert world.laptop.circuit()["failures"] == 1


def test_f34_a_silent_name_server_holds_nobody_up_for_long(world: World):
    world.names.silent = True
    asked = [world.laptop.begin(whole=True) for _ in range(100)]
    for heard in asked:
        heard.finish()
        assert heard.seconds < 3 * 3
        assert heard.attempts[0] == ("copilot", "failed", "dns")
        assert heard.backend == "local"
    later = [world.laptop.ask() for _ in range(5)]
    assert all(heard.first_text_of(0) - heard.begun < 3 * 0.1 for heard in later)
    assert later[-1].attempts[:2] == [("copilot", "skipped", "dns"), ("cloud", "skipped", "dns")]
    circuits = world.laptop.circuit(), world.laptop.circuit("cloud")
    assert [circuit["failures"] for circuit in circuits] == [0, 0]


def test_f34_names_that_were_known_a_moment_ago_still_serve(world: World):
    world.laptop.ask()
    world.copilot.drop_connections()
    world.names.silent = True
    world.copilot.token_delay = 0.0
    assert world.laptop.ask().backend == "copilot"


def test_f35_ipv6_that_leads_nowhere_is_passed_by(world: World):
    world.names.records["copilot.example"] = (NOWHERE_6, COPILOT)
    heard = world.laptop.ask()
    assert heard.first_text_of(0) - heard.begun < 3 * 0.6
    assert (heard.backend, heard.attempts[0][1]) == ("copilot", "answered")
    world.copilot.drop_connections()
    time.sleep(0.05)
    again = world.laptop.ask()
    assert again.first_text_of(0) - again.begun < 0.25, "the family that worked comes first"


def flows(world: World) -> list[str]:
    """The laptop's own ports of connections to Copilot."""
    listed = subprocess.run(
        ["ip", "netns", "exec", world.wires.laptop, "ss", "-Htn", "state", "established", "dst", COPILOT],
        check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return [line.split()[2].rpartition(":")[2] for line in listed.stdout.splitlines()]


def test_f42_a_router_forgot_the_idle_connection(world: World):
    world.laptop.ask()
    old = flows(world)
    assert old
    world.wires.filter(f"ip daddr {COPILOT} tcp sport {{ {', '.join(old)} }} drop")
    heard = world.laptop.ask()
    assert heard.attempts == [("copilot", "failed", "reset"), ("copilot", "answered", None)]
    assert heard.first_text_of(0) - heard.begun < 3 * 2.5
    assert heard.shown == WHOLE
    assert world.laptop.circuit()["failures"] == 0


def test_f41_a_vpn_comes_up_and_nothing_is_sent_on_old_connections(world: World):
    world.laptop.ask()
    old = flows(world)
    world.wires.near("address", "add", "10.79.0.2/32", "dev", "wire0")
    world.wires.filter("ip saddr 10.78.0.2 drop")
    world.wires.near("route", "replace", "default", "via", "10.78.0.1", "src", "10.79.0.2")
    heard = world.laptop.ask()
    assert heard.attempts == [("copilot", "answered", None)]
    assert heard.first_text_of(0) - heard.begun < 3 * 0.5
    assert not set(old) & set(flows(world))


def test_f41_the_address_changes_in_mid_answer(world: World):
    world.laptop.ask()
    world.copilot.token_delay = 0.05
    heard = world.laptop.begin()
    heard.until("delta", 5)
    world.wires.near("address", "add", "10.78.0.3/25", "dev", "wire0")
    world.wires.near("route", "replace", "default", "via", "10.78.0.1", "src", "10.78.0.3")
    changed = world.wires.near("address", "delete", "10.78.0.2/24", "dev", "wire0")
    heard.finish()
    assert heard.attempts[0] == ("copilot", "interrupted", "offline")
    assert heard.first_text_of(1) - changed < 3 * 2
    assert heard.answer["text"] == WHOLE
    assert world.laptop.circuit()["failures"] == 0
    assert world.laptop.ask().backend == "copilot"
