"""How a turn ends when two things go wrong at once: nothing cut looks whole, nobody is charged for another's fault."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import anyio
import pytest

from gateway_core.circuit import Circuit, CircuitPolicy, CircuitState, MemoryStore
from gateway_core.errors import (
    AllTiersFailed,
    ContextTooLong,
    TierBroken,
    TierUnreachable,
    Unauthorized,
)
from gateway_core.routing.gate import OpenGate
from gateway_core.routing.watch import Limits
from gateway_core.testing import ScriptedTier
from gateway_core.tiers.base import Call
from gateway_core.types import Chunk, Delta, Prompt, SegmentStarted
from tests.core.ladder import asking, in_virtual_time, prompt, read, router

T = TypeVar("T")
CUT = TierBroken("copilot", "reset", reason=None)
REFUSED = Unauthorized("copilot", "the token was refused", again=True)


@pytest.mark.parametrize("whole", [False, True])
@in_virtual_time
async def test_an_empty_answer_after_a_restart_discards_the_cut_one(whole: bool):
    copilot, cloud = ScriptedTier("copilot", ["half an ans", CUT]), ScriptedTier("cloud", [])

    seen = await read(router(copilot, cloud), asking(on_interrupt="restart", whole=whole))

    assert (seen.whole.text, seen.whole.backend, seen.text) == ("", "cloud", "")


@in_virtual_time
async def test_a_tier_that_adds_nothing_to_a_cut_text_is_told_as_its_last_writer():
    copilot, cloud = ScriptedTier("copilot", ["It is Paris.", CUT]), ScriptedTier("cloud", [])

    seen = await read(router(copilot, cloud), asking(on_interrupt="continue"))

    assert [(s.backend, s.start, s.end) for s in seen.whole.segments] == [("copilot", 0, 12), ("cloud", 12, 12)]
    assert [e.action for e in seen.events if isinstance(e, SegmentStarted)] == ["continue"]
    assert "cloud added nothing to the text that broke off" in seen.whole.notes


@in_virtual_time
async def test_a_reader_who_leaves_after_the_token_was_renewed_does_not_lock_the_tier_out():
    copilot = ScriptedTier("copilot", [REFUSED], [60])
    ladder = router(copilot)

    task = asyncio.ensure_future(read(ladder))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])

    assert await ladder.state() is CircuitState.CLOSED


@in_virtual_time
async def test_a_link_lost_while_a_silent_call_is_closed_is_no_cancelled_request():
    cut: list[Callable[[], None]] = []

    class Gate(OpenGate):
        def on_cut(self, address: Any, callback: Callable[[], None]) -> Callable[[], None]:
            cut.append(callback)
            return lambda: None

    class SlowToClose(ScriptedTier):
        async def _play(self, script: Any, call: Call) -> AsyncGenerator[Chunk, None]:
            call.sent()
            try:
                await asyncio.sleep(1000)
                yield Chunk("never")
            finally:
                await asyncio.sleep(0.1)
                cut[0]()
                await asyncio.sleep(0.1)

    copilot = SlowToClose("copilot", address=("192.0.2.1", 443))

    seen = await read(router(copilot, ScriptedTier("cloud", ["ok"]), gate=Gate()))

    assert (seen.whole.backend, seen.reasons("copilot")) == ("cloud", ["first_token_timeout"])


@in_virtual_time
async def test_a_connection_that_fails_to_close_does_not_spoil_the_answer():
    class BadlyClosed(ScriptedTier):
        async def _play(self, script: Any, call: Call) -> AsyncGenerator[Chunk, None]:
            try:
                yield Chunk("Paris")
                yield Chunk(finish_reason="stop")
            finally:
                raise TierBroken("copilot", "the connection was reset while it closed")

    ladder = router(BadlyClosed("copilot"), policy=CircuitPolicy(failure_threshold=1))

    seen = await read(ladder)

    assert [a.outcome for a in seen.whole.attempts] == ["answered"]
    assert await ladder.state() is CircuitState.CLOSED


class SlowStore(MemoryStore):
    """A store behind a lock that another process holds for a moment."""

    async def update(self, identity: str, change: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        await asyncio.sleep(0.05)
        return await super().update(identity, change)


@in_virtual_time
async def test_a_probe_cancelled_twice_gives_its_place_back_all_the_same():
    copilot = ScriptedTier("copilot", [TierUnreachable("copilot")], [60], ["back"])
    ladder = router(copilot, store=SlowStore(), policy=CircuitPolicy(failure_threshold=1, recovery_timeout=10))
    with suppress(AllTiersFailed):
        await read(ladder)
    await asyncio.sleep(11)
    probe = asyncio.ensure_future(read(ladder))
    await asyncio.sleep(1)

    probe.cancel()
    await asyncio.sleep(0.01)
    probe.cancel()
    await asyncio.wait([probe])
    await ladder.settled()

    assert (await read(ladder)).whole.text == "back"


@in_virtual_time
async def test_the_silence_of_a_tier_is_not_counted_while_the_reader_is_slow():
    copilot = ScriptedTier("copilot", ["one", 1, "two"])

    async with aclosing(router(copilot, limits=Limits(stall=20)).stream(asking())) as events:
        async for event in events:
            if isinstance(event, Delta) and event.text == "one":
                await asyncio.sleep(19.5)

    assert event.answer.text == "onetwo"  # type: ignore[union-attr]


@in_virtual_time
async def test_a_token_found_meanwhile_does_not_keep_the_probe_of_the_old_one():
    class TwoTokens(ScriptedTier):
        async def _play(self, script: Any, call: Call) -> AsyncGenerator[Chunk, None]:
            self.identity = None  # another request looked for a token, and found none
            async for chunk in super()._play(script, call):
                yield chunk

    copilot = TwoTokens("copilot", ["a", 2, "b"])
    store = MemoryStore()
    await store.update("scripted copilot", lambda c: (Circuit(CircuitState.OPEN, failures=3), None))

    seen = await read(router(copilot, store=store))

    assert seen.whole.text == "ab"
    assert (await store.read("scripted copilot")).state is CircuitState.CLOSED


@in_virtual_time
async def test_an_error_of_our_own_before_the_call_moves_on():
    class NoWindow(ScriptedTier):
        async def context_chars(self, prompt: Prompt) -> int | None:
            raise KeyError("window")

    seen = await read(router(NoWindow("copilot"), ScriptedTier("cloud", ["ok"])))

    assert (seen.whole.backend, seen.reasons("copilot")) == ("cloud", ["internal"])


class CannotSayIt(ScriptedTier):
    """Fails over our own code before anything leaves, as many times as it is told."""

    def __init__(self, times: int) -> None:
        super().__init__("copilot")
        self.times = times

    async def context_chars(self, prompt: Prompt) -> int | None:
        self.times -= 1
        if self.times >= 0:
            raise KeyError("the words of a prompt")
        return None


@in_virtual_time
async def test_errors_of_our_own_before_anything_was_sent_close_the_tier_to_nobody(caplog: pytest.LogCaptureFixture):
    copilot = CannotSayIt(3)
    r = router(copilot, ScriptedTier("cloud"))
    for _ in range(3):
        await read(r)
    seen = await read(r)

    assert (seen.whole.backend, seen.whole.state) == ("copilot", "closed")
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 3
    assert "copilot" in told[0].getMessage()
    assert "test_endings.py:" in told[0].getMessage()
    assert "the words" not in caplog.text


@in_virtual_time
async def test_an_error_of_our_own_in_a_probe_frees_the_next():
    store = MemoryStore()
    await store.update("scripted copilot", lambda c: (Circuit(CircuitState.OPEN, failures=3), None))
    r = router(CannotSayIt(1), ScriptedTier("cloud"), store=store)

    assert (await read(r)).whole.backend == "cloud"
    assert (await read(r)).whole.backend == "copilot"
    assert (await store.read("scripted copilot")).state is CircuitState.CLOSED


@in_virtual_time
async def test_an_error_of_our_own_after_the_request_left_counts_and_may_have_been_billed():
    copilot = ScriptedTier("copilot", [ValueError()])
    r = router(copilot, ScriptedTier("cloud", ["ok"]))
    seen = await read(r)

    assert seen.whole.attempts[0].may_have_billed
    assert (await r.store.read(copilot.identity)).failures == 1


@pytest.mark.parametrize("told", [None, 5_000, 0, -1])
@in_virtual_time
async def test_a_prompt_found_too_long_is_sent_again_only_smaller_than_it_was(told: int | None):
    def refit(chars: int) -> Prompt:
        return prompt("x" * max(chars, 1))

    copilot = ScriptedTier("copilot", [ContextTooLong("copilot", limit_chars=told)], ["ok"], window=600)

    await read(router(copilot), asking("x" * 1000, refit=refit))

    assert [p.chars for p in copilot.prompts] == [600, 400]


@in_virtual_time
async def test_a_text_to_go_on_from_takes_its_room_from_the_documents():
    def refit(chars: int) -> Prompt:
        return prompt("x" * max(chars, 1))

    copilot, cloud = ScriptedTier("copilot", ["y" * 300, CUT]), ScriptedTier("cloud", ["z"], window=900)

    await read(router(copilot, cloud), asking("x" * 1000, on_interrupt="continue", refit=refit))

    assert cloud.prompts[0].chars <= 900


@in_virtual_time
async def test_a_local_model_that_hangs_leaves_time_to_quote_the_documents():
    hung = ScriptedTier("local", [1000])
    quoting = ScriptedTier("local", ["quoted"], mode="extractive", is_model=False)

    seen = await read(router(hung, quoting), asking(seconds=60))

    assert (seen.whole.mode, seen.seconds) == ("extractive", 55)


@in_virtual_time
async def test_what_is_refused_for_ever_is_not_told_as_a_wait():
    copilot = ScriptedTier("copilot", [Unauthorized("copilot", wait=math.inf)])

    seen = await read(router(copilot))

    assert isinstance(seen.error, AllTiersFailed)
    assert seen.error.retry_after is None


@in_virtual_time
async def test_a_probe_whose_scope_is_cancelled_gives_its_place_back():
    copilot = ScriptedTier("copilot", [TierUnreachable("copilot")], [60], ["back"])
    ladder = router(copilot, store=SlowStore(), policy=CircuitPolicy(failure_threshold=1, recovery_timeout=10))
    await read(ladder)
    await asyncio.sleep(11)

    with anyio.move_on_after(1):
        await read(ladder)
    await ladder.settled()

    assert (await read(ladder)).whole.text == "back"
