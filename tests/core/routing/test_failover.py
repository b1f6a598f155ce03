"""Who answers when a tier fails before any text, and what its circuit hears."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

import pytest

from gateway_core.circuit import CircuitPolicy, CircuitState, MemoryStore
from gateway_core.errors import (
    AllTiersFailed,
    ContextTooLong,
    PromptRefused,
    PromptTooLong,
    QuotaUsedUp,
    RateLimited,
    TierBroken,
    TierUnavailable,
    TierUnreachable,
    Unauthorized,
)
from gateway_core.telemetry import Telemetry
from gateway_core.testing import ScriptedTier
from gateway_core.tiers.base import Missing
from gateway_core.types import AttemptOutcome, Chunk, Meta, Reason
from tests.core.ladder import asking, in_virtual_time, prompt, read, router

BROKEN = TierBroken("copilot", "500", reason=Reason.UPSTREAM_5XX)


def ladder(*copilot, cloud=(["cloud"],), local=(["local"],)):
    return ScriptedTier("copilot", *copilot), ScriptedTier("cloud", *cloud), ScriptedTier("local", *local)


async def circuit_of(r, tier):
    return await r.store.read(tier.identity)


@in_virtual_time
async def test_f01_the_first_tier_answers():
    tiers = ladder(["Par", "is"])
    r = router(*tiers)
    seen = await read(r)
    assert (seen.whole.text, seen.whole.backend, seen.whole.state) == ("Paris", "copilot", "closed")
    assert [a.outcome for a in seen.whole.attempts] == ["answered"]
    assert [t.calls for t in tiers] == [1, 0, 0]


@pytest.mark.parametrize(
    ("row", "failure", "counts"),
    [
        pytest.param(2, TierUnreachable("copilot", "no"), 1, id="f02 connection refused"),
        pytest.param(7, TierBroken("copilot", "", reason=Reason.PROTOCOL), 1, id="f07 closed without a reply"),
        pytest.param(8, BROKEN, 1, id="f08 a 500"),
        pytest.param(10, TierBroken("copilot", "503", reason=Reason.UPSTREAM_5XX, wait=1), 1, id="f10 503 and a wait"),
        pytest.param(11, RateLimited("copilot", "429", wait=60), 0, id="f11 rate limited"),
        pytest.param(15, Unauthorized("copilot", "401"), 0, id="f15 refused credential"),
        pytest.param(16, QuotaUsedUp("copilot", "402"), 0, id="f16 quota used up"),
        pytest.param(21, TierUnavailable("copilot", "", reason=Reason.PORTAL), 0, id="f21 login page"),
        pytest.param(24, TierBroken("copilot", "", reason=Reason.BAD_PAYLOAD), 1, id="f24 not its schema"),
        pytest.param(67, ValueError("a classifier's bug"), 1, id="f67 an error of our own"),
    ],
)
def test_the_next_tier_answers_and_only_tier_failures_count(row, failure, counts):
    @in_virtual_time
    async def story():
        copilot, cloud, local = ladder([failure])
        r = router(copilot, cloud, local)
        seen = await read(r)
        assert (seen.whole.text, seen.whole.backend) == ("cloud", "cloud")
        assert seen.reasons("copilot") == [getattr(failure, "reason", Reason.INTERNAL)]
        assert (await circuit_of(r, copilot)).failures == counts
        assert isinstance(seen.events[0], Meta)
        assert seen.events[0].backend == "cloud"

    story()


@in_virtual_time
async def test_f04_a_tier_that_never_answers_is_left_after_its_first_token_limit():
    copilot, cloud, local = ladder([3600.0])
    r = router(copilot, cloud, local)
    seen = await read(r)
    assert seen.whole.backend == "cloud"
    assert 15 <= seen.seconds < 15.5
    first = seen.whole.attempts[0]
    assert (first.reason, first.may_have_billed) == (Reason.FIRST_TOKEN_TIMEOUT, True)
    assert (await circuit_of(r, copilot)).failures == 1


@in_virtual_time
async def test_f06_a_mended_cause_is_tried_once_more_and_not_charged():
    dead = TierBroken("copilot", "died in the pool", reason=Reason.RESET, again=True)
    copilot, cloud, local = ladder([dead], ["fresh"])
    r = router(copilot, cloud, local)
    seen = await read(r)
    assert (seen.whole.text, seen.whole.backend) == ("fresh", "copilot")
    assert [a.outcome for a in seen.whole.attempts] == ["failed", "answered"]
    assert (await circuit_of(r, copilot)).failures == 0


@in_virtual_time
async def test_the_same_cause_is_mended_only_once():
    dead = TierBroken("copilot", "died in the pool", reason=Reason.RESET, again=True)
    copilot, cloud, local = ladder([dead])
    r = router(copilot, cloud, local)
    seen = await read(r)
    assert seen.whole.backend == "cloud"
    assert copilot.calls == 2
    assert (await circuit_of(r, copilot)).failures == 1


@in_virtual_time
async def test_f11_a_rate_limit_is_waited_out_without_asking():
    copilot, cloud, local = ladder([RateLimited("copilot", "429", wait=60)], ["back"])
    r = router(copilot, cloud, local)
    await read(r)
    await asyncio.sleep(59)
    skipped = await read(r)
    assert copilot.calls == 1
    assert (skipped.whole.attempts[0].outcome, skipped.reasons("copilot")) == ("skipped", ["rate_limited"])
    assert skipped.whole.attempts[0].retry_after == pytest.approx(1)
    await asyncio.sleep(2)
    assert (await read(r)).whole.text == "back"


@in_virtual_time
async def test_f12_a_rate_limit_without_a_time_waits_thirty_seconds_doubling_to_the_recovery_timeout():
    copilot, cloud, local = ladder([RateLimited("copilot", "429")])
    r = router(copilot, cloud, local)
    waits = []
    for _ in range(6):
        await read(r)
        waits.append((await circuit_of(r, copilot)).wait)
        await asyncio.sleep(waits[-1] + 1)
    assert waits == [30, 60, 120, 240, 300, 300]


@in_virtual_time
async def test_f13_a_short_wait_never_replaces_a_long_one():
    copilot, cloud, local = ladder(
        [1.0, RateLimited("copilot", "429", wait=60)], [2.0, RateLimited("copilot", "429", wait=1)]
    )
    r = router(copilot, cloud, local)
    await asyncio.gather(read(r), read(r))
    assert (await circuit_of(r, copilot)).remaining(r._clock.span()) > 55


@in_virtual_time
async def test_f15_refused_credentials_are_not_tried_again_until_a_reset():
    from gateway_core.circuit import reset

    copilot, cloud, local = ladder([Unauthorized("copilot", "401")], ["new token"])
    r = router(copilot, cloud, local)
    await read(r)
    await asyncio.sleep(7 * 86400)
    assert (await read(r)).reasons("copilot") == ["unauthorized"]
    assert copilot.calls == 1
    await r.store.change_all(reset)
    assert (await read(r)).whole.text == "new token"


@in_virtual_time
async def test_f17_the_callers_fault_is_told_at_once_and_to_nobody_else():
    copilot, cloud, local = ladder([PromptRefused("copilot: content not accepted")])
    r = router(copilot, cloud, local)
    seen = await read(r)
    assert isinstance(seen.error, PromptRefused)
    assert [a.backend for a in seen.error.attempts] == ["copilot"]
    assert cloud.calls == 0
    assert (await circuit_of(r, copilot)).failures == 0


@in_virtual_time
async def test_f18_a_prompt_too_long_for_one_window_goes_to_the_next():
    copilot, cloud, local = ladder([ContextTooLong("copilot", "too long")])
    r = router(copilot, cloud, local)
    assert (await read(r)).whole.backend == "cloud"
    assert (await circuit_of(r, copilot)).failures == 0


@in_virtual_time
async def test_f18_a_prompt_too_long_for_everybody_is_the_callers_to_shorten():
    too_long = [ContextTooLong("x", "too long")]
    r = router(*ladder(too_long, cloud=(too_long,), local=(too_long,)))
    seen = await read(r)
    assert isinstance(seen.error, PromptTooLong)
    assert seen.error.field == "prompt"
    assert seen.error.cure.startswith("shorten the prompt or the earlier turns; where documents are sent")


@in_virtual_time
async def test_a_context_that_is_too_long_is_trimmed_once_for_the_same_tier():
    small = prompt("less")
    copilot = ScriptedTier("copilot", [ContextTooLong("copilot", "", limit_chars=10, again=True)], ["fits"])
    r = router(copilot)
    asked = []
    seen = await read(r, asking("a long context", refit=lambda chars: asked.append(chars) or small))
    assert (seen.whole.text, asked) == ("fits", [10])


@in_virtual_time
async def test_a_prompt_is_fitted_to_a_small_window_before_it_is_sent():
    local = ScriptedTier("local", ["fits"], window=5)
    r = router(local)
    await read(r, asking("a long context", refit=lambda chars: prompt("x" * chars)))
    assert local.prompts[0].chars == 5


@in_virtual_time
async def test_f20_a_content_filter_ends_the_answer_and_is_no_failure():
    copilot, cloud, local = ladder(["I can", Chunk(finish_reason="content_filter")])
    r = router(copilot, cloud, local)
    seen = await read(r)
    assert (seen.whole.finish_reason, seen.whole.backend) == ("content_filter", "copilot")


@in_virtual_time
async def test_f26_an_empty_finished_answer_is_an_answer_and_is_flagged():
    copilot, cloud, local = ladder([])
    seen = await read(router(copilot, cloud, local))
    assert (seen.whole.text, seen.whole.backend) == ("", "copilot")
    assert seen.whole.notes == ("copilot answered with an empty text",)
    assert [type(e) for e in seen.events] == [Meta]


@in_virtual_time
async def test_f43_an_error_before_the_first_text_is_silent():
    copilot, cloud, local = ladder([Chunk(), TierBroken("copilot", "error event")])
    seen = await read(router(copilot, cloud, local))
    assert seen.text == "cloud"
    assert [type(e).__name__ for e in seen.events] == ["Meta", "Delta"]


@in_virtual_time
async def test_f44_a_stream_without_its_end_marker_is_cut():
    class Truncated(ScriptedTier):
        async def _play(self, script, call):
            call.sent()
            yield Chunk()

    cloud = ScriptedTier("cloud", ["cloud"])
    seen = await read(router(Truncated("copilot"), cloud))
    assert (seen.whole.text, seen.reasons("copilot")) == ("cloud", ["truncated"])


@in_virtual_time
async def test_f58_under_a_short_deadline_every_tier_gets_its_share():
    copilot, cloud, local = ladder([3600.0])
    r = router(copilot, cloud, local)
    seen = await read(r, asking(seconds=5))
    assert seen.whole.backend == "cloud"
    assert seen.seconds == pytest.approx(1.25)
    assert (await circuit_of(r, copilot)).failures == 0  # it did not have its whole limit


@in_virtual_time
async def test_local_keeps_half_of_the_time():
    copilot, cloud, local = ladder([3600.0], cloud=([3600.0],))
    seen = await read(router(copilot, cloud, local), asking(seconds=8))
    assert seen.whole.backend == "local"
    assert seen.seconds <= 4


@in_virtual_time
async def test_every_request_ends_before_its_deadline():
    copilot, cloud, local = ladder([3600.0], cloud=([3600.0],), local=([3600.0],))
    seen = await read(router(copilot, cloud, local), asking(seconds=10))
    assert isinstance(seen.error, AllTiersFailed)
    assert seen.seconds <= 10.01
    assert len(seen.error.attempts) == 3


@in_virtual_time
async def test_f59_three_failures_open_the_circuit_and_the_fourth_request_does_not_touch_the_tier():
    copilot, cloud, local = ladder([BROKEN])
    r = router(copilot, cloud, local)
    states = [(await read(r)).whole.state for _ in range(4)]
    assert states == ["closed", "closed", "open", "open"]
    assert copilot.calls == 3


@in_virtual_time
async def test_f60_an_answer_in_between_forgets_the_streak():
    copilot, cloud, local = ladder([BROKEN], [BROKEN], ["ok"], [BROKEN], [BROKEN], ["ok"])
    r = router(copilot, cloud, local)
    for _ in range(5):
        await read(r)
    assert await r.state() is CircuitState.CLOSED
    assert (await circuit_of(r, copilot)).failures == 2


async def opened(*after):
    """A ladder whose Copilot circuit is open and just due for its probe."""
    copilot, cloud, local = ladder([BROKEN], [BROKEN], [BROKEN], *after)
    r = router(copilot, cloud, local)
    for _ in range(3):
        await read(r)
    await asyncio.sleep(300)
    return r, copilot


@in_virtual_time
async def test_f61_ten_thousand_requests_at_half_open_send_one_probe():
    r, copilot = await opened([0.5, "back"])
    assert await r.state() is CircuitState.HALF_OPEN
    all_seen = await asyncio.gather(*(read(r) for _ in range(10_000)))
    assert copilot.calls == 4
    assert sum(s.whole.backend == "copilot" for s in all_seen) == 1
    assert sum(s.reasons("copilot") == ["probe_in_flight"] for s in all_seen) == 9_999
    assert await r.state() is CircuitState.CLOSED


@in_virtual_time
async def test_f62_a_failed_probe_opens_for_longer_and_its_caller_is_answered():
    r, copilot = await opened([BROKEN])
    seen = await read(r)
    assert seen.whole.backend == "cloud"
    assert (await circuit_of(r, copilot)).remaining(r._clock.span()) == pytest.approx(600)


@in_virtual_time
async def test_f63_a_reader_who_leaves_the_probe_frees_its_place_at_once():
    r, copilot = await opened(["text", 3600.0], ["back"])
    events = r.stream(asking())
    await anext(events)
    assert (await read(r)).reasons("copilot") == ["probe_in_flight"]
    await events.aclose()
    assert copilot.cancelled == 1
    assert await r.state() is CircuitState.HALF_OPEN
    assert (await read(r)).whole.text == "back"


@in_virtual_time
async def test_f63_a_cancelled_probe_frees_its_place_at_once():
    r, copilot = await opened([3600.0], ["back"])
    task = asyncio.ensure_future(read(r))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert copilot.cancelled == 1
    assert (await read(r)).whole.text == "back"


@pytest.mark.parametrize(
    ("end", "next_asks"),
    [
        pytest.param(PromptRefused("no"), True, id="the caller's error"),
        pytest.param(RateLimited("copilot", "429", wait=60), False, id="rate limited"),
        pytest.param(Unauthorized("copilot", "401"), False, id="unauthorized"),
        pytest.param(ValueError("bug"), False, id="an error of our own"),
    ],
)
def test_f64_a_probe_never_gets_stuck(end, next_asks):
    @in_virtual_time
    async def story():
        r, copilot = await opened([end], ["back"])
        await read(r)
        before = copilot.calls
        await read(r)
        assert copilot.calls == before + next_asks
        await r.store.change_all(lambda c: c)
        await asyncio.sleep(1000)
        if not isinstance(end, Unauthorized):
            assert (await read(r)).whole.text == "back"

    story()


@in_virtual_time
async def test_f65_a_probe_that_died_with_its_process_frees_its_place_after_the_lease():
    from gateway_core.circuit import admit

    r, copilot = await opened(["back"])
    now = r._clock.span()
    await r.store.update(copilot.identity, lambda c: admit(c, CircuitPolicy(), now))
    await asyncio.sleep(16)
    assert (await read(r)).reasons("copilot") == ["probe_in_flight"]
    await asyncio.sleep(1)
    assert (await read(r)).whole.text == "back"


@in_virtual_time
async def test_a_probe_that_streams_for_minutes_keeps_its_place():
    r, _ = await opened([*[x for _ in range(25) for x in (10.0, "word ")]], ["second"])
    task = asyncio.ensure_future(read(r))
    await asyncio.sleep(200)
    assert (await read(r)).reasons("copilot") == ["probe_in_flight"]
    assert (await task).whole.backend == "copilot"


@in_virtual_time
async def test_f66_late_failures_of_old_calls_change_nothing_at_half_open():
    r, copilot = await opened(["back"])
    from gateway_core.circuit import End, Outcome, Permit, record

    late = Outcome(End.FAILURE, Reason.RESET)
    for _ in range(5):
        await r.store.update(
            copilot.identity, lambda c: (record(c, Permit(0), late, CircuitPolicy(), r._clock.span()), None)
        )
    assert (await read(r)).whole.text == "back"


def test_f67_a_listener_that_raises_does_not_reach_the_request(caplog):
    @in_virtual_time
    async def story():
        telemetry = Telemetry(lambda: 0.0)
        telemetry.listen(lambda happening: 1 / 0)
        with caplog.at_level(logging.CRITICAL, "ai_gateway"):
            seen = await read(router(*ladder(["fine"]), telemetry=telemetry))
        assert seen.whole.text == "fine"

    story()


@in_virtual_time
async def test_observers_hear_who_is_asked_and_who_thinks_while_nothing_is_written():
    telemetry, silent = Telemetry(lambda: 0.0), Chunk()
    tiers = ladder([silent, BROKEN], cloud=([silent, silent, silent, "ok", silent],))
    await read(router(*tiers, telemetry=telemetry))

    heard = [h for h in telemetry.recent() if h.kind in ("asking", "thinking", "attempt")]
    assert [(h.kind, h.facts["id"], h.facts["backend"]) for h in heard] == [
        ("asking", "ans_1", "copilot"),
        ("attempt", "ans_1", "copilot"),
        ("asking", "ans_1", "cloud"),
        ("thinking", "ans_1", "cloud"),
        ("attempt", "ans_1", "cloud"),
    ]


@in_virtual_time
async def test_f71_a_reset_while_the_probe_is_out_closes_and_ignores_it():
    from gateway_core.circuit import reset

    r, copilot = await opened([5.0, BROKEN], ["asked again"])
    probe = asyncio.ensure_future(read(r))
    await asyncio.sleep(1)
    await r.store.change_all(reset)
    assert await r.state() is CircuitState.CLOSED
    assert (await read(r)).whole.text == "asked again"
    await probe
    assert (await circuit_of(r, copilot)).failures == 0


@in_virtual_time
async def test_f72_both_clouds_down_local_answers():
    copilot, cloud, local = ladder([BROKEN], cloud=([TierBroken("cloud", "500")],))
    r = router(copilot, cloud, local)
    seen = await read(r)
    assert seen.whole.backend == "local"
    assert [(await circuit_of(r, t)).failures for t in (copilot, cloud)] == [1, 1]


@in_virtual_time
async def test_f73_nobody_answers_and_every_tier_says_why():
    refused = TierUnreachable("local", "Ollama does not run", cure="start it")
    copilot, cloud, local = ladder([BROKEN], cloud=([TierBroken("cloud", "500")],), local=([refused],))
    r = router(copilot, cloud, local)
    for _ in range(3):
        await read(r)
    seen = await read(r)
    assert isinstance(seen.error, AllTiersFailed)
    assert [(a.backend, a.outcome) for a in seen.error.attempts] == [
        ("copilot", "skipped"), ("cloud", "skipped"), ("local", "failed")
    ]  # fmt: skip
    assert seen.error.retry_after == pytest.approx(300)
    assert seen.error.attempts[2].cure == "start it"


@in_virtual_time
async def test_f88_two_resets_among_a_hundred_calls_raise_nothing():
    from gateway_core.circuit import reset

    copilot, cloud, local = ladder([0.01, BROKEN], [0.01, BROKEN], [0.01, BROKEN], [0.01, "ok"])
    r = router(copilot, cloud, local)
    await asyncio.gather(
        *(read(r) for _ in range(100)), r.store.change_all(reset), asyncio.sleep(0.005), r.store.change_all(reset)
    )
    await r.store.change_all(reset)
    assert (await read(r)).whole.text == "ok"


@in_virtual_time
async def test_f93_a_model_that_thinks_is_not_cut():
    thinking = [x for _ in range(8) for x in (5.0, Chunk())]
    copilot, cloud, local = ladder([*thinking, "thought"])
    seen = await read(router(copilot, cloud, local))
    assert (seen.whole.text, copilot.calls, cloud.calls) == ("thought", 1, 0)
    assert 40 <= seen.seconds < 41


@in_virtual_time
async def test_a_model_that_thinks_for_ever_is_left():
    copilot, cloud, local = ladder([x for _ in range(100) for x in (5.0, Chunk())])
    seen = await read(router(copilot, cloud, local), asking(seconds=600))
    assert (seen.whole.backend, seen.reasons("copilot")) == ("cloud", ["thinking_timeout"])


@in_virtual_time
async def test_f75_a_cold_local_model_gets_its_minutes():
    local = ScriptedTier("local", [30.0, "warm"])
    seen = await read(router(local))
    assert seen.whole.text == "warm"


@in_virtual_time
async def test_a_pinned_tier_is_not_failed_over():
    copilot, cloud, local = ladder([BROKEN])
    seen = await read(router(copilot, cloud, local), asking(tier="copilot"))
    assert isinstance(seen.error, AllTiersFailed)
    assert [a.backend for a in seen.error.attempts] == ["copilot"]
    assert cloud.calls == local.calls == 0


@in_virtual_time
async def test_local_only_never_asks_a_tier_that_leaves_the_laptop():
    copilot, cloud, _ = tiers = ladder()
    elsewhere = ScriptedTier("local", ["lan"], leaves_laptop=True)
    r = router(*tiers[:2], elsewhere, tiers[2])
    seen = await read(r, asking(local_only=True))
    assert seen.whole.text == "local"
    assert [t.calls for t in (copilot, cloud, elsewhere)] == [0, 0, 0]
    assert seen.reasons("copilot") == ["local_only"]


@in_virtual_time
async def test_a_tier_that_is_not_configured_is_skipped_with_its_cure():
    copilot = ScriptedTier("copilot", missing=Missing("no token", "run gh auth login"))
    seen = await read(router(copilot, ScriptedTier("cloud", ["hi"])))
    first = seen.whole.attempts[0]
    assert (first.outcome, first.reason, first.cure) == (
        AttemptOutcome.SKIPPED, Reason.NOT_CONFIGURED, "run gh auth login"
    )  # fmt: skip


@in_virtual_time
async def test_f55_f56_a_reader_who_leaves_closes_the_upstream_and_charges_nobody():
    copilot, cloud, local = ladder(["text", 3600.0])
    r = router(copilot, cloud, local)
    async with aclosing(r.stream(asking())) as events:
        await anext(events)
    assert copilot.cancelled == 1
    assert (await circuit_of(r, copilot)).failures == 0
    waiting = asyncio.ensure_future(read(router(ScriptedTier("cloud", [3600.0]))))
    await asyncio.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@in_virtual_time
async def test_f57_a_slow_reader_is_not_held_against_the_tier():
    copilot, cloud, local = ladder(["one ", "two ", "three"])
    r = router(copilot, cloud, local)
    texts = []
    async with aclosing(r.stream(asking())) as events:
        async for event in events:
            await asyncio.sleep(60)
            texts.append(getattr(event, "text", ""))
    assert "".join(texts) == "one two three"
    assert (await circuit_of(r, copilot)).failures == 0


@in_virtual_time
async def test_f68_f70_the_calendar_is_never_looked_at_and_sleep_counts():
    from gateway_core.testing import ManualClock

    clock = ManualClock()
    copilot, cloud, local = ladder([BROKEN], [BROKEN], [BROKEN], ["back"])
    r = router(copilot, cloud, local, store=MemoryStore(), clock=clock)
    for _ in range(3):
        await read(r)
    for jump in (3600, -7200, 86400, -200000):
        clock.set_wall(clock.wall() + jump)
        assert (await read(r)).reasons("copilot") == ["circuit_open"]
    clock.suspend(8 * 3600)
    assert (await read(r)).whole.text == "back"


@in_virtual_time
async def test_a_context_too_long_is_refitted_without_the_tier_asking_for_it():
    copilot = ScriptedTier("copilot", [ContextTooLong("copilot", "", limit_chars=10)], ["fits"])
    r = router(copilot)
    seen = await read(r, asking("a long context", refit=lambda chars: prompt("less")))
    assert (seen.whole.text, len(seen.whole.attempts)) == ("fits", 2)
