"""What the gate says and tells, on a scripted network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from gateway_core.connectivity import Connectivity, ConnectivityGate
from gateway_core.telemetry import Telemetry
from gateway_core.testing.clock import ManualClock
from gateway_core.testing.gate import ScriptedEvents, ScriptedGate, ScriptedWay
from gateway_core.types import Reason

CLOUD = ("api.example.com", 443)
OTHER_CLOUD = ("models.example.org", 443)
OLLAMA = ("127.0.0.1", 11434)
BY_NUMBER = ("93.184.216.34", 443)
ON_THE_LAN = ("192.168.1.20", 11434)
ONLINE, OFFLINE, PORTAL = Connectivity.ONLINE, Connectivity.OFFLINE, Connectivity.PORTAL


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def gate(clock: ManualClock) -> AsyncIterator[ScriptedGate]:
    async with aclosing(ScriptedGate(clock)) as made:
        yield made


LOOPBACK = ["localhost", "ollama.localhost", "LOCALHOST.", "127.0.0.1", "127.8.8.8", "::1", "[::1]", "0.0.0.0"]


@pytest.mark.parametrize("host", [*LOOPBACK, "::ffff:127.0.0.1"])
def test_this_laptop_is_never_offline(gate: ScriptedGate, host: str) -> None:
    gate.cut()
    gate.suspect_dns()
    assert gate.allows((host, 11434))


def test_what_connects_to_nothing_is_never_offline(gate: ScriptedGate) -> None:
    gate.cut()
    assert gate.allows(None)


@pytest.mark.parametrize("address", [CLOUD, BY_NUMBER, ON_THE_LAN, ("localhost.example.com", 80)], ids=str)
def test_f36_without_a_link_nothing_outside_is_asked(gate: ScriptedGate, address: tuple[str, int]) -> None:
    assert gate.blocked(address) is None
    gate.cut()
    assert (gate.state, gate.blocked(address)) == (OFFLINE, Reason.OFFLINE)


def test_f40_link_back_and_the_very_next_request_may_go(gate: ScriptedGate) -> None:
    gate.cut()
    gate.connect()
    assert (gate.state, gate.allows(CLOUD)) == (ONLINE, True)


def test_an_address_on_the_local_network_is_reachable_though_the_internet_is_not(gate: ScriptedGate) -> None:
    gate.way.nearby.add(ON_THE_LAN[0])
    gate.cut()
    assert [gate.allows(address) for address in (ON_THE_LAN, BY_NUMBER, CLOUD)] == [True, False, False]


def test_an_unreachable_address_does_not_make_the_laptop_offline(gate: ScriptedGate) -> None:
    gate.cut_off(BY_NUMBER[0])
    assert (gate.state, gate.allows(BY_NUMBER), gate.allows(CLOUD)) == (ONLINE, False, True)


# ---- being told


def test_listeners_hear_the_old_and_the_new_state_once_for_each_change(gate: ScriptedGate) -> None:
    heard: list[tuple[Connectivity, Connectivity]] = []
    forget = gate.listen(lambda old, new: heard.append((old, new)))
    gate.cut()
    gate.cut()
    gate.connect()
    gate.suspect_portal()
    gate.clear_portal()
    forget()
    gate.cut()
    assert heard == [(ONLINE, OFFLINE), (OFFLINE, ONLINE), (ONLINE, PORTAL), (PORTAL, ONLINE)]


def test_f67_a_listener_that_raises_harms_nobody(gate: ScriptedGate, caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    def wrong(old: Connectivity, new: Connectivity) -> None:
        raise ZeroDivisionError

    gate.listen(wrong)
    gate.listen(lambda old, new: heard.append(new))
    gate.cut()
    assert heard == [OFFLINE]
    assert "a listener of the network's state failed" in caplog.text


def test_f37_a_running_call_is_told_of_the_cut_once(gate: ScriptedGate) -> None:
    told: list[str] = []
    gate.on_cut(CLOUD, lambda: told.append("cloud"))
    gate.on_cut(BY_NUMBER, lambda: told.append("by number"))
    gate.on_cut(OLLAMA, lambda: told.append("this laptop"))
    forget = gate.on_cut(CLOUD, lambda: told.append("a call that has ended"))
    forget()
    gate.cut()
    gate.connect()
    gate.cut()
    assert sorted(told) == ["by number", "cloud"]


def test_a_call_that_begins_after_the_cut_is_told_at_once(gate: ScriptedGate) -> None:
    gate.cut()
    told: list[str] = []
    gate.on_cut(CLOUD, lambda: told.append("cloud"))
    assert told == ["cloud"]


async def test_f38_a_stream_can_wait_for_its_next_chunk_or_the_cut(gate: ScriptedGate) -> None:
    with gate.watching(CLOUD) as cut:
        assert not cut.done()
        gate.cut()
        assert await cut is Reason.OFFLINE
    with gate.watching(OLLAMA) as cut:
        assert not cut.done()


async def test_a_watch_that_is_over_leaves_nothing_behind(gate: ScriptedGate) -> None:
    with gate.watching(CLOUD) as cut:
        pass
    gate.cut()
    assert cut.cancelled()


def test_telemetry_hears_of_changes(clock: ManualClock) -> None:
    telemetry = Telemetry(clock.wall)
    gate = ScriptedGate(clock, telemetry=telemetry)
    gate.cut()
    assert [happening.facts for happening in telemetry.recent("connectivity")] == [
        {"state": "offline", "was": "online"}
    ]


# ---- connections


def test_f41_another_way_out_makes_old_connections_old(gate: ScriptedGate) -> None:
    before = gate.epoch
    assert gate.epoch == before
    gate.connect("vpn")
    assert gate.epoch == before + 1
    assert gate.state is ONLINE


def test_the_same_network_after_a_cut_makes_old_connections_old(gate: ScriptedGate) -> None:
    before = gate.epoch
    gate.cut()
    gate.connect()
    assert gate.epoch > before


# ---- login pages


def test_f21_one_login_page_may_be_one_providers_own_trouble(gate: ScriptedGate) -> None:
    gate.heard(Reason.PORTAL, CLOUD)
    assert gate.state is ONLINE
    gate.heard(None, CLOUD)
    gate.heard(Reason.PORTAL, CLOUD)
    assert gate.state is ONLINE


def test_f21_after_two_login_pages_nothing_outside_is_asked(gate: ScriptedGate) -> None:
    gate.heard(Reason.PORTAL, CLOUD)
    gate.heard(Reason.PORTAL, CLOUD)
    assert gate.state is PORTAL
    assert [gate.blocked(a) for a in (CLOUD, BY_NUMBER, ON_THE_LAN, OLLAMA)] == [Reason.PORTAL] * 2 + [None] * 2


def test_a_login_page_is_looked_for_again_after_a_while(gate: ScriptedGate, clock: ManualClock) -> None:
    gate.suspect_portal()
    clock.advance(29.9)
    assert not gate.allows(CLOUD)
    clock.advance(0.1)
    assert (gate.state, gate.allows(CLOUD)) == (ONLINE, True)


@pytest.mark.parametrize("end", ["an answer", "another network", "a reset"])
def test_login_pages_are_counted_anew_after(end: str, gate: ScriptedGate) -> None:
    gate.heard(Reason.PORTAL, CLOUD)
    match end:
        case "an answer":
            gate.heard(None, OTHER_CLOUD)
        case "another network":
            gate.connect("phone")
        case _:
            gate.clear_portal()
    gate.heard(Reason.PORTAL, CLOUD)
    assert gate.state is ONLINE


@pytest.mark.parametrize("end", ["an answer", "another network", "a reset", "a clock set back"])
def test_the_suspicion_of_a_login_page_ends_with(end: str, gate: ScriptedGate, clock: ManualClock) -> None:
    gate.suspect_portal()
    match end:
        case "an answer":
            gate.heard(None, OTHER_CLOUD)
        case "another network":
            gate.connect("phone")
        case "a reset":
            gate.clear_portal()
        case _:
            clock.set_span(1.0)
    assert gate.allows(CLOUD)


@pytest.mark.parametrize("address", [OLLAMA, ON_THE_LAN, None], ids=str)
def test_an_answer_from_nearby_says_nothing_about_a_login_page(
    gate: ScriptedGate, address: tuple[str, int] | None
) -> None:
    gate.suspect_portal()
    gate.heard(None, address)
    assert gate.state is PORTAL


def test_offline_is_surer_than_a_login_page(gate: ScriptedGate) -> None:
    gate.suspect_portal()
    gate.cut()
    assert gate.state is OFFLINE


# ---- name servers


def test_f34_while_name_servers_are_silent_names_are_not_tried_for_ten_seconds(
    gate: ScriptedGate, clock: ManualClock
) -> None:
    gate.suspect_dns()
    assert [gate.blocked(a) for a in (CLOUD, OTHER_CLOUD, BY_NUMBER, OLLAMA)] == [Reason.DNS] * 2 + [None] * 2
    clock.advance(10.0)
    assert gate.allows(CLOUD)


NEARBY = ["ollama", "nas.local", "printer.home.arpa", "host.docker.internal", "OLLAMA."]


@pytest.mark.parametrize("host", NEARBY)
def test_names_of_the_local_network_need_neither_the_internet_nor_its_name_servers(
    gate: ScriptedGate, host: str
) -> None:
    gate.suspect_dns()
    gate.suspect_portal()
    gate.heard(Reason.PORTAL, (host, 11434))
    assert (gate.blocked(CLOUD), gate.blocked((host, 11434))) == (Reason.PORTAL, None)
    gate.cut()
    assert gate.blocked((host, 11434)) is Reason.OFFLINE


async def test_names_nearby_are_tried_where_there_never_was_a_way_out(clock: ManualClock) -> None:
    alone = ScriptedWay()
    alone.link = None
    async with aclosing(ConnectivityGate(clock, way=alone, events=ScriptedEvents())) as gate:
        assert gate.state is OFFLINE
        assert [gate.blocked(a) for a in (CLOUD, ("ollama", 11434))] == [Reason.OFFLINE, None]


def test_f33_one_unknown_name_says_nothing_about_the_others(gate: ScriptedGate) -> None:
    gate.heard(Reason.DNS, CLOUD)
    assert gate.allows(OTHER_CLOUD)


@pytest.mark.parametrize("end", ["an answer", "another network"])
def test_the_suspicion_of_name_servers_ends_with(end: str, gate: ScriptedGate) -> None:
    gate.suspect_dns()
    if end == "an answer":
        gate.heard(None, OTHER_CLOUD)
    else:
        gate.connect("phone")
    assert gate.allows(CLOUD)


# ---- the heartbeat


async def test_f69_standing_still_is_noticed_and_told(gate: ScriptedGate, clock: ManualClock) -> None:
    told: list[float] = []
    gate.on_resumed(told.append)
    await gate.start()
    before, gaps = gate.epoch, gate.gaps
    gate.sleep(28_801.0)
    assert (told, gate.gaps - gaps, gate.epoch - before) == ([28_800.0], 1, 1)


async def test_f69_a_stopped_process_is_a_gap_too(gate: ScriptedGate, clock: ManualClock) -> None:
    """Whoever sees a time-out first may ask, and need not wait for the heartbeat."""
    await gate.start()
    before = gate.gaps
    clock.advance(10.0)
    assert gate.gaps == before + 1
    assert gate.gaps == before + 1, "one gap is told once"


async def test_a_busy_second_is_no_gap(gate: ScriptedGate, clock: ManualClock) -> None:
    await gate.start()
    clock.advance(5.9)
    assert gate.gaps == 0


async def test_a_clock_set_back_is_no_gap(gate: ScriptedGate, clock: ManualClock) -> None:
    await gate.start()
    clock.set_span(0.0)
    assert gate.gaps == 0


async def test_time_before_the_start_is_no_gap(gate: ScriptedGate, clock: ManualClock) -> None:
    clock.advance(3_600.0)
    await gate.start()
    assert gate.gaps == 0


async def test_after_standing_still_the_gap_is_told_before_the_time_outs_run_out() -> None:
    """The heartbeat is due earlier than any longer limit, and timers run in the order of their dues."""
    clock, order = ManualClock(), []
    way = ScriptedWay()
    async with aclosing(ConnectivityGate(clock, way=way, events=ScriptedEvents(), beat=0.02)) as gate:
        await gate.start()
        gate.on_resumed(lambda gap: order.append("resumed"))
        asyncio.get_running_loop().call_later(0.04, order.append, "time-out")
        time.sleep(0.1)  # noqa: ASYNC251 - the loop stands still, as in a stopped process
        clock.advance(10.0)
        await asyncio.sleep(0.01)
    assert order == ["resumed", "time-out"]


# ---- without link events


async def test_where_the_system_tells_of_nothing_the_gate_looks_for_itself() -> None:
    way = ScriptedWay()
    gate = ConnectivityGate(ManualClock(), way=way, events=ScriptedEvents(works=False), beat=0.01)
    async with aclosing(gate), asyncio.timeout(10):
        await gate.start()
        assert not gate.watches_links
        with gate.watching(CLOUD) as cut:
            way.link = None
            assert await cut is Reason.OFFLINE


async def test_a_suspicion_that_ends_by_time_is_told_by_the_heartbeat() -> None:
    clock, heard = ManualClock(), asyncio.Event()
    gate = ConnectivityGate(clock, way=ScriptedWay(), events=ScriptedEvents(), beat=0.01)
    async with aclosing(gate), asyncio.timeout(10):
        await gate.start()
        gate.suspect_portal()
        gate.listen(lambda old, new: heard.set())
        for _ in range(8):
            clock.advance(4.0)
            await asyncio.sleep(0.02)
        await heard.wait()
    assert gate.state is ONLINE


async def test_start_and_close_may_be_said_twice_and_a_closed_gate_still_answers() -> None:
    events = ScriptedEvents()
    gate = ConnectivityGate(ManualClock(), way=ScriptedWay(), events=events, beat=0.01)
    await gate.start()
    await gate.start()
    await gate.aclose()
    await gate.aclose()
    assert events.happen is None
    assert gate.allows(CLOUD)
    await gate.start()
    assert events.happen is not None
    await gate.aclose()
