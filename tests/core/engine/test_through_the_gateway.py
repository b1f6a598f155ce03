"""The real engine behind the whole gateway: what a user would see."""

import os
import signal
import sys

import pytest

from gateway_core.errors import AllTiersFailed, AnswerInterrupted
from gateway_core.gateway import Gateway
from gateway_core.settings import Settings
from gateway_core.testing.scripted_gguf import DEFAULT, LOOP, build
from gateway_core.tiers.extractive import ExtractiveTier
from gateway_core.tiers.ollama import OllamaTier
from gateway_core.types import Delta, Document, OnInterrupt, Reason

from .conftest import CLOCK

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")


@pytest.fixture
def settings(tmp_path):
    return Settings(ai_gateway_state_dir=tmp_path, ai_gateway_store="memory")


@pytest.fixture
def no_ollama(http):
    return OllamaTier(http, CLOCK, base_url="http://127.0.0.1:9")


async def test_without_ollama_the_embedded_engine_answers(embedded, model, no_ollama, settings):
    gateway = Gateway([no_ollama, embedded(model)], settings=settings)

    answer = await gateway.ask("Who wrote this?")

    assert (answer.text, answer.backend, answer.mode, answer.model) == (DEFAULT, "local", "embedded", "scripted")
    assert [(a.mode, a.reason) for a in answer.attempts] == [("ollama", Reason.CONNECT_REFUSED), ("embedded", None)]


async def test_f18_too_many_documents_are_trimmed_and_the_engine_asked_again(embedded, tmp_path, settings):
    # In this model every letter is a token: three times what the estimate before sending allows for.
    gateway = Gateway([embedded(build(tmp_path / "dear.gguf", context_length=2048))], settings=settings)
    documents = [Document(" ".join(f"Nobody knows who wrote number {n}." for n in range(200)), name="rules")]

    answer = await gateway.ask("Who wrote this?", documents=documents, max_context_chars=4000)

    assert answer.text == DEFAULT
    assert [a.reason for a in answer.attempts] == [Reason.CONTEXT_TOO_LONG, None]


@posix_only
async def test_f76_an_engine_killed_in_mid_answer_leaves_an_explained_error_and_the_text(embedded, model, settings):
    tier = embedded(model)
    gateway = Gateway([tier, ExtractiveTier(lambda prompt: [])], settings=settings)
    shown = []

    with pytest.raises(AnswerInterrupted) as failure:
        await ask_and_kill(gateway, tier, shown)

    assert failure.value.partial.text == "".join(shown)
    assert LOOP in failure.value.partial.text
    assert failure.value.partial.backend == "local"


async def ask_and_kill(gateway, tier, shown):
    async for event in gateway.stream("[long]", documents=["a text"], on_interrupt=OnInterrupt.CONTINUE):
        if isinstance(event, Delta):
            shown.append(event.text)
            if len(shown) == 20:
                os.kill((await tier.engine.running()).pid, signal.SIGKILL)


async def test_a_damaged_model_is_named_among_the_reasons(embedded, model, no_ollama, settings, tmp_path):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(model.read_bytes()[:50_000])
    gateway = Gateway([no_ollama, embedded(damaged), ExtractiveTier(lambda prompt: [])], settings=settings)

    with pytest.raises(AllTiersFailed) as failure:
        await gateway.ask("Who wrote this?")

    assert [(a.mode, a.reason) for a in failure.value.attempts] == [
        ("ollama", Reason.CONNECT_REFUSED),
        ("embedded", Reason.BAD_PAYLOAD),
        ("extractive", Reason.NO_DOCUMENTS),
    ]
    assert all(a.cure for a in failure.value.attempts if a.mode != "extractive")
