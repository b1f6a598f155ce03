"""The lid is closed in the middle of a request: the process stands still, its timers do not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway_core.routing.gate import OpenGate
from gateway_core.testing import ScriptedTier
from gateway_core.testing.simulators import DEFAULT_ANSWER
from tests.core.ladder import asking, in_virtual_time, read, router

from .conftest import Providers


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
@pytest.mark.parametrize("fault", ["slow_first:1", "stall_after:20,seconds=1"])
def test_f69_standing_still_is_not_a_timeout(providers: Providers, empty_home: Path, fault: str):
    providers.cloud.script(fault)
    environment = {
        **os.environ,
        **{name.upper(): value for name, value in providers.settings.items() if "copilot" not in name},
        "FIRST_TOKEN_TIMEOUT": "2",
        "STALL_TIMEOUT": "2",
    }
    command = [sys.executable, "-m", "gateway_core", "ask", "Tell me.", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        begun = time.monotonic()
        while not providers.cloud.paid_calls and time.monotonic() - begun < 20:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, errors.decode()
    reply = json.loads(output)
    assert (reply["response"], reply["backend"]) == (DEFAULT_ANSWER, "cloud")
    assert len(providers.cloud.paid_calls) == 1


@in_virtual_time
async def test_f69_an_answer_lost_to_a_gap_is_asked_for_once_more_and_charged_to_nobody():
    loop = asyncio.get_running_loop()
    copilot = ScriptedTier("copilot", [3600.0], ["again"])
    loop.call_later(5, lambda: setattr(loop._selector_with_time, "time", loop.time() + 60))
    r = router(copilot, ScriptedTier("cloud"))
    seen = await read(r, asking())
    assert (seen.whole.text, seen.reasons("copilot")) == ("again", ["clock_gap", None])
    assert (await r.store.read(copilot.identity)).failures == 0


class Lid(OpenGate):
    """A gate that says that the laptop slept."""

    def __init__(self) -> None:
        self.told: list[Callable[[float], None]] = []

    def on_resumed(self, callback: Callable[[float], None]) -> Callable[[], None]:
        self.told.append(callback)
        return lambda: self.told.remove(callback)

    def open(self) -> None:
        for callback in [*self.told]:
            callback(3600.0)


@in_virtual_time
async def test_f69_after_sleep_a_silent_cloud_is_asked_anew_at_once_and_not_charged():
    lid, loop = Lid(), asyncio.get_running_loop()
    copilot = ScriptedTier("copilot", [3600.0], ["again"])
    loop.call_later(3, lid.open)
    r = router(copilot, ScriptedTier("cloud"), gate=lid)
    seen = await read(r, asking())
    assert (seen.whole.text, seen.reasons("copilot")) == ("again", ["clock_gap", None])
    assert seen.seconds < 3 + 2
    assert (await r.store.read(copilot.identity)).failures == 0
    assert not lid.told


@in_virtual_time
async def test_f69_after_sleep_an_answer_that_goes_on_is_left_alone():
    lid, loop = Lid(), asyncio.get_running_loop()
    loop.call_later(3, lid.open)
    seen = await read(router(ScriptedTier("copilot", ["one ", 3.5, "two ", 10.0, "three"]), gate=lid), asking())
    assert (seen.whole.text, seen.reasons("copilot")) == ("one two three", [None])


@in_virtual_time
async def test_f69_a_model_on_this_laptop_has_slept_as_well():
    lid, loop = Lid(), asyncio.get_running_loop()
    loop.call_later(3, lid.open)
    seen = await read(router(ScriptedTier("local", [60.0, "cold start"]), gate=lid), asking())
    assert (seen.whole.text, seen.reasons("local")) == ("cold start", [None])


@in_virtual_time
async def test_f69_after_sleep_half_an_answer_is_carried_on_by_the_next_tier():
    lid, loop = Lid(), asyncio.get_running_loop()
    loop.call_later(3, lid.open)
    copilot, cloud = ScriptedTier("copilot", ["Half ", 3600.0]), ScriptedTier("cloud", ["and half."])
    r = router(copilot, cloud, gate=lid)
    seen = await read(r, asking())
    assert (seen.whole.text, seen.reasons("copilot")) == ("Half and half.", ["clock_gap"])
    assert seen.seconds < 3 + 2
    assert (await r.store.read(copilot.identity)).failures == 0
