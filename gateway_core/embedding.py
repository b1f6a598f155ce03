"""Texts to vectors, for callers that keep an index of their own.

Vectors of different models cannot be compared, so the ladder is not climbed down as for answers: the first tier that
has an embedding model decides which model it is, and another tier is asked only if it has the very same one. If that
tier cannot be reached the caller hears so, instead of getting vectors that quietly fit nothing it has stored. A caller
who names a model gets that model from whichever tier has it, or an error.

Its failures are kept in a circuit of their own (shared with the helper that orders passages), so that they never keep
a tier from answering; a tier whose answers are left alone is left alone here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import anyio

from .account import facts_of
from .budget import Budgets, Spent
from .circuit import Circuit, CircuitPolicy, CircuitState, CircuitStore, Permit, admit, record
from .clock import Clock
from .compose import readable
from .deadline import Deadline
from .errors import (
    AllTiersFailed,
    ContextTooLong,
    PromptRefused,
    PromptTooLong,
    TierBroken,
    TierFailed,
    TierUnavailable,
)
from .routing.gate import Gate, OpenGate
from .routing.outcomes import outcome_of
from .routing.turnstile import left_alone
from .routing.watch import Limits
from .telemetry import Telemetry
from .tiers.base import Asked, Call, Embedder, Tier
from .types import Attempt, AttemptOutcome, Embeddings, Reason, Usage

MOST_TEXTS = 2048  # in one request, as OpenAI has it
BATCH = 128  # texts a provider is sent at a time: its reply stays within what is read of one
CHARS_PER_TOKEN = 4
NO_MODEL_CURE = "name one as tier/model, or install one: ollama pull nomic-embed-text"


@dataclass(frozen=True, slots=True)
class EmbedAsk:
    """One request. `model` without `tier`: from whichever tier has it. `told` and `begun` are as in `routing.Ask`."""

    id: str
    texts: Sequence[str]
    deadline: Deadline
    tier: str | None = None
    model: str | None = None
    dimensions: int | None = None
    truncate: bool = False
    local_only: bool = False
    begun: float | None = None
    told: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass
class _Course:
    ask: EmbedAsk
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[TierFailed] = field(default_factory=list)
    model: str | None = None  # decided by the first tier that has one
    charges: list[Spent] = field(default_factory=list)  # of the present rung, not counted yet


class TextEmbedder:
    """Asks the rungs that can embed. `preferred`: the model of one backend, where the settings name it."""

    def __init__(
        self,
        rungs: Sequence[Tier],
        store: CircuitStore,
        clock: Clock,
        *,
        policy: CircuitPolicy,
        limits: Limits,
        local_limits: Limits,
        telemetry: Telemetry,
        gate: Gate | None = None,
        budgets: Budgets | None = None,
        preferred: tuple[str, str] | None = None,
    ) -> None:
        self._rungs = tuple(rungs)
        self._store = store
        self._clock = clock
        self._policy = policy
        self._limits = {True: limits, False: local_limits}
        self._telemetry = telemetry
        self._gate = gate or OpenGate()
        self._budgets = budgets
        self._preferred = preferred
        self._recordings: set[asyncio.Task[None]] = set()

    async def embed(self, ask: EmbedAsk) -> Embeddings:
        """Raises `PromptRefused` when the texts are at fault, `AllTiersFailed` when no tier could embed them."""
        check(ask)
        begun, course = self._clock.now(), _Course(ask)
        for rung in self._rungs:
            if ask.tier not in (None, rung.backend):
                continue
            found = await self._turn(rung, course)
            if found is not None:
                vectors, usage, notes = found
                assert course.model is not None
                ms = round((self._clock.now() - begun) * 1000, 1)
                self._telemetry.tell(
                    "embedding", id=ask.id, backend=rung.backend, mode=rung.mode, model=course.model,
                    texts=len(vectors), input_tokens=usage.input_tokens, total_ms=ms,
                )  # fmt: skip
                attempts = tuple(course.attempts)
                return Embeddings(
                    ask.id, vectors, rung.backend, rung.mode, course.model, attempts, usage, notes, total_ms=ms
                )
        if course.failures and all(isinstance(failure, ContextTooLong) for failure in course.failures):
            raise PromptTooLong(
                "a text is longer than the embedding model can read", field="input",
                cure="split it, or send fewer texts", attempts=course.attempts,
            )  # fmt: skip
        raise AllTiersFailed(course.attempts)

    async def settled(self) -> None:
        """Wait until every call that has ended is counted."""
        if self._recordings:
            await asyncio.wait(self._recordings)

    # ---- who is asked

    async def _turn(
        self, rung: Tier, course: _Course
    ) -> tuple[tuple[tuple[float, ...], ...], Usage, tuple[str, ...]] | None:
        """Vectors, usage, and what there is to say of them; `None` when this rung has none, which is then noted."""
        skipped = await self._left_out(rung, course)
        if skipped is not None:
            self._tell(course, rung, AttemptOutcome.SKIPPED, skipped)
            return None
        assert isinstance(rung, Embedder)
        permit = await self._permit(rung)
        if permit is None:
            told = TierUnavailable(rung.backend, "left alone after failures", reason=Reason.CIRCUIT_OPEN)
            self._tell(course, rung, AttemptOutcome.SKIPPED, told)
            return None
        heard: BaseException | None = asyncio.CancelledError()
        try:
            for is_second in (False, True):
                try:
                    found = await self._asked(rung, course)
                except TierFailed as failure:
                    heard = failure
                    if is_second or not failure.again or course.ask.deadline.is_over:
                        course.failures.append(failure)
                        return None
                else:
                    heard = None
                    return found
        except PromptRefused as refused:
            heard = refused
            refused.field = refused.field or "input"
            refused.attempts = tuple(course.attempts)
            raise
        finally:
            # A caller who hangs up, even twice, must not leave it uncounted: a task of its own does it.
            charges, course.charges = course.charges, []
            recording = asyncio.ensure_future(self._settle(rung, permit, heard, charges))
            self._recordings.add(recording)
            recording.add_done_callback(self._recordings.discard)
            with anyio.CancelScope(shield=True):
                await asyncio.shield(recording)
        raise AssertionError("the second turn returns")

    async def _left_out(self, rung: Tier, course: _Course) -> TierFailed | None:
        """Why this rung is not asked. Decides the model on the way."""
        ask, backend = course.ask, rung.backend

        def because(reason: Reason, detail: str, cure: str = "", wait: float | None = None) -> TierFailed:
            return TierUnavailable(backend, detail, reason=reason, cure=cure, wait=wait)

        if not isinstance(rung, Embedder):
            return because(Reason.UNSUPPORTED, "it makes no embeddings here")
        if ask.local_only and rung.leaves_laptop:
            return because(Reason.LOCAL_ONLY, "only this laptop may see the texts")
        if missing := rung.missing():
            return because(missing.reason, missing.why, missing.cure)
        try:
            model = await rung.embedding_model(ask.model or self._preferred_of(backend))
        except TierFailed as failure:
            return failure
        if model is None:
            wanted = f"the embedding model {ask.model} is not there" if ask.model else "it has no embedding model"
            return because(Reason.MODEL_MISSING, wanted, NO_MODEL_CURE)
        if course.model is not None and model != course.model:
            return because(
                Reason.UNSUPPORTED, f"its vectors ({model}) cannot be compared with those of {course.model}",
                f"to embed everything by it, ask for the model {backend}/{model}",
            )  # fmt: skip
        course.model = model
        if ask.deadline.is_over:
            return because(Reason.DEADLINE, "no time was left to ask it")
        if blocked := (self._gate.blocked(rung.address) if rung.address else None):
            return because(blocked, "no way there")
        if self._budgets is not None and (over := (await self._budgets.over()).get(backend)):
            return because(over.reason, over.detail, over.cure, over.wait)
        if rung.identity is not None:
            circuit, now = await self._store.read(rung.identity), self._clock.span()
            if circuit.state is not CircuitState.CLOSED and (wait := circuit.remaining(now)) > 0:
                reason = circuit.reason or Reason.CIRCUIT_OPEN
                return because(reason, *left_alone(circuit), wait)
        return None

    def _preferred_of(self, backend: str) -> str | None:
        return self._preferred[1] if self._preferred and self._preferred[0] == backend else None

    # ---- one rung

    async def _asked(
        self, rung: Embedder, course: _Course
    ) -> tuple[tuple[tuple[float, ...], ...], Usage, tuple[str, ...]]:
        ask, model = course.ask, course.model
        assert model is not None
        limits = self._limits[rung.backend != "local"]
        begun, was_sent, is_cut = self._clock.now(), False, False
        tokens: int | None = 0
        outcome = AttemptOutcome.CANCELLED
        failure: TierFailed | PromptRefused | None = None
        vectors: list[tuple[float, ...]] = []
        who = Asked(model)

        def sent() -> None:
            nonlocal was_sent
            was_sent = True

        def cut() -> None:
            nonlocal is_cut
            is_cut = True
            limit.reschedule(asyncio.get_running_loop().time())

        try:
            # A reply in one piece: the time to begin it and the longest silence are one.
            async with asyncio.timeout(min(ask.deadline.remaining(), limits.first_token + limits.stall)) as limit:
                forget = self._gate.on_cut(rung.address, cut)
                try:
                    for start in range(0, len(ask.texts), BATCH):
                        part = ask.texts[start : start + BATCH]
                        call = Call(ask.deadline, limits.connect, sent, who)
                        found = await rung.embed(part, model, call, dimensions=ask.dimensions, truncate=ask.truncate)
                        vectors += found.vectors
                        tokens = None if tokens is None or found.tokens is None else tokens + found.tokens
                finally:
                    forget()
            if len({len(vector) for vector in vectors}) > 1:
                raise TierBroken(rung.backend, "its vectors differ in length", reason=Reason.BAD_PAYLOAD)
            outcome = AttemptOutcome.ANSWERED
        except TimeoutError:
            if is_cut:
                failure = TierUnavailable(rung.backend, "the network went away", reason=Reason.OFFLINE)
            else:
                late = Reason.DEADLINE if ask.deadline.is_over else Reason.FIRST_TOKEN_TIMEOUT
                failure = TierBroken(rung.backend, "no embeddings in time", reason=late)
        except (TierFailed, PromptRefused) as exc:
            failure = exc
        finally:
            if failure is not None:
                outcome = AttemptOutcome.FAILED
            ms = (self._clock.now() - begun) * 1000
            may_have_billed = was_sent and rung.backend != "local" and _may_have_billed(failure, bool(vectors))
            self._tell(
                course, rung, outcome, failure, ms=ms, model=model, may_have_billed=may_have_billed, begun=begun,
                tokens=tokens, asked=who,
            )  # fmt: skip
            if may_have_billed and self._budgets is not None:
                usage = Usage(input_tokens=tokens if outcome is AttemptOutcome.ANSWERED else None, output_tokens=0)
                read = sum(map(len, ask.texts))
                course.charges.append(self._budgets.charge(rung.backend, model, usage, read, 0))
        if failure is not None:
            raise failure
        notes = []
        if tokens is None:
            tokens = estimated_tokens(ask.texts)
            notes.append(f"{rung.backend} counted no tokens; usage is estimated from the characters")
        if ask.dimensions is not None and vectors and len(vectors[0]) != ask.dimensions:
            notes.append(f"{ask.dimensions} dimensions were asked for; {model} gave {len(vectors[0])}")
        return tuple(vectors), Usage(input_tokens=tokens), tuple(notes)

    def _tell(
        self,
        course: _Course,
        rung: Tier | Embedder,
        outcome: AttemptOutcome,
        failure: TierFailed | PromptRefused | None,
        *,
        ms: float = 0.0,
        model: str | None = None,
        may_have_billed: bool = False,
        begun: float | None = None,
        tokens: int | None = None,
        asked: Asked = Asked(),  # noqa: B008 - only read
    ) -> None:
        reason = failure.reason if failure else Reason.CANCELLED if outcome is AttemptOutcome.CANCELLED else None
        attempt = Attempt(
            rung.backend, outcome, reason, ms=round(ms, 1), may_have_billed=may_have_billed, mode=rung.mode,
            model=model, detail=getattr(failure, "detail", None) or str(failure or ""),
            cure=getattr(failure, "cure", ""), retry_after=getattr(failure, "wait", None),
        )  # fmt: skip
        course.attempts.append(attempt)
        now, start = self._clock.now(), course.ask.begun
        begun = now if begun is None else begun
        found = facts_of(
            attempt, begun_ms=(begun - (begun if start is None else start)) * 1000,
            usage=Usage(input_tokens=tokens or None), asked_model=asked.model, host=asked.host, port=asked.port,
        )  # fmt: skip
        course.ask.told.append(found)
        self._telemetry.tell("attempt", id=course.ask.id, **found)

    async def _settle(
        self, rung: Embedder, permit: Permit, heard: BaseException | None, charges: Sequence[Spent]
    ) -> None:
        try:
            for spent in charges:
                if self._budgets is not None:
                    await self._budgets.count(rung.backend, spent)
        finally:
            await self._record(rung, permit, heard)

    # ---- its circuit

    async def _permit(self, rung: Embedder) -> Permit | None:
        if rung.identity is None:
            return Permit(-1)
        now = self._clock.span()
        return await self._store.update(_circuit_of(rung.identity), lambda c: admit(c, self._policy, now))

    async def _record(self, rung: Embedder, permit: Permit, heard: BaseException | None) -> None:
        if rung.identity is None:
            return
        outcome, now = outcome_of(heard), self._clock.span()

        def hear(circuit: Circuit) -> tuple[Circuit, None]:
            return record(circuit, permit, outcome, self._policy, now), None

        await self._store.update(_circuit_of(rung.identity), hear)


def _circuit_of(identity: str) -> str:
    return f"embed {identity}"


def _may_have_billed(failure: TierFailed | PromptRefused | None, has_some: bool) -> bool:
    """An answer, a part of one, or a request whose end nobody saw. An error in good order is not billed."""
    if failure is None or has_some:
        return True
    unseen = (Reason.FIRST_TOKEN_TIMEOUT, Reason.DEADLINE, Reason.OFFLINE, Reason.RESET)
    return isinstance(failure, TierFailed) and (failure.may_have_billed or failure.reason in unseen)


def estimated_tokens(texts: Sequence[str]) -> int:
    """About as many as most tokenizers find in plain text."""
    return sum(ceil(len(text) / CHARS_PER_TOKEN) for text in texts)


def check(ask: EmbedAsk) -> None:
    """Refuse what no tier could embed, naming the text."""
    if not ask.texts:
        raise PromptRefused("input is empty", field="input", cure="send at least one text")
    if len(ask.texts) > MOST_TEXTS:
        raise PromptRefused(
            f"input holds {len(ask.texts):,} texts; at most {MOST_TEXTS:,} are taken at a time", field="input",
            cure="send them in several requests",
        )  # fmt: skip
    for number, text in enumerate(ask.texts):
        where = f"input[{number}]"
        if not readable(text, where).strip():
            raise PromptRefused(f"{where} is empty", field=where, cure="leave it out")
