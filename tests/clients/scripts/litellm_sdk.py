"""The litellm package as an SDK."""

from __future__ import annotations

from collections.abc import Iterator

import litellm
from loop import ADDRESS, TOKEN, TURNS, serve

AT = {"model": "openai/auto", "api_base": f"{ADDRESS}/v1", "api_key": TOKEN, "messages": TURNS}


def whole() -> str | None:
    return litellm.completion(**AT).choices[0].message.content


def stream() -> Iterator[str | None]:
    for chunk in litellm.completion(**AT, stream=True):
        yield chunk.choices[0].delta.content if chunk.choices else ""


serve("litellm", whole, stream)
