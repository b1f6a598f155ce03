"""How many tokens a text may take, on the safe side, without the model's tokenizer.

English takes about four characters a token and is counted as three; Cyrillic, Arabic and their like as two; Chinese,
Japanese, Korean and emoji as one and a half.
"""

from __future__ import annotations

import math
import re

from ..errors import ContextTooLong
from ..types import Prompt

_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U0001f000-\U0003ffff]")
_OTHER = re.compile(r"[\u0250-\u2dff\ua000-\uabff\ufb50-\ufeff]")

# `request (5012 tokens) exceeds the available context size (4096 tokens)`
_COUNTS = (r"request \((\d+) tokens\)", r"context size \((\d+) tokens\)")

_SAMPLE = 200_000
PER_MESSAGE = 8
AROUND = 64  # what the model's template adds: a system line, names of roles


def tokens_per_char(text: str) -> float:
    """The average cost of a character of `text`."""
    sample = text[:_SAMPLE]
    if not sample or sample.isascii():
        return 1 / 3
    wide = len(_WIDE.findall(sample))
    other = len(_OTHER.findall(sample))
    plain = len(sample) - wide - other
    return (plain / 3 + other / 2 + wide / 1.5) / len(sample)


def estimated_tokens(prompt: Prompt) -> int:
    """Tokens the whole prompt takes at most, as a rule."""
    text = joined(prompt)
    return math.ceil(len(text) * tokens_per_char(text)) + PER_MESSAGE * len(prompt.messages) + AROUND


def fitting_chars(prompt: Prompt, window: int) -> int:
    """Characters of a prompt such as this one that fit a window of so many tokens and leave room for an answer."""
    room = answer_room(prompt, window)
    left = window - room - PER_MESSAGE * len(prompt.messages) - AROUND
    return max(0, int(left / tokens_per_char(joined(prompt))))


def answer_room(prompt: Prompt, window: int) -> int:
    """Tokens kept free for the answer: what was asked for, else a page; never more than half the window."""
    return min(prompt.max_tokens or 1024, window // 2)


def overflow(tier: str, words: str, prompt: Prompt, window: int | None) -> ContextTooLong:
    """For a prompt that a server refused as too long: what would fit, by the server's own count if it gives one.

    It is worth asking again when documents can be left out.
    """
    counts = [int(found) for pattern in _COUNTS for found in re.findall(pattern, words)[:1]]
    read, size = counts if len(counts) == 2 else (0, window or 0)
    size = min(size, window or size)
    if read and size:
        limit = int(prompt.chars * (size - answer_room(prompt, size)) / read * 0.95)
    else:
        limit = fitting_chars(prompt, size) if size else prompt.chars
    if limit >= prompt.chars:  # it did not fit, whatever the estimate says
        limit = int(prompt.chars * 0.7)
    return ContextTooLong(
        tier,
        f"the prompt does not fit the model's window{f' of {size} tokens' if size else ''}",
        limit_chars=limit,
        again=prompt.refit is not None or bool(prompt.documents),
        cure="Lower MAX_CONTEXT_CHARS, or start a new conversation.",
    )


def joined(prompt: Prompt) -> str:
    """All text of the conversation, content parts included."""
    texts: list[str] = []
    for message in prompt.messages:
        content: object = message.content
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            texts += [str(part.get("text", "")) for part in content if isinstance(part, dict)]
    return "".join(texts)
