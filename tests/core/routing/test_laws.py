"""Laws of the ladder, for any script: tiers that break, fall silent or refuse, readers who are slow or leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gateway_core.circuit import Circuit, CircuitPolicy, MemoryStore, admit
from gateway_core.errors import (
    AllTiersFailed,
    AnswerInterrupted,
    ContextTooLong,
    GatewayError,
    PromptRefused,
    RateLimited,
    TierBroken,
    TierFailed,
    TierUnavailable,
    TierUnreachable,
    Unauthorized,
)
from gateway_core.routing.course import Ask
from gateway_core.routing.router import Router
from gateway_core.routing.watch import Limits
from gateway_core.testing import ScriptedTier, run_virtual
from gateway_core.tiers.base import Call
from gateway_core.types import Answer, AttemptOutcome, Chunk, Delta, Done, Meta, Prompt, Reason, SegmentStarted
from tests.core.ladder import asking, prompt, router

POLICY = CircuitPolicy(failure_threshold=2, recovery_timeout=100, probe_lease=17)
WORDS = st.sampled_from(["Paris ", "is ", "it", " the end", "Sure, ", "", "the rest: ", "É", "a\n"])
SILENCE = st.sampled_from([0.5, 3, 16, 25, 100])


@dataclass(frozen=True)
class Fault:
    """Raised anew at each call, as providers' failures are."""

    kind: type[GatewayError]
    reason: Reason | None = None
    again: bool = False
    wait: float | None = None

    def made(self, tier: str) -> GatewayError:
        if issubclass(self.kind, PromptRefused):
            return self.kind("refused")
        assert issubclass(self.kind, TierFailed)
        return self.kind(tier, "as the script says", reason=self.reason, again=self.again, wait=self.wait)


FAULTS = st.sampled_from(
    [
        Fault(TierUnreachable),
        Fault(TierBroken, Reason.UPSTREAM_5XX),
        Fault(TierBroken, Reason.UPSTREAM_5XX, wait=5),
        Fault(TierBroken, Reason.RESET, again=True),
        Fault(TierBroken, Reason.MODEL_GONE, again=True),
        Fault(RateLimited),
        Fault(RateLimited, wait=float("nan")),
        Fault(RateLimited, wait=-3),
        Fault(Unauthorized, again=True),
        Fault(Unauthorized),
        Fault(TierUnavailable, Reason.BUSY),
        Fault(ContextTooLong),
        Fault(PromptRefused),
    ]
)
ENDS = st.sampled_from([Chunk(finish_reason="stop"), Chunk("!", finish_reason="length"), "no end", ValueError()])
SCRIPTS = st.tuples(st.lists(WORDS | SILENCE, max_size=5), FAULTS | ENDS).map(lambda s: [*s[0], s[1]])
TIERS = st.lists(SCRIPTS, min_size=1, max_size=3)


class AnyTier(ScriptedTier):
    """Plays its scripts, and makes each failure anew. `ends` is what each call came to, as the tier saw it."""

    async def _play(self, script: Sequence[object], call: Call) -> AsyncGenerator[Chunk, None]:
        *steps, end = script
        call.sent()
        for step in steps:
            if isinstance(step, str):
                yield Chunk(step)
            else:
                await asyncio.sleep(step)  # type: ignore[arg-type]
        if isinstance(end, Fault):
            raise end.made(self.backend)
        if isinstance(end, Exception):
            raise type(end)
        if isinstance(end, Chunk):
            yield end


@dataclass
class Told:
    """What one reader was told, and when it was over."""

    events: list[object] = field(default_factory=list)
    answer: Answer | None = None
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def drafts(self) -> list[str]:
        """What was written, each restart a text of its own."""
        texts = [""]
        for told in self.events:
            if isinstance(told, SegmentStarted) and told.action == "restart":
                texts.append("")
            elif isinstance(told, Delta):
                texts[-1] += told.text
        return texts

    @property
    def shown(self) -> str:
        return self.drafts[-1]


