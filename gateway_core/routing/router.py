"""The ladder: asks one tier after the other until one answers whole, and says what it did.

Failing over is silent until text has been shown. After that `on_interrupt` decides: `continue` lets the next tier
go on from the last character, `restart` tells the reader to discard, `stop` ends in `AnswerInterrupted`. An answer
asked for in one piece shows nothing until it is whole, so by default a cut simply means the next tier.

The same tier is asked twice only when it says that it has mended the cause itself (`TierFailed.again`), once for
each cause; that is not charged to its circuit, but stands in `attempts`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from ..budget import Budgets, Spent
from ..circuit import CircuitPolicy, CircuitState, CircuitStore, Permit
from ..clock import Clock
from ..deadline import Deadline
from ..discretion import place_of, places_of
from ..errors import (
    REPORT,
    AllTiersFailed,
    AnswerInterrupted,
    ContextTooLong,
    GatewayError,
    PromptRefused,
    PromptTooLong,
    TierBroken,
    TierFailed,
    TierUnavailable,
)
from ..telemetry import Telemetry
from ..tiers.base import Call, Tier
from ..types import Answer, Attempt, AttemptOutcome, Chunk, Done, Event, Meta, OnInterrupt, Prompt, Reason, Usage
from .course import Ask, Course
from .gate import Gate, OpenGate
from .plan import Facts, Step, Wish, cloud_time, plan
from .splice import GO_ON, Seam, to_go_on
from .turnstile import Turnstile
from .watch import Limits, Watch

log = logging.getLogger("ai_gateway")


@dataclass
class _Turn:
    """One rung's turn: its attempts share a permit, and its circuit hears of it once.

    `identity` is the rung's when the permit was given: a token found meanwhile changes it.
    """

    rung: Tier
    permit: Permit | None
    identity: str | None
    course: Course
    seam: Seam | None = None
    has_written: bool = False
    failure: TierFailed | PromptRefused | None = None
    heard: BaseException | None = None
    had_its_time: bool = True
    renewed: float = 0.0
    charges: list[Spent] = field(default_factory=list)  # what its attempts may have cost


class Router:
    """`limits` are for the clouds, `local_limits` for this laptop's own models."""

    def __init__(
        self,
        rungs: Sequence[Tier],
        store: CircuitStore,
        clock: Clock,
        *,
        policy: CircuitPolicy = CircuitPolicy(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008
        local_limits: Limits = Limits(first_token=180.0, thinking=180.0),  # noqa: B008
        telemetry: Telemetry | None = None,
        gate: Gate | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self.rungs = tuple(rungs)
        self.store = store
        self._clock = clock
        self._limits = {True: limits, False: local_limits}
        self._telemetry = telemetry or Telemetry(clock.wall)
        self._turnstile = Turnstile(store, clock, policy, self._telemetry)
        self._gate = gate or OpenGate()
        self._budgets = budgets
        self._recordings: set[asyncio.Task[None]] = set()

    def plan(self, prompt: Prompt, *, tier: str | None = None, local_only: bool = False) -> tuple[Step, ...]:
        """Who would be asked for this prompt, circuits and budgets aside."""
        wish = Wish(tier, local_only, bool(prompt.documents or prompt.sources))
        return plan([self._facts(rung, prompt) for rung in self.rungs], wish)

    async def affordable(self, steps: Sequence[Step], prompt: Prompt) -> tuple[Step, ...]:
        """The plan, without the tiers whose budget is spent."""
        if self._budgets is None:
            return tuple(steps)
        over = await self._budgets.over(prompt.model)

        def checked(step: Step) -> Step:
            found = over.get(self.rungs[step.index].backend) if step.skip is None else None
            return step if found is None else Step(step.index, found.reason, found.detail, found.cure, found.wait)

        return tuple(map(checked, steps))

    async def stream(self, ask: Ask) -> AsyncGenerator[Event, None]:
        """Yield `Meta`, then text, then exactly one `Done`; or raise.

        Raises `PromptRefused`, `AllTiersFailed`, or, once text was shown, `AnswerInterrupted`.
        """
        course, failures = Course(ask, self._clock.now()), list[GatewayError]()
        steps = await self.affordable(self.plan(ask.prompt, tier=ask.tier, local_only=ask.local_only), ask.prompt)
        clouds_by = self._clouds_by(steps, ask.deadline)
        for position, step in enumerate(steps):
            rung = self.rungs[step.index]
            identity = rung.identity
            permit = await self._permit(step, rung, identity, course)
            if permit is None:
                continue
            turn = _Turn(rung, permit, identity, course)
            async with aclosing(
                self._turn(turn, self._until_text(steps[position:], ask.deadline, clouds_by))
            ) as events:
                async for event in events:
                    yield event
            if course.finish_reason is not None:
                yield Done(await self._answer(course))
                return
            if turn.failure is not None:
                failures.append(turn.failure)
            if isinstance(turn.failure, PromptRefused) and not course.has_begun:
                turn.failure.attempts = tuple(course.attempts)
                turn.failure.cure = turn.failure.cure or "change the request, or ask another tier by its name"
                raise turn.failure
            if course.has_begun and ask.after_a_cut is OnInterrupt.STOP:
                break
        await self._give_up(course, failures)

    async def settled(self) -> None:
        """Wait until the circuits have heard of every call that has ended."""
        if under_way := self._recordings | self._turnstile.leaving:
            await asyncio.wait(under_way)

    async def state(self) -> CircuitState:
        """Copilot's circuit: the `state` of every reply."""
        for rung in self.rungs:
            if rung.backend == "copilot":
                return await self._turnstile.shown(rung.identity)
        return CircuitState.CLOSED

    # ---- before a tier is asked

    def _facts(self, rung: Tier, prompt: Prompt) -> Facts:
        missing = rung.missing()
        return Facts(
            backend=rung.backend,
            mode=rung.mode,
            leaves_laptop=rung.leaves_laptop,
            needs_documents=rung.needs_documents,
            is_model=rung.is_model,
            missing=missing.why if missing else None,
            missing_reason=missing.reason if missing else Reason.NOT_CONFIGURED,
            cure=missing.cure if missing else "",
            refuses=rung.refuses(prompt),
            blocked=self._gate.blocked(rung.address) if rung.address else None,
        )

    def _clouds_by(self, steps: Sequence[Step], deadline: Deadline) -> float:
        """The moment until which the clouds together may look for their first visible text."""
        locals_ = [self.rungs[s.index] for s in steps if s.skip is None and self.rungs[s.index].backend == "local"]
        has_model = any(rung.is_model for rung in locals_)
        seconds = cloud_time(deadline.remaining(), local_model=has_model, other_local=bool(locals_))
        return self._clock.now() + seconds

    def _until_text(self, steps: Sequence[Step], deadline: Deadline, clouds_by: float) -> float:
        """Seconds the first of these steps may take to its first visible text: its even share of the clouds' time.

        On this laptop one that hangs leaves a little to those that follow: quoting documents needs no more.
        """
        if self.rungs[steps[0].index].backend == "local":
            others = any(s.skip is None for s in steps[1:])
            return cloud_time(deadline.remaining(), local_model=False, other_local=others)
        clouds = sum(s.skip is None and self.rungs[s.index].backend != "local" for s in steps)
        return max(0.0, clouds_by - self._clock.now()) / clouds

    async def _permit(self, step: Step, rung: Tier, identity: str | None, course: Course) -> Permit | None:
        """Leave to ask this rung; `None` when it is left out, which is then noted."""
        skip, detail, cure, retry_after = step.skip, step.detail, step.cure, step.retry_after
        if skip is None and course.ask.deadline.is_over:
            skip, detail = Reason.DEADLINE, "no time was left to ask it"
        if skip is None and course.has_begun and not rung.can_continue:
            skip, detail = Reason.CANNOT_CONTINUE, "it never goes on with a model's sentence"
        if skip is None and rung.address is not None:  # the link may have gone while others were asked
            skip = self._gate.blocked(rung.address)
            detail = "no way there" if skip else detail
        if skip is None:
            found = await self._turnstile.enter(rung, identity)
            if isinstance(found, Permit):
                return found
            skip, detail, retry_after, cure = found.reason, found.detail, found.retry_after, found.cure
        self._tell(
            course,
            Attempt(
                rung.backend, AttemptOutcome.SKIPPED, skip, mode=rung.mode, detail=detail, cure=cure,
                retry_after=retry_after,
            ),
        )  # fmt: skip
        return None

    # ---- one rung's turn

    async def _turn(self, turn: _Turn, until_text: float) -> AsyncGenerator[Event, None]:
        """Ask one rung, again only where it mended the cause; then tell its circuit once."""
        course = turn.course
        mended: set[Reason] = set()
        by = self._clock.now() + until_text
        try:
            while True:
                turn.heard = GeneratorExit()  # until something else is known: the reader left
                async with aclosing(self._attempt(turn, max(0.0, by - self._clock.now()))) as events:
                    async for event in events:
                        yield event
                failure = turn.failure
                may_repeat = (
                    isinstance(failure, TierFailed)
                    and (failure.again or (isinstance(failure, ContextTooLong) and course.ask.prompt.refit is not None))
                    and not turn.has_written
                    and failure.reason not in mended
                    and not course.ask.deadline.is_over
                )
                if not may_repeat:
                    break
                assert isinstance(failure, TierFailed)
                mended.add(failure.reason)
        finally:
            # A reader who hangs up, even twice, must not leave the probe's place taken: a task of its own records.
            recording = asyncio.ensure_future(self._record(turn))
            self._recordings.add(recording)
            recording.add_done_callback(self._recordings.discard)
            with anyio.CancelScope(shield=True):
                await asyncio.shield(recording)

    async def _attempt(self, turn: _Turn, until_text: float) -> AsyncGenerator[Event, None]:
        """One call of one rung. Sets `turn.failure`, or `course.finish_reason` when the answer is whole."""
        rung, course = turn.rung, turn.course
        before, turn.failure = turn.failure, None
        if course.goes_on and course.tokens_left == 0:  # the text so far has all that were asked for
            course.finish_reason = "length"
            return
        limits = self._limits[rung.backend != "local"]
        watch = Watch(rung.backend, limits, course.ask.deadline, until_text)
        deadline = course.ask.deadline
        call = Call(
            deadline, limits.connect, watch.sent, text_by=deadline.sooner(until_text), in_line=course.ask.in_line
        )
        begun = self._clock.now()
        first_at: float | None = None
        finish: str | None = None
        model: str | None = None
        usage: Usage | None = None
        outcome, failure = AttemptOutcome.CANCELLED, None
        written = signs = 0
        who = {"id": course.ask.id, "backend": rung.backend, "mode": rung.mode}
        self._telemetry.tell("asking", **who)
        forget = self._gate.on_cut(rung.address, lambda: watch.abort(_cut_off(rung.backend, watch.was_sent)))
        # A model on this laptop slept as well, and its connection is alive.
        forget_sleep = self._gate.on_resumed(watch.resumed if rung.backend != "local" else _sleeps_on)
        try:
            course.prompt = await self._fitted(turn, before)
            async with aclosing(rung.stream(course.prompt, call)) as chunks:
                while (chunk := await watch.next(chunks)) is not None:
                    if chunk.note:
                        course.note(chunk.note)
                    model = chunk.model or model
                    usage = chunk.usage or usage
                    text = chunk.text
                    written += len(text)
                    signs += chunk == Chunk()
                    if signs == 2 and chunk == Chunk() and first_at is None:  # one says no more than "I have begun"
                        self._telemetry.tell("thinking", **who)
                    if turn.seam is not None:
                        text = turn.seam.feed(text) + (turn.seam.end() if chunk.finish_reason else "")
                    if text or chunk.tool_calls:
                        first_at = self._clock.now() if first_at is None else first_at
                        course.first_text_at = first_at if course.first_text_at is None else course.first_text_at
                        for event in await self._write(turn, text, chunk):
                            yield event
                    turn.renewed = await self._turnstile.renew(turn.identity, turn.permit, limits.stall, turn.renewed)
                    if chunk.finish_reason is not None:
                        outcome, finish = AttemptOutcome.ANSWERED, chunk.finish_reason
                        for event in await self._finish(turn, chunk.finish_reason, model, usage):
                            yield event
                        return
            raise TierBroken(
                rung.backend, "the stream ended without its end marker", reason=Reason.TRUNCATED, may_have_billed=True
            )
        except Exception as exc:  # noqa: BLE001 - a bug in one tier must not cost the answer of the next
            if not isinstance(exc, (TierFailed, PromptRefused)):
                exc = self._our_own(rung, exc, was_sent=watch.was_sent)
            if outcome is not AttemptOutcome.ANSWERED:  # else the answer was whole, and only its connection failed
                failure = exc
        finally:
            forget()
            forget_sleep()
            turn.had_its_time = watch.had_its_time
            ms = (self._clock.now() - begun) * 1000
            if failure is not None:
                outcome = AttemptOutcome.INTERRUPTED if turn.has_written else AttemptOutcome.FAILED
            is_paid = rung.backend != "local"
            told = Attempt(
                rung.backend, outcome, _reason_of(failure, outcome), ms=round(ms, 1), mode=rung.mode, model=model,
                may_have_billed=is_paid and _may_have_billed(failure, watch.was_sent, turn.has_written),
                detail=getattr(failure, "detail", None) or str(failure or ""), cure=getattr(failure, "cure", ""),
                retry_after=getattr(failure, "wait", None),
            )  # fmt: skip
            self._tell(
                course, told, begun=begun, first_at=first_at, usage=usage, finish_reason=finish,
                asked_model=call.asked.model, host=call.asked.host, port=call.asked.port,
                has_written=turn.has_written,
            )  # fmt: skip
            if told.may_have_billed and self._budgets is not None:
                read = course.prompt.chars if course.prompt else 0
                charge = self._budgets.charge(rung.backend, model, usage, read, written, asked=call.asked.model)
                turn.charges.append(charge)
            turn.failure = failure
            if outcome is not AttemptOutcome.CANCELLED:
                turn.heard = failure
                self._gate.heard(_reason_of(failure, outcome), rung.address)
                if isinstance(failure, TierUnavailable) and failure.reason is Reason.DNS:
                    self._gate.suspect_dns()
        if turn.has_written and failure is not None:
            course.break_off(failure.reason, usage)

    def _our_own(self, rung: Tier, exc: Exception, *, was_sent: bool) -> TierFailed:
        """An error of ours as a failure of the rung. Before anything was sent, the provider had no part in it: three
        requests that we cannot put into its words must not keep everybody else's from it."""
        self._telemetry.tell("error", backend=rung.backend, error=type(exc).__name__)
        log.error("an error of our own while %s was asked: %s at %s", rung.backend, type(exc).__name__, place_of(exc))
        log.debug("from:\n%s", "\n".join(places_of(exc)))
        kind = TierBroken if was_sent else TierUnavailable
        return kind(
            rung.backend, f"an error of our own: {type(exc).__name__}", reason=Reason.INTERNAL,
            cure=REPORT, may_have_billed=was_sent,
        )  # fmt: skip

    async def _fitted(self, turn: _Turn, before: TierFailed | PromptRefused | None) -> Prompt:
        """The prompt in the form for this rung: smaller if its window is, going on if somebody broke off."""
        rung, course = turn.rung, turn.course
        prompt = course.ask.prompt
        limit = await rung.context_chars(prompt)
        if isinstance(before, ContextTooLong):
            sent = course.prompt.chars if course.prompt else prompt.chars
            told = before.limit_chars
            limit = told if told is not None and 0 < told < sent else sent * 2 // 3
        if limit is not None and course.goes_on:
            limit -= len(course.text) + len(GO_ON)
        if limit is not None and prompt.chars > limit and prompt.refit is not None:
            prompt = prompt.refit(limit)
        if course.goes_on:
            if prompt.max_tokens is not None:
                prompt = replace(prompt, max_tokens=course.tokens_left)
            carries_on = rung.can_prefill
            turn.seam = None if carries_on else Seam(course.text)
            prompt = to_go_on(prompt, course.text, carries_on)
        return prompt

    async def _write(self, turn: _Turn, text: str, chunk: Chunk) -> list[Event]:
        """What the reader sees of this text."""
        events = await self._open(turn)
        events.append(turn.course.write(text, chunk.tool_calls))
        return events

    async def _open(self, turn: _Turn) -> list[Event]:
        """Before a rung's first text: whose words follow. Nothing if it has written already."""
        course, rung = turn.course, turn.rung
        if turn.has_written:
            return []
        turn.has_written = True
        if turn.seam is not None:
            course.note(*(f"{rung.backend} {told}" for told in turn.seam.left_out))
        started = course.open_segment(rung.backend, rung.mode)
        return [started or Meta(course.ask.id, rung.backend, str(await self.state()))]

    async def _finish(self, turn: _Turn, finish_reason: str, model: str | None, usage: Usage | None) -> list[Event]:
        """The end marker. A rung that finished without a text has answered all the same: after a restart its empty
        answer is the answer, and not the broken text of the rung before."""
        if not turn.has_written and turn.course.goes_on:
            if turn.seam is None or not turn.seam.left_out:
                turn.course.note(f"{turn.rung.backend} added nothing to the text that broke off")
        elif not turn.has_written and finish_reason == "stop":
            turn.course.note(f"{turn.rung.backend} answered with an empty text")
        events = await self._open(turn)
        turn.course.finish(finish_reason, model, usage)
        return events

    async def _record(self, turn: _Turn) -> None:
        try:
            for charge in turn.charges:
                if self._budgets is not None:
                    await self._budgets.count(turn.rung.backend, charge)
        finally:  # a probe's place is given back, whatever became of the count
            await self._turnstile.leave(
                turn.rung, turn.identity, turn.permit, turn.heard, had_its_time=turn.had_its_time
            )

    # ---- at the end

    async def _answer(self, course: Course) -> Answer:
        answer = course.answer(str(await self.state()), self._clock.now())
        self._telemetry.tell(
            "answer", id=answer.id, backend=answer.backend, mode=answer.mode, model=answer.model,
            finish_reason=answer.finish_reason, first_token_ms=answer.first_token_ms, total_ms=answer.total_ms,
            segments=len(answer.segments), input_tokens=answer.usage.input_tokens,
            output_tokens=answer.usage.output_tokens, credits=answer.usage.credits,
        )  # fmt: skip
        return answer

    async def _give_up(self, course: Course, failures: Sequence[GatewayError]) -> None:
        attempts = course.attempts
        if course.has_begun and not (course.ask.whole and course.ask.after_a_cut is OnInterrupt.RESTART):
            last = course.last_cut()
            raise AnswerInterrupted(
                await self._answer(course),
                course.cut or Reason.STREAM_INTERRUPTED,
                f"the answer broke off: {last.detail}" if last and last.detail else "the answer broke off",
                cure=course.ask.after_nobody_went_on,
            )
        asked = [f for f in failures if not isinstance(f, TierUnavailable)]
        if asked and all(isinstance(f, ContextTooLong) for f in asked):
            raise PromptTooLong(
                "the prompt is longer than every tier that could be asked can read",
                field="prompt",
                cure="shorten the prompt or the earlier turns"
                + (", or lower" if course.ask.prompt.documents else "; where documents are sent, lower")
                + " `max_context_chars`",
                attempts=attempts,
            )
        self._telemetry.tell("unanswered", id=course.ask.id)
        partial = course.partial(str(await self.state()), self._clock.now()) if course.has_begun else None
        raise AllTiersFailed(attempts, partial)

    def _tell(self, course: Course, attempt: Attempt, *, begun: float | None = None, **facts: Any) -> None:
        begun = self._clock.now() if begun is None else begun
        self._telemetry.tell("attempt", id=course.ask.id, **course.add(attempt, begun=begun, **facts))


def _sleeps_on(gap: float) -> None:
    return


def _cut_off(tier: str, was_sent: bool) -> TierUnavailable:
    return TierUnavailable(
        tier, "the network went away while it answered", reason=Reason.OFFLINE, may_have_billed=was_sent
    )


def _reason_of(failure: TierFailed | PromptRefused | None, outcome: AttemptOutcome) -> Reason | None:
    if failure is None:
        return Reason.CANCELLED if outcome is AttemptOutcome.CANCELLED else None
    return failure.reason


def _may_have_billed(failure: TierFailed | PromptRefused | None, was_sent: bool, has_written: bool) -> bool:
    if failure is None:
        return was_sent
    return has_written or (isinstance(failure, TierFailed) and failure.may_have_billed)
