"""What a turn holds besides words: content parts as chat completions know them. Callers may send any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..types import Message, Prompt

OTHER_PARTS = "leave that part out, or ask a tier that can take it"
_LONGEST_QUOTE = 2000
NO_PICTURES = "it cannot look at pictures"
WITHOUT_PICTURES = "use a model that can, or leave the pictures out"


def parts_of(message: Message) -> list[Mapping[str, Any]]:
    """The parts of a turn; none where its content is a plain text."""
    content: object = message.content
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def kind_of(part: Mapping[str, Any]) -> str:
    """The type of a part as callers may be told it, whatever they wrote there."""
    kind = str(part.get("type"))
    return kind if kind.isidentifier() and len(kind) <= 40 else "such a part"


def quotable(message: Message) -> str:
    """What a provider could quote of a turn: its words, and how its other parts begin (an address, a file's name)."""
    told = message.text
    for part in parts_of(message):
        held = part.get(kind_of(part))
        values = held.values() if isinstance(held, dict) else [held]
        told += "".join(" " + value[:_LONGEST_QUOTE] for value in values if isinstance(value, str))
    return told


def has_more_than_text(message: Message) -> bool:
    return any(kind_of(part) != "text" for part in parts_of(message))


def others_in(prompt: Prompt) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part that is no text, with its type."""
    for message in prompt.messages:
        yield from ((kind_of(part), part) for part in parts_of(message) if kind_of(part) != "text")


def has_pictures(prompt: Prompt) -> bool:
    return any(kind == "image_url" for kind, _ in others_in(prompt))
