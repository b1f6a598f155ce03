"""The lid is closed in the middle of a request, and the network does not wait for it."""

from __future__ import annotations

import signal
import time

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER as WHOLE

from .test_way_there import flows
from .wires import COPILOT
from .world import World

ASLEEP = 6.5  # more than the smallest gap that counts as sleep, whatever the phase of the heartbeat


def sleep(world: World) -> float:
    """Stop the gateway's process and let it go on; the moment when it went on."""
    world.laptop.process.send_signal(signal.SIGSTOP)
    time.sleep(ASLEEP)
    going_on = time.monotonic()
    world.laptop.process.send_signal(signal.SIGCONT)
    return going_on


@pytest.mark.slow
def test_f69_a_connection_that_died_meanwhile_is_not_waited_for(world: World):
    """Nothing told of its end: the router forgot it. The default limits hold, so no timer of ours is late."""
    world.laptop.ask()
    world.copilot.script("hang")
    heard = world.laptop.begin()
    while not (world.copilot.paid_calls and world.copilot.paid_calls[-1].fault == "hang"):
        time.sleep(0.01)
    world.wires.filter(f"ip daddr {COPILOT} tcp sport {{ {', '.join(flows(world))} }} drop")
    going_on = sleep(world)
    heard.finish()
    assert heard.attempts == [("copilot", "failed", "clock_gap"), ("copilot", "answered", None)]
    assert heard.first_text_of(0) - going_on < 3 * 1
    assert heard.shown == WHOLE
    assert world.laptop.circuit()["failures"] == 0
