"""Embeddings help to choose passages where a tier can embed, and never stand in the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway_core import Document

from .conftest import Build, Providers

FILLER = "The committee met again and spoke about other matters. " * 30
DOCUMENTS = [
    Document(f"{FILLER}The valve of hall {n} was painted in colour {n}. {FILLER}", name=f"{n}.txt") for n in range(4)
]
AMPLE = {"rag_embedding_timeout": 30.0}
ASKED = "Which valve has which colour?"


def embedding_calls(providers: Providers) -> list:
    return [*providers.cloud.calls_to("/v1/embeddings"), *providers.ollama.calls_to("/api/embed")]


def told(answer) -> str:
    return " ".join(note for note in answer.notes if "embeddings" in note)


async def test_nobody_embeds_unless_asked_to(gateway: Build, providers: Providers):
    answer = await gateway().ask(ASKED, documents=DOCUMENTS, max_context_chars=800)

    assert not embedding_calls(providers)
    assert not told(answer)


@pytest.mark.parametrize(("who", "model"), [("cloud", "text-embedding-3-small"), ("local", "all-minilm:latest")])
async def test_only_candidates_are_embedded_and_only_once(gateway: Build, providers: Providers, who: str, model: str):
    asked = gateway(rag_embeddings=who, **AMPLE)
    first = await asked.ask(ASKED, documents=DOCUMENTS, max_context_chars=800)
    again = await gateway(rag_embeddings=who, **AMPLE).ask(ASKED, documents=DOCUMENTS, max_context_chars=800)

    (call,) = embedding_calls(providers)
    assert call.body["model"] == model
    assert call.body["input"][0] == ASKED
    assert 1 < len(call.body["input"]) <= 61
    assert model in told(first)
    assert again.sources == first.sources


async def test_documents_that_fit_whole_are_not_embedded(gateway: Build, providers: Providers):
    answer = await gateway(rag_embeddings="cloud", **AMPLE).ask("Which colour?", documents=["The valve is red."])

    assert not embedding_calls(providers)
    assert not told(answer)


async def test_private_documents_are_never_embedded(gateway: Build, providers: Providers):
    private = Document(DOCUMENTS[0].text, name="diary.txt", private=True)
    await gateway(rag_embeddings="cloud", **AMPLE).ask(
        ASKED, documents=[private, *DOCUMENTS[1:]], max_context_chars=800
    )

    (call,) = embedding_calls(providers)
    assert not any("hall 0" in text for text in call.body["input"])


@pytest.mark.parametrize("option", [{"local_only": True}, {"tier": "local"}])
async def test_what_stays_on_the_laptop_is_not_embedded_by_a_cloud(gateway: Build, providers: Providers, option):
    answer = await gateway(rag_embeddings="cloud", **AMPLE).ask(
        ASKED, documents=DOCUMENTS, max_context_chars=800, **option
    )

    assert not embedding_calls(providers)
    assert "by words alone" in told(answer)


@pytest.mark.parametrize(
    ("fault", "why"),
    [("status_500", "without embeddings"), ("hang", "later than"), ("status_401", "without embeddings")],
)
async def test_a_helper_that_fails_or_is_late_changes_nothing(
    gateway: Build, providers: Providers, fault: str, why: str
):
    plain = await gateway().ask(ASKED, documents=DOCUMENTS, max_context_chars=800)
    providers.cloud.script(free=fault, then=fault)

    limit = 0.2 if fault == "hang" else 30.0
    asked = gateway(rag_embeddings="cloud", rag_embedding_timeout=limit)
    answer = await asked.ask(ASKED, documents=DOCUMENTS, max_context_chars=800)

    assert answer.sources == plain.sources
    assert answer.backend == "copilot"
    assert why in told(answer)


async def test_its_failures_open_a_circuit_of_its_own(gateway: Build, providers: Providers):
    providers.cloud.script(free="status_500", then="status_500")
    asked = gateway(rag_embeddings="cloud", failure_threshold=1, **AMPLE)
    for _ in range(2):
        answer = await asked.ask(ASKED, documents=DOCUMENTS, max_context_chars=800)

    assert len(embedding_calls(providers)) == 1
    assert "left alone" in told(answer)
    cloud = next(tier for tier in (await asked.status()).tiers if tier.backend == "cloud")
    assert (cloud.circuit.state, cloud.circuit.failures, cloud.available) == ("closed", 0, True)


async def test_without_an_embedding_model_nothing_is_pulled(gateway: Build, providers: Providers):
    providers.ollama.configure("models", ["llama3:latest"])
    answer = await gateway(rag_embeddings="local", **AMPLE).ask(ASKED, documents=DOCUMENTS, max_context_chars=800)

    assert not providers.ollama.calls_to("/api/pull")
    assert not embedding_calls(providers)
    assert "no embedding model" in told(answer)


async def test_what_is_kept_is_not_the_text(gateway: Build, empty_home: Path):
    await gateway(rag_embeddings="local", **AMPLE).ask(ASKED, documents=DOCUMENTS, max_context_chars=800)

    kept = (empty_home / "state" / "embeddings.db").read_bytes()
    assert not re.search(rb"committee|valve", kept)
