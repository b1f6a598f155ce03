"""Embeddings help where a tier offers them, and never get in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_core.rag import Candidate, EmbeddingCache, PassageIndex, rerank
from gateway_core.types import Document

TEXTS = [f"The pump in hall {n} has a valve. " * 30 for n in range(8)]


def test_the_candidates_are_the_blocks_that_words_found():
    candidates = PassageIndex([*TEXTS, Document("A private valve.", private=True)]).candidates("valve")

    assert all("valve" in candidate.text for candidate in candidates)
    assert [candidate.private for candidate in candidates].count(True) == 1


def test_a_near_vector_lifts_its_passage():
    index = PassageIndex(TEXTS)
    question = "Which valve is in the pump?"
    candidates = index.candidates(question)
    meant = next(candidate for candidate in candidates if "hall 5" in candidate.text)
    boosts = rerank(candidates, [1.0, 0.0], {c.number: [1.0, 0.0] if c is meant else [0.0, 1.0] for c in candidates})

    assert index.pack(question, 400, boosts=boosts).passages[0].text in meant.text


def test_without_vectors_the_order_of_the_words_stands():
    index = PassageIndex(TEXTS)

    assert index.pack("valve in hall 3", 400, nonce="00", boosts={}) == index.pack("valve in hall 3", 400, nonce="00")


def test_vectors_of_another_length_are_never_compared():
    assert rerank([Candidate(0, "a", 1.0)], [1.0, 0.0], {0: [1.0, 0.0, 0.0]}) == {}


@pytest.mark.parametrize("in_file", [False, True])
def test_vectors_are_kept_by_text_model_and_dimensions(in_file: bool, tmp_path: Path):
    cache = EmbeddingCache(path=tmp_path / "vectors.sqlite" if in_file else None)
    cache.put("some  text", "model-a", [3.0, 4.0])

    assert cache.get("some text", "model-a", 2) == pytest.approx((0.6, 0.8), abs=1e-3)
    assert cache.get("some text", "model-b", 2) is None
    assert cache.get("some text", "model-a", 3) is None