async def told(ladder: Router, ask: Ask, *, leaves_after: int | None = None) -> Told:
    loop, seen = asyncio.get_running_loop(), Told()
    begun = loop.time()
    try:
        async with aclosing(ladder.stream(ask)) as events:
            async for happening in events:
                assert seen.answer is None, "nothing follows Done"
                if isinstance(happening, Done):
                    seen.answer = happening.answer
                else:
                    seen.events.append(happening)
                if leaves_after is not None and len(seen.events) > leaves_after:
                    break
    except (GatewayError, asyncio.CancelledError) as exc:
        seen.error = exc
    seen.seconds = loop.time() - begun
    return seen


def keeps_the_contract(seen: Told) -> None:
    """What holds for every request that was read to its end."""
    assert (seen.answer is None) != (seen.error is None)
    assert isinstance(seen.error, (AllTiersFailed, AnswerInterrupted, PromptRefused, type(None)))
    partial = seen.answer or getattr(seen.error, "partial", None)
    deltas = [e for e in seen.events if isinstance(e, Delta)]
    assert [d.seq for d in deltas] == list(range(len(deltas)))
    if deltas:
        assert isinstance(seen.events[0], Meta)
    numbers = [e.segment for e in seen.events if isinstance(e, SegmentStarted)]
    assert numbers == list(range(1, len(numbers) + 1))
    if partial is not None:
        # Where every tier broke off an answer in one piece, nothing was shown: the longest text is kept.
        kept = max(reversed(seen.drafts), key=len) if isinstance(seen.error, AllTiersFailed) else seen.shown
        assert partial.text == kept
        assert "".join(partial.text[s.start : s.end] for s in partial.segments) == partial.text
        assert (partial.finish_reason == "interrupted") == (seen.error is not None)
        assert partial.backend == partial.segments[-1].backend
    if seen.answer is not None:
        ended = seen.answer.attempts[-1].outcome is AttemptOutcome.ANSWERED
        assert ended or seen.answer.finish_reason == "length"  # all tokens were there when it was cut


def is_counted(attempt_reason: Reason | None) -> bool:
    return attempt_reason in (
        Reason.CONNECT_REFUSED, Reason.UPSTREAM_5XX, Reason.RESET, Reason.MODEL_GONE, Reason.TRUNCATED,
        Reason.INTERNAL, Reason.FIRST_TOKEN_TIMEOUT, Reason.STALLED, Reason.THINKING_TIMEOUT,
    )  # fmt: skip


QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
POLICIES = st.sampled_from(["continue", "restart", "stop", None])


def ladder_of(scripts: Sequence[Sequence[Sequence[object]]]) -> tuple[list[AnyTier], Router]:
    tiers = [
        AnyTier(name, *own, window=60)  # type: ignore[arg-type]
        for name, own in zip(("copilot", "cloud", "local"), scripts, strict=False)
    ]
    return tiers, router(*tiers, policy=POLICY, limits=Limits(), local_limits=Limits())


def anything(on_interrupt: str | None, whole: bool, seconds: float, max_tokens: int | None, refits: bool) -> Ask:
    def refit(chars: int) -> Prompt:
        return prompt("q" * max(1, chars))

    return asking(
        "q" * 90, on_interrupt=on_interrupt, whole=whole, seconds=seconds, max_tokens=max_tokens,
        refit=refit if refits else None,
    )  # fmt: skip


ASKS = st.tuples(
    POLICIES, st.booleans(), st.sampled_from([2.0, 30.0, 300.0]), st.sampled_from([None, 1, 4]), st.booleans()
)


