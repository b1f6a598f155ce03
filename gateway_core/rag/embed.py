"""Embeddings as a helper: where a tier can embed, its opinion is added to the order that words gave.

Only the candidates of one question are embedded, never whole documents before the first answer. The caller asks the
tier, within a time limit; when it is late, the order by words stands. Vectors of two models are never compared.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .blobs import BlobFile, BlobMemory, Blobs

WEIGHT = 0.8


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block that words found. `private`: its text must not be sent anywhere to be embedded."""

    number: int
    text: str
    score: float
    private: bool = False


def rerank(
    candidates: Sequence[Candidate],
    query_vector: Sequence[float],
    vectors: Mapping[int, Sequence[float]],
    weight: float = WEIGHT,
) -> dict[int, float]:
    """Boosts for `PassageIndex.pack`: `weight` times the cosine, by candidate number. Without a vector: no boost."""
    boosts = {}
    for candidate in candidates:
        vector = vectors.get(candidate.number)
        if vector is not None and len(vector) == len(query_vector):
            boosts[candidate.number] = weight * max(0.0, _cosine(query_vector, vector))
    return boosts


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    norms = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / norms if norms else 0.0


class EmbeddingCache:
    """Vectors by text, model and dimensions, as half floats: 512 bytes for 256 numbers."""

    def __init__(self, max_bytes: int = 64 * 1024 * 1024, *, path: Path | None = None) -> None:
        self._blobs: Blobs = BlobMemory(max_bytes) if path is None else BlobFile(path, max_bytes)

    def get(self, text: str, model: str, dimensions: int) -> tuple[float, ...] | None:
        key = _key(text, model, dimensions)
        return _unpacked(self._blobs.get(key), dimensions)

    def put(self, text: str, model: str, vector: Sequence[float]) -> None:
        """Keep a vector, brought to length one (a half float holds no large numbers)."""
        self.put_all({text: vector}, model)

    def get_all(self, texts: Sequence[str], model: str) -> dict[str, tuple[float, ...]]:
        """What is known of these texts, as long as that model's vectors were last time."""
        told = self._blobs.get(f"dimensions {model}")
        if told is None or not told.isdigit():
            return {}
        dimensions = int(told)
        keys = {text: _key(text, model, dimensions) for text in texts}
        held = self._blobs.get_all(list(keys.values()))
        found = ((text, _unpacked(held.get(key), dimensions)) for text, key in keys.items())
        return {text: vector for text, vector in found if vector is not None}

    def put_all(self, vectors: Mapping[str, Sequence[float]], model: str) -> None:
        """Keep vectors of one model, all of one length."""
        held = {_key(text, model, len(vector)): _packed(vector) for text, vector in vectors.items()}
        for vector in vectors.values():
            held[f"dimensions {model}"] = str(len(vector)).encode()
        self._blobs.put_all(held)

    def clear(self) -> None:
        self._blobs.clear()


def _key(text: str, model: str, dimensions: int) -> str:
    """White space does not change what a text means."""
    digest = hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest} {dimensions} {model}"


def _packed(vector: Sequence[float]) -> bytes:
    norm = math.sqrt(sum(value * value for value in vector)) or 1.0
    return struct.pack(f"<{len(vector)}e", *(value / norm for value in vector))


def _unpacked(stored: bytes | None, dimensions: int) -> tuple[float, ...] | None:
    if stored is None or len(stored) != 2 * dimensions:
        return None
    return struct.unpack(f"<{dimensions}e", stored)
