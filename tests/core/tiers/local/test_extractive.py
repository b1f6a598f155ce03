from dataclasses import dataclass

import pytest

from gateway_core.clock import SystemClock
from gateway_core.deadline import Deadline
from gateway_core.errors import TierUnavailable
from gateway_core.tiers.base import Call
from gateway_core.tiers.extractive import FIRST_LINE, NO_MATCH, ExtractiveTier
from gateway_core.types import Document, Message, Prompt, Reason


@dataclass
class Passage:
    n: int
    name: str
    text: str
    place: str | None = None
    card: str = ""


def call() -> Call:
    return Call(Deadline.after(30, SystemClock()), 2.0, lambda: None)


def question(*documents: Document, **fields) -> Prompt:
    return Prompt((Message("user", "How long?"),), question="How long?", documents=documents, **fields)


async def chunks_of(tier, prompt):
    return [chunk async for chunk in tier.stream(prompt, call())]


async def test_it_says_that_no_model_answered_and_quotes_with_citations():
    picked = [
        Passage(1, "terms", "Refunds take 30 days."),
        Passage(2, "faq", "One.\nTwo.", "p. 4"),
        Passage(3, "", "x"),
    ]
    tier = ExtractiveTier(lambda prompt: picked)

    chunks = await chunks_of(tier, question(Document("...")))

    assert "".join(chunk.text for chunk in chunks) == (
        f"{FIRST_LINE}\n\n> Refunds take 30 days. [1] (terms)\n\n> One.\n> Two. [2] (faq, p. 4)\n\n> x [3]"
    )
    assert [chunk.finish_reason for chunk in chunks] == [None, None, None, None, "stop"]


async def test_it_says_so_when_nothing_matches():
    chunks = await chunks_of(ExtractiveTier(lambda prompt: []), question(Document("...")))

    assert "".join(chunk.text for chunk in chunks) == NO_MATCH


async def test_without_documents_it_invents_nothing():
    with pytest.raises(TierUnavailable) as failure:
        await chunks_of(ExtractiveTier(lambda prompt: []), question())

    assert failure.value.reason is Reason.NO_DOCUMENTS


def test_it_refuses_what_only_a_model_can_do():
    tier = ExtractiveTier(lambda prompt: [])

    assert tier.refuses(question(passthrough={"tools": [{}]})) is not None
    assert tier.refuses(question()) is None
    assert (tier.is_model, tier.can_continue, tier.needs_documents) == (False, False, True)