@QUICK
@given(st.lists(TIERS, min_size=1, max_size=3), st.lists(ASKS, min_size=1, max_size=4))
def test_every_request_ends_once_in_time_and_as_it_was_told(scripts, asks):
    async def run() -> None:
        tiers, ladder = ladder_of(scripts)
        for options in asks:
            ask, before = anything(*options), [t.calls for t in tiers]
            seen = await told(ladder, ask)
            event(type(seen.error).__name__)
            keeps_the_contract(seen)
            assert seen.seconds <= options[2] + 1
            attempts = getattr(seen.answer or seen.error, "attempts", ())
            for tier, calls in zip(tiers, before, strict=True):
                asked = [a for a in attempts if a.backend == tier.backend and a.outcome is not AttemptOutcome.SKIPPED]
                assert len(asked) == tier.calls - calls, "every call is an attempt, recorded once"
                reasons = [a.reason for a in asked]
                assert all(reasons.count(reason) <= 2 for reason in reasons), "no cause is mended twice"

    run_virtual(run())


@QUICK
@given(TIERS, st.integers(1, 5))
def test_a_circuit_counts_what_was_told_and_nothing_else(scripts, requests):
    async def run() -> None:
        _, ladder = ladder_of([scripts])
        ladder._policy = CircuitPolicy(failure_threshold=1000)
        expected = 0
        for _ in range(requests):
            seen = await told(ladder, anything("stop", False, 300.0, None, False))
            last = (seen.answer or seen.error).attempts[-1]  # type: ignore[union-attr]
            expected = 0 if last.outcome is AttemptOutcome.ANSWERED else expected + is_counted(last.reason)
            assert (await ladder.store.read("scripted copilot")).failures == expected

    run_virtual(run())


@QUICK
@given(
    st.lists(TIERS, min_size=1, max_size=2),
    st.lists(
        st.tuples(ASKS, st.none() | st.sampled_from([0.0, 0.5, 3, 17, 40]), st.none() | st.integers(0, 3)),
        min_size=1,
        max_size=5,
    ),
)
def test_whoever_leaves_and_however_no_permit_stays_out(scripts, readers):
    async def run() -> None:
        tiers, ladder = ladder_of(scripts)
        tasks = []
        for options, cancelled_after, leaves_after in readers:
            task = asyncio.ensure_future(told(ladder, anything(*options), leaves_after=leaves_after))
            tasks.append(task)
            if cancelled_after is not None:
                asyncio.get_running_loop().call_later(cancelled_after, task.cancel)
            await asyncio.sleep(60)
        await asyncio.wait(tasks)
        await ladder.settled()
        now = asyncio.get_running_loop().time()
        for tier in tiers:
            if tier.identity is None:
                continue
            circuit = await ladder.store.read(tier.identity)
            assert circuit.state != "half_open", "a probe is over when its caller is"
            after = now + circuit.remaining(now)
            assert circuit.wait == float("inf") or admit(circuit, POLICY, after)[1] is not None

    run_virtual(run())


@QUICK
@given(TIERS, st.integers(2, 12), st.sampled_from([0.0, 0.1, 1]))
def test_a_tier_that_may_be_probed_is_asked_once_at_a_time(scripts, readers, apart):
    async def run() -> None:
        at_once = most = 0

        class Counted(AnyTier):
            async def _play(self, script: Sequence[object], call: Call) -> AsyncGenerator[Chunk, None]:
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                try:
                    async with aclosing(super()._play(script, call)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                            if chunk.finish_reason:
                                break
                finally:
                    at_once -= 1

        store = MemoryStore()
        open_now = Circuit(state="open", failures=2, trips=1)  # type: ignore[arg-type]
        await store.update("scripted copilot", lambda _: (open_now, None))
        copilot = Counted("copilot", *[s for s in scripts if "!" not in str(s)] or [["no end"]])  # type: ignore[arg-type]
        ladder = router(copilot, store=store, policy=POLICY)
        tasks = []
        for _ in range(readers):
            tasks.append(asyncio.ensure_future(told(ladder, anything("stop", False, 300.0, None, False))))
            await asyncio.sleep(apart)
            if (await store.read("scripted copilot")).state == "closed":
                break  # it answered: from here on all may ask
        await asyncio.wait(tasks)
        assert most <= 1

    run_virtual(run())
