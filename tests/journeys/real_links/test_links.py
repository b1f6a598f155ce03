"""The cable is cut, the carrier is lost, the link comes back, the address changes.

Limits of time are three times what is promised.
"""

from __future__ import annotations

import time

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER as WHOLE

from .wires import CLOUD, COPILOT
from .world import World


def local_asked(world: World, cut: float) -> float:
    """Seconds from the moment of the cut until the local model was asked; less than nothing if that was quicker than
    the command that cut."""
    return world.ollama.paid_calls[0].when - time.time() + time.monotonic() - cut


def test_f01_all_is_well_over_tls(world: World):
    heard = world.laptop.ask()
    assert (heard.backend, heard.shown, heard.answer["state"]) == ("copilot", WHOLE, "closed")


@pytest.mark.parametrize("is_warm", [True, False])
def test_f36_link_down_before_the_request_asks_the_laptop_at_once(world: World, is_warm: bool):
    if is_warm:
        world.laptop.ask()
    cut = world.wires.cut()
    heard = world.laptop.ask()
    assert local_asked(world, cut) < 3 * 0.05
    assert (heard.backend, heard.shown) == ("local", WHOLE)
    assert heard.attempts[:2] == [("copilot", "skipped", "offline"), ("cloud", "skipped", "offline")]
    assert heard.answer["state"] == "closed"
    assert world.laptop.circuit()["failures"] == 0


def test_f37_link_down_while_waiting_for_the_first_word(world: World):
    world.laptop.ask()
    world.copilot.script("hang")
    heard = world.laptop.begin()
    while not (world.copilot.paid_calls and world.copilot.paid_calls[-1].fault == "hang"):
        time.sleep(0.005)
    time.sleep(0.1)
    cut = world.wires.cut()
    heard.finish()
    assert local_asked(world, cut) < 3 * 0.1
    assert heard.first_text_of(0) - cut < 3 * 0.2
    assert (heard.backend, heard.shown) == ("local", WHOLE)
    assert heard.attempts[0] == ("copilot", "failed", "offline")
    assert heard.attempt("copilot")["may_have_billed"]
    assert world.laptop.circuit()["failures"] == 0


@pytest.mark.parametrize("policy", ["continue", "restart", "stop"])
def test_f38_link_down_in_mid_answer_goes_on_at_once(world: World, policy: str):
    world.laptop.ask()
    world.copilot.token_delay = 0.02
    heard = world.laptop.begin(on_interrupt=policy)
    heard.until("delta", 20)
    cut = world.wires.cut()
    ended = heard.until("end")
    if policy == "stop":
        assert ended - cut < 3 * 0.2
        assert heard.error["kind"] == "AnswerInterrupted"
        assert WHOLE.startswith(heard.shown)
        assert heard.end["partial"] == heard.shown != ""
        assert not world.ollama.paid_calls
        return
    assert local_asked(world, cut) < 3 * 0.1
    assert heard.first_text_of(1) - cut < 3 * 0.2
    assert heard.answer["text"] == WHOLE
    assert heard.segments == (["copilot", "local"] if policy == "continue" else ["local"])
    assert heard.attempts[0] == ("copilot", "interrupted", "offline")
    assert world.laptop.circuit()["failures"] == 0


def test_f39_the_carrier_is_lost_in_mid_answer(world: World):
    world.laptop.ask()
    world.copilot.token_delay = 0.05
    heard = world.laptop.begin()
    heard.until("delta", 5)
    cut = world.wires.far("link", "set", "wire1", "down")
    heard.finish()
    assert heard.first_text_of(1) - cut < 3 * 1.2
    assert (heard.answer["text"], heard.segments) == (WHOLE, ["copilot", "local"])
    again = world.laptop.ask()
    assert again.attempts[0] == ("copilot", "skipped", "offline")
    assert world.laptop.circuit()["failures"] == 0


def test_f40_link_back_and_the_very_next_request_goes_to_the_cloud(world: World):
    world.laptop.ask()
    world.wires.cut()
    assert world.laptop.ask().backend == "local"
    world.wires.mend()
    heard = world.laptop.ask()
    assert heard.first_text_of(0) - heard.begun < 3 * 0.5
    assert (heard.backend, heard.attempts[0][1], heard.answer["state"]) == ("copilot", "answered", "closed")


def test_f40_circuits_that_the_cut_has_opened_do_not_keep_the_cloud_away(world: World):
    laptop = world.build(connect_timeout=0.3, failure_threshold=2)
    laptop.ask()
    world.copilot.drop_connections()
    world.cloud.drop_connections()
    world.wires.filter(f"ip daddr {COPILOT} drop", f"ip daddr {CLOUD} drop")  # a dead uplink: no event tells
    assert [laptop.ask().backend for _ in range(3)] == ["local"] * 3
    assert laptop.circuit()["state"] == laptop.circuit("cloud")["state"] == "open"
    world.wires.cut()
    world.wires.restore()
    heard = laptop.ask()
    assert heard.first_text_of(0) - heard.begun < 3 * 0.5
    assert (heard.backend, heard.answer["state"]) == ("copilot", "closed")
