"""Embeddings as a helper: a tier's opinion on the passages that words found, asked for within a time limit.

Late, refused or switched off, the order by words stands; nothing is ever lost by it. Only the candidates of one
question are embedded, never those of private documents, and each text once: vectors are kept by text and model.
The helper has a circuit of its own, so that its failures never keep a tier from answering.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from .budget import Budgets
from .circuit import Circuit, CircuitPolicy, CircuitStore, End, Outcome, Permit, admit, record
from .clock import Clock
from .compose import NO_ADVICE, Advice
from .deadline import Deadline
from .errors import PromptRefused, TierFailed
from .routing.gate import Gate, OpenGate
from .routing.outcomes import outcome_of
from .settings import Settings
from .tiers.base import Call, Embedder
from .tiers.vectors import Embedded
from .types import Reason, Usage

if TYPE_CHECKING:
    from .rag import Candidate, EmbeddingCache, PassageIndex

CLOUD_SECONDS = 0.8
LOCAL_SECONDS = 2.0


class Reranker:
    """Asks one rung for vectors. `seconds`: the limit for everything it does for one question."""

    def __init__(
        self,
        rung: Embedder,
        store: CircuitStore,
        clock: Clock,
        cache: EmbeddingCache,
        *,
        model: str | None = None,
        seconds: float | None = None,
        policy: CircuitPolicy = CircuitPolicy(),  # noqa: B008 - frozen
        gate: Gate | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._rung = rung
        self._store = store
        self._clock = clock
        self._cache = cache
        self._wanted = model
        self._seconds = seconds or (LOCAL_SECONDS if rung.backend == "local" else CLOUD_SECONDS)
        self._policy = policy
        self._gate = gate or OpenGate()
        self._budgets = budgets

    @property
    def identity(self) -> str | None:
        return None if self._rung.identity is None else f"embed {self._rung.identity}"

    def forget(self) -> None:
        """The vectors that were kept, in memory and on disk."""
        self._cache.clear()

    async def advice(self, question: str, index: PassageIndex, max_chars: int, *, stays_here: bool) -> Advice:
        """Boosts for the passages of this question. `stays_here`: nothing may leave the laptop. Never raises."""
        if stays_here and (self._rung.leaves_laptop or self._rung.backend != "local"):
            return _without("only this laptop may see the documents")
        if not await asyncio.to_thread(index.must_choose, question, max_chars):
            return NO_ADVICE
        if missing := self._rung.missing():
            return _without(missing.why)
        if self._rung.address is not None and self._gate.blocked(self._rung.address):
            return _without("no way there")
        if self._budgets is not None and (over := (await self._budgets.over()).get(self._rung.backend)):
            return _without(over.detail)
        candidates = [c for c in await asyncio.to_thread(index.candidates, question) if not c.private]
        if not candidates:
            return NO_ADVICE
        permit = await self._permit()
        if permit is None:
            return _without("left alone after failures")
        outcome = outcome_of(asyncio.CancelledError())
        try:
            fresh: dict[str, tuple[float, ...]] = {}
            async with asyncio.timeout(self._seconds):
                space, advice = await self._asked(question, candidates, fresh)
            outcome = outcome_of(None)
            if fresh:
                await asyncio.to_thread(self._cache.put_all, fresh, space)
        except TimeoutError:
            outcome = Outcome(End.FAILURE, Reason.FIRST_TOKEN_TIMEOUT)
            advice = _without(f"later than {self._seconds:g} s")
        except TierFailed as failure:
            outcome = outcome_of(failure)
            advice = _without(failure.detail)
        except PromptRefused as refused:  # of a helper's question nothing is the caller's fault
            outcome = outcome_of(refused)
            advice = _without("the embedding request was refused")
        finally:
            with anyio.CancelScope(shield=True):
                await self._record(permit, outcome)
        return advice

    async def _asked(
        self, question: str, candidates: Sequence[Candidate], fresh: dict[str, tuple[float, ...]]
    ) -> tuple[str, Advice]:
        """The vector space, and what it says; `fresh` takes the vectors that were not known before."""
        from .rag import rerank

        model = await self._rung.embedding_model(self._wanted)
        if model is None:
            return "", _without("there is no embedding model; set RAG_EMBEDDING_MODEL to one that is there")
        space = f"{self.identity or self._rung.address} {model}"
        texts = list(dict.fromkeys([question, *(c.text for c in candidates)]))
        known = await asyncio.to_thread(self._cache.get_all, texts, space)
        unknown = [text for text in texts if text not in known]
        if unknown:
            sent: list[bool] = []
            call = Call(Deadline.after(self._seconds, self._clock), self._seconds, lambda: sent.append(True))
            found: Embedded | None = None
            try:
                found = await self._rung.embed(unknown, model, call)
                fresh |= zip(unknown, found.vectors, strict=True)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._count(model, unknown, found, was_sent=bool(sent))
            known |= fresh
        vectors = {c.number: known[c.text] for c in candidates}
        boosts = rerank(candidates, known[question], vectors)
        return space, Advice(boosts, (f"embeddings of {model} ({self._rung.backend}) helped to choose the passages",))

    async def _count(self, model: str, texts: Sequence[str], found: Embedded | None, *, was_sent: bool) -> None:
        if self._budgets is None or not (found or was_sent):
            return
        usage = Usage(input_tokens=found.tokens if found else None, output_tokens=0)
        spent = self._budgets.charge(self._rung.backend, model, usage, sum(map(len, texts)), 0)
        await self._budgets.count(self._rung.backend, spent)

    async def _permit(self) -> Permit | None:
        if self.identity is None:
            return Permit(-1)
        now = self._clock.span()
        return await self._store.update(self.identity, lambda circuit: admit(circuit, self._policy, now))

    async def _record(self, permit: Permit, outcome: Outcome) -> None:
        if self.identity is None:
            return
        now = self._clock.span()

        def heard(circuit: Circuit) -> tuple[Circuit, None]:
            return record(circuit, permit, outcome, self._policy, now), None

        await self._store.update(self.identity, heard)


def _without(why: str) -> Advice:
    return Advice(notes=(f"passages chosen by words alone, without embeddings: {why}",))


def build_reranker(
    settings: Settings,
    rungs: Sequence[object],
    store: CircuitStore,
    clock: Clock,
    gate: Gate,
    budgets: Budgets | None = None,
) -> Reranker | None:
    """The helper that the settings ask for, or none. On this laptop only Ollama embeds."""
    if settings.rag_embeddings == "off":
        return None
    from .rag import EmbeddingCache
    from .tiers.cloud import CloudTier
    from .tiers.ollama import OllamaTier

    kind: type[CloudTier | OllamaTier] = CloudTier if settings.rag_embeddings == "cloud" else OllamaTier
    return Reranker(
        next(rung for rung in rungs if isinstance(rung, kind)),
        store,
        clock,
        EmbeddingCache(path=settings.ai_gateway_state_dir / "embeddings.db"),
        model=settings.rag_embedding_model,
        seconds=settings.rag_embedding_timeout,
        policy=CircuitPolicy(settings.failure_threshold, settings.recovery_timeout, settings.connect_timeout),
        gate=gate,
        budgets=budgets,
    )
