"""Vectors as providers write them in JSON, checked before anybody calculates with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import TierBroken
from ..types import Reason

MOST_DIMENSIONS = 16_384
LONGEST_REPLY = 32 * 1024 * 1024

# The small embedding model of each cloud that has one.
CLOUD_MODELS = {
    "openai": "text-embedding-3-small",
    "mistral": "mistral-embed",
    "gemini": "gemini-embedding-001",
}


def vectors_of(tier: str, rows: Any, expected: int) -> list[tuple[float, ...]]:
    """As many vectors as were asked for, of one length and finite; else `TierBroken`."""
    found = [_vector(row) for row in rows] if isinstance(rows, Sequence) and not isinstance(rows, str) else []
    lengths = {len(vector) for vector in found}
    if len(found) != expected or len(lengths) > 1 or not lengths <= set(range(1, MOST_DIMENSIONS + 1)):
        raise TierBroken(tier, "what came back are no embeddings", reason=Reason.BAD_PAYLOAD)
    return found


def _vector(row: Any) -> tuple[float, ...]:
    if not isinstance(row, list) or not all(type(value) in (int, float) and math.isfinite(value) for value in row):
        return ()
    return tuple(map(float, row))
