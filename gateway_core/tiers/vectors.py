"""Vectors as providers write them in JSON, checked before anybody calculates with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import TierBroken
from ..types import Reason

MOST_DIMENSIONS = 16_384
LARGEST_COUNT = 10**12  # tokens; what claims more was not counted
LARGEST = 3.4e38  # what 32 bits hold: clients are sent no more
FEW = 8  # texts whose vectors are read between two events of the loop
LONGEST_REPLY = 32 * 1024 * 1024

# The small embedding model of each cloud that has one.
CLOUD_MODELS = {
    "openai": "text-embedding-3-small",
    "mistral": "mistral-embed",
    "gemini": "gemini-embedding-001",
}


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector for each text, and the tokens of all of them as the provider counted them."""

    vectors: list[tuple[float, ...]]
    tokens: int | None = None


async def embedded_of(tier: str, rows: Any, expected: int, tokens: Any) -> Embedded:
    """As `vectors_of`; many are read in a thread."""
    counted = tokens if type(tokens) is int and 0 <= tokens < LARGEST_COUNT else None
    if expected <= FEW:
        return Embedded(vectors_of(tier, rows, expected), counted)
    return Embedded(await asyncio.to_thread(vectors_of, tier, rows, expected), counted)


def vectors_of(tier: str, rows: Any, expected: int) -> list[tuple[float, ...]]:
    """As many vectors as were asked for, of one length and finite; else `TierBroken`."""
    found = [_vector(row) for row in rows] if isinstance(rows, Sequence) and not isinstance(rows, str) else []
    lengths = {len(vector) for vector in found}
    if len(found) != expected or len(lengths) > 1 or not lengths <= set(range(1, MOST_DIMENSIONS + 1)):
        raise TierBroken(tier, "what came back are no embeddings", reason=Reason.BAD_PAYLOAD)
    return found


def _vector(row: Any) -> tuple[float, ...]:
    if not isinstance(row, list) or not all(
        type(value) in (int, float) and -LARGEST < value < LARGEST for value in row
    ):
        return ()
    return tuple(map(float, row))
