"""The one door: everything below is built here, from `Settings`, and handed down as small values."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from math import isnan, nan
from typing import TYPE_CHECKING, Any, get_args

from . import __version__
from .account import Account
from .budget import Budgets, MemoryLedger, build_budgets
from .circuit import CircuitPolicy, CircuitState, CircuitStore, MemoryStore, allow_probe, reset
from .clock import Clock, SystemClock
from .compose import Composer, Sent, readable
from .deadline import Deadline
from .discretion import Discreet
from .embedding import EmbedAsk, TextEmbedder
from .erasure import Erased, erase, holdings
from .errors import ONE_HOUR, AllTiersFailed, PromptRefused
from .journal import Journal
from .routing.course import Ask
from .routing.router import Router
from .routing.turnstile import left_alone
from .routing.watch import Limits
from .settings import Settings
from .standing import CircuitStatus, Health, Status, TierStatus, circuit_status
from .telemetry import Happening, Telemetry
from .tiers.base import Tier
from .types import (
    Answer,
    Attempt,
    AttemptOutcome,
    Backend,
    Done,
    Embeddings,
    Event,
    InLine,
    Message,
    OnInterrupt,
    Progress,
    Prompt,
    Reason,
)

if TYPE_CHECKING:
    from .connectivity import ConnectivityGate
    from .reranking import Reranker
    from .tiers.http import Http
    from .tracing import Exported


# What a cut cable looks like to a circuit: when the network is back, such a circuit may be probed at once.
LOST_WAYS = frozenset(
    {
        Reason.DNS,
        Reason.CONNECT_TIMEOUT,
        Reason.CONNECT_REFUSED,
        Reason.RESET,
        Reason.FIRST_TOKEN_TIMEOUT,
        Reason.STALLED,
    }
)


class Gateway:
    """Asks Copilot, else a cloud, else this laptop. Use as `async with Gateway.from_settings() as gateway`."""

    def __init__(
        self,
        rungs: Sequence[Tier],
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        store: CircuitStore | None = None,
        telemetry: Telemetry | None = None,
        network: ConnectivityGate | None = None,
        http: Http | None = None,
        composer: Composer | None = None,
        reranker: Reranker | None = None,
        journal: Journal | None = None,
        budgets: Budgets | None = None,
        traces: Exported | None = None,
    ) -> None:
        self.settings = settings or Settings.load()
        self.clock = clock or SystemClock()
        self.telemetry = telemetry or Telemetry(self.clock.wall)
        self.network = network
        self._http = http
        self._epoch = 0
        self._troubles_told: set[str] = set()
        self._quota_looks: dict[str, float] = {}
        self._beside: set[asyncio.Task[Any]] = set()  # work that no request waits for
        self._set_aside: list[str] = []  # damaged files, told with the next answer
        self.telemetry.listen(self._warm_when_needed)
        self.telemetry.listen(self._hear_of_stores)
        self.journal = journal or Journal(most=self.settings.ai_gateway_journal)
        self.telemetry.listen(self.journal.hear)
        self._traces = traces
        if traces is not None:
            self.telemetry.listen(traces.hear)
        if network is not None and http is not None:  # what is asked again must not meet another dead connection
            network.on_resumed(lambda gap: self._do_beside(http.renew()))
        self.composer = composer or Composer()
        self._reranker = reranker
        chosen = self.settings
        self.budgets = budgets or build_budgets(chosen, rungs, self.clock, MemoryLedger())
        limits = Limits(
            chosen.connect_timeout, chosen.first_token_timeout, chosen.stall_timeout, chosen.thinking_timeout
        )
        local_first = chosen.local_first_token_timeout
        local_limits = replace(limits, first_token=local_first, thinking=max(local_first, limits.thinking))
        policy = CircuitPolicy(
            chosen.failure_threshold, chosen.recovery_timeout, chosen.connect_timeout + chosen.first_token_timeout
        )
        self.router = Router(
            rungs,
            store or MemoryStore(),
            self.clock,
            policy=policy,
            limits=limits,
            local_limits=local_limits,
            telemetry=self.telemetry,
            gate=network,
            budgets=self.budgets,
        )
        named = chosen.rag_embedding_model if chosen.rag_embeddings != "off" else None
        self._embedder = TextEmbedder(
            self.router.rungs,
            self.router.store,
            self.clock,
            policy=policy,
            limits=limits,
            local_limits=local_limits,
            telemetry=self.telemetry,
            gate=network,
            budgets=self.budgets,
            preferred=(chosen.rag_embeddings, named) if named else None,
        )

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Gateway:
        """The gateway the settings describe. Nothing is contacted before the first request."""
        from .assembly import parts_of

        return cls(**parts_of(settings or Settings.load()))

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for task in self._beside:
            task.cancel()
        for rung in self.router.rungs:
            await rung.aclose()
        await self.router.settled()
        await self._embedder.settled()
        if self._http is not None:
            await self._http.aclose()
        if self.network is not None:
            await self.network.aclose()
        await self.journal.aclose()
        if self._traces is not None:
            await self._traces.aclose()
        await self.router.store.aclose()

    async def _ready(self) -> None:
        """Before each request: watch the network, and if it changed since the last one, begin anew with it."""
        if self.network is not None:
            await self.network.start()
            if self._epoch != self.network.epoch:
                self._epoch = self.network.epoch
                await self._begin_anew()
        for rung in self.router.rungs:
            await rung.prepare()
            await self._look_for_quota(rung)

    async def _begin_anew(self) -> None:
        if self._http is not None:
            await self._http.renew()
        now = self.clock.span()
        await self.router.store.change_all(lambda circuit: allow_probe(circuit, now, because=LOST_WAYS))

    async def _look_for_quota(self, rung: Tier) -> None:
        """While a quota is used up: once an hour, beside the request, a free look whether it has come back."""
        identity, now = rung.identity, self.clock.span()
        if identity is None:
            return
        circuit = await self.router.store.read(identity)
        is_used_up = circuit.reason is Reason.QUOTA_USED_UP and circuit.remaining(now) > 0
        if not is_used_up or now - max(circuit.since, self._quota_looks.get(identity, 0.0)) < ONE_HOUR:
            return
        self._quota_looks[identity] = now

        async def look() -> None:
            if await rung.quota_is_back():
                used_up = frozenset({Reason.QUOTA_USED_UP})
                await self.router.store.update(identity, lambda c: (allow_probe(c, now, because=used_up), None))

        self._do_beside(look())

    def _warm_when_needed(self, happening: Happening) -> None:
        """When a cloud is left alone or the link is down, the local model loads before anybody waits for it."""
        if happening.facts.get("state") not in ("open", "offline"):
            return
        rung = next((r for r in self.router.rungs if r.backend == "local" and r.missing() is None), None)
        if rung is not None and happening.facts.get("backend") != "local":
            self._do_beside(rung.warm())

    def _hear_of_stores(self, happening: Happening) -> None:
        if happening.kind == "store" and happening.facts.get("note"):
            self._set_aside.append(str(happening.facts["note"]))

    def _do_beside(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    # ---- asking

    async def stream(
        self,
        prompt: str | None,
        *,
        documents: Sequence[Sent] | None = None,
        system: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] = (),
        tier: str | None = None,
        model: str | None = None,
        local_only: bool | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        deadline_s: float | None = None,
        on_interrupt: OnInterrupt | str | None = None,
        max_context_chars: int | None = None,
        passthrough: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        in_line: InLine = lambda before: None,
        whole: bool = False,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield `Meta`, `Delta`s, perhaps `SegmentStarted`, and at the end exactly one `Done`.

        `documents` are answered from (texts, files as `Upload` or path; `progress` hears of each file); `messages`
        are earlier turns, or with the prompt `None` the whole conversation, which may hold content parts and tool
        calls and is asked as it stands; `tier` pins one backend (no failover then); `deadline_s` is for all tiers
        together; `in_line` hears how many stand before it in the line for a local model; `whole` is for callers that
        show nothing before the end; `traceparent` (W3C Trace Context) is the caller's span, for traces that are
        exported (`AI_GATEWAY_OTEL`); no provider ever sees it.
        Raises `PromptRefused`, `AllTiersFailed` or `AnswerInterrupted`.
        """
        only_local = self._checked(tier, local_only)
        if on_interrupt is not None and on_interrupt not in tuple(OnInterrupt):
            raise PromptRefused(
                f"on_interrupt must be one of {', '.join(OnInterrupt)}", field="on_interrupt",
                cure="choose one of them, or leave it out",
            )  # fmt: skip
        deadline = self._deadline(deadline_s)  # reading files counts
        context_chars = self.settings.max_context_chars if max_context_chars is None else max_context_chars
        composed = partial(
            self.composer.compose,
            prompt,
            system=system,
            messages=messages,
            max_context_chars=context_chars,
            progress=progress,
        )
        account = Account(
            id or f"ans_{secrets.token_hex(8)}", self.clock, task="ask" if documents is None else "rag",
            traceparent=traceparent, tier=tier, local_only=only_local, whole=whole,
        )  # fmt: skip
        with Discreet(), account.kept(self.telemetry):
            await self._ready()
            if documents is None:
                asked = composed()
            else:
                with account.retrieval():
                    stays_here = only_local or tier == "local"
                    composing = self._composed_from(
                        documents, composed, prompt, context_chars, progress, stays_here=stays_here
                    )
                    asked = await self._in_time(composing, deadline)
                account.retrieved(asked)
            policy = OnInterrupt(on_interrupt) if on_interrupt else None if whole else self.settings.on_interrupt
            ask = Ask(
                id=account.id,
                prompt=asked.for_call(model, max_tokens, temperature, passthrough or {}),
                deadline=deadline,
                on_interrupt=policy,
                tier=tier,
                local_only=only_local,
                whole=whole,
                begun=account.begun,
                told=account.attempts,
                in_line=in_line,
            )
            async with aclosing(self.router.stream(ask)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        event = Done(self._told_of_trouble(self.composer.checked(ask.prompt, event.answer)))
                        account.answered(event.answer)
                    yield event

    async def _composed_from(
        self,
        documents: Sequence[Sent],
        composed: Callable[..., Prompt],
        prompt: str | None,
        context_chars: int,
        progress: Progress | None,
        *,
        stays_here: bool,
    ) -> Prompt:
        """The question with the passages that were chosen for it; files are read beside the event loop."""
        if self._reranker is None or prompt is None or not readable(prompt, "prompt").strip():
            return await asyncio.to_thread(composed, documents=documents)
        material = await asyncio.to_thread(self.composer.read, documents, progress)
        advice = await self._reranker.advice(prompt, material.index, context_chars, stays_here=stays_here)
        return await asyncio.to_thread(composed, documents=material, advice=advice)

    async def _in_time(self, composing: Awaitable[Prompt], deadline: Deadline) -> Prompt:
        """Reading takes no more than the request's own time. The thread that reads ends by itself: it is bounded."""
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                return await composing
        except TimeoutError:
            told = "reading the documents took all the time there was"
            cure = "give the request more time (`deadline_s`), or fewer documents"
        raise AllTiersFailed(
            tuple(
                Attempt(r.backend, AttemptOutcome.SKIPPED, Reason.DEADLINE, mode=r.mode, detail=told, cure=cure)
                for r in self.router.rungs
            )
        )

    def _checked(self, tier: str | None, local_only: bool | None) -> bool:
        """Whether only this laptop may answer. Raises `PromptRefused` for a tier that cannot be meant."""
        if tier is not None and tier not in get_args(Backend):
            raise PromptRefused(
                f"tier must be one of {', '.join(get_args(Backend))}", field="tier",
                cure="choose one of them, or leave it out to ask them all",
            )  # fmt: skip
        only_local = bool(local_only) or self.settings.local_only
        if only_local and tier in ("copilot", "cloud"):
            raise PromptRefused(
                f"tier {tier!r} was asked for, but only this laptop may answer", field="tier",
                cure="leave out `tier`, or " + ("unset LOCAL_ONLY" if self.settings.local_only else "`local_only`"),
            )  # fmt: skip
        return only_local

    def _deadline(self, seconds: float | None) -> Deadline:
        """Raises `PromptRefused` for what is no number of seconds."""
        chosen = self.settings.request_deadline if seconds is None else seconds
        try:
            after = float(chosen)
        except (TypeError, ValueError, OverflowError):
            after = nan
        if isnan(after):
            raise PromptRefused(
                "deadline_s must be a number of seconds", field="deadline_s",
                cure="name seconds, or leave it out for REQUEST_DEADLINE",
            )  # fmt: skip
        return Deadline.after(after, self.clock)

    def _told_of_trouble(self, answer: Answer) -> Answer:
        """One note, the first time that circuits or budgets cannot be shared."""
        new = [trouble for trouble in self._troubles() if trouble not in self._troubles_told]
        self._troubles_told.update(new)
        return replace(answer, notes=(*answer.notes, *new)) if new else answer

    def _troubles(self) -> list[str]:
        told = (self.router.store.trouble, self.budgets.trouble if self.budgets else None, *self._set_aside)
        return [trouble for trouble in told if trouble]

    async def ask(self, prompt: str | None, **options: Any) -> Answer:
        """The whole answer; options as for `stream`. A cut makes the next tier answer from the start, unless
        `on_interrupt` says otherwise."""
        with Discreet():
            async with aclosing(self.stream(prompt, whole=True, **options)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        return event.answer
        raise AssertionError("a stream ends in Done or raises")

    async def ask_documents(self, prompt: str, documents: Sequence[Sent], **options: Any) -> Answer:
        """Answer from these documents, citing them."""
        with Discreet():
            return await self.ask(prompt, documents=documents, **options)

    async def embed(
        self,
        texts: Sequence[str],
        *,
        tier: str | None = None,
        model: str | None = None,
        dimensions: int | None = None,
        truncate: bool = False,
        local_only: bool | None = None,
        deadline_s: float | None = None,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> Embeddings:
        """One vector for each text, by the first tier that has an embedding model.

        No other model stands in for that one: its vectors could not be compared. `model` alone is asked of whichever
        tier has it. `dimensions` is a wish. A text that is too long is refused, or with `truncate` shortened where
        the tier offers that. Raises `PromptRefused` or `AllTiersFailed`.
        """
        only_local = self._checked(tier, local_only)
        deadline = self._deadline(deadline_s)
        account = Account(
            id or f"emb_{secrets.token_hex(8)}", self.clock, task="embed",
            traceparent=traceparent, tier=tier, local_only=only_local, whole=True,
        )  # fmt: skip
        with Discreet(), account.kept(self.telemetry):
            await self._ready()
            ask = EmbedAsk(
                id=account.id,
                texts=tuple(texts),
                deadline=deadline,
                tier=tier,
                model=model,
                dimensions=dimensions,
                truncate=truncate,
                local_only=only_local,
                begun=account.begun,
                told=account.attempts,
            )
            found = await self._embedder.embed(ask)
            account.embedded(found)
            return found

    # ---- state

    async def reset(self) -> None:
        """Close every circuit and forget every wait, rejected token and suspicion. Budgets stay spent."""
        await self.router.store.change_all(reset)
        for rung in self.router.rungs:
            rung.forget()
        if self.network is not None:
            self.network.clear_portal()
        self.telemetry.tell("reset")

    async def erase(self) -> Erased:
        """What `ai-gateway erase` takes away, and with it what this gateway holds of it in memory.

        Answers under way go on, and keep nothing. Other processes hold what they hold until they end.
        """
        self.journal.forget()
        await self.journal.aclose()  # what is being written just now is written before, not after
        found = await asyncio.to_thread(self._erase)
        for rung in self.router.rungs:
            rung.forget_login()
        self.telemetry.tell("erased")
        return found

    def _erase(self) -> Erased:
        folder = self.settings.ai_gateway_state_dir
        before = holdings(folder)
        with suppress(OSError):  # it is told by what is left
            self.composer.forget()
            if self._reranker is not None:
                self._reranker.forget()
        left = erase(folder).left
        return Erased(tuple(h for h in before if not any(path.exists() for path in h.paths)), left)

    async def status(self) -> Status:
        """Every rung with its circuit, network and store. Never calls a paid route."""
        await self._ready()
        nothing = Prompt(())
        steps = await self.router.affordable(self.router.plan(nothing, local_only=self.settings.local_only), nothing)
        budgets = await self.budgets.told() if self.budgets else {}
        store, now = self.router.store, self.clock.span()
        tiers = []
        for step, rung in zip(steps, self.router.rungs, strict=True):
            known = rung.identity is not None and await store.read(rung.identity)
            circuit = circuit_status(known, now) if known else CircuitStatus(CircuitState.CLOSED)
            info = await rung.info()
            is_open = circuit.reopens_in is not None or circuit.state == CircuitState.OPEN
            why = step.detail or ("" if info.configured else "it does not answer")
            alone, way_out = left_alone(known) if known and is_open else ("", "")
            why = why or alone
            available = step.skip is None and not is_open and info.configured
            cure = step.cure or info.cure or way_out
            budget = budgets.get(rung.backend)
            tiers.append(TierStatus(rung.backend, rung.mode, available, circuit, info, why, cure, budget))
        await store.read("")  # so that trouble with it is known even if no tier has a circuit
        notes = [
            *map(str, self.settings.left_out),
            *self._troubles(),
            *([self.journal.trouble] if self.journal.trouble else []),
        ]
        network = str(self.network.state.value) if self.network is not None else "online"
        kept_in = "memory" if store.trouble else store.kind
        return Status(__version__, tuple(tiers), network, kept_in, tuple(notes))

    async def health(self) -> Health:
        """Whether the next plain request would find somebody, tier by tier."""
        status = await self.status()

        def lit(backend: str) -> bool:
            models = {(r.backend, r.mode) for r in self.router.rungs if r.is_model}
            return any(t.available for t in status.tiers if t.backend == backend and (t.backend, t.mode) in models)

        copilot, cloud, local = lit("copilot"), lit("cloud"), lit("local")
        state = str(await self.router.state())
        return Health("ok" if copilot or cloud or local else "degraded", copilot, cloud, local, state)
