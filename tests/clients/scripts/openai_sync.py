"""The openai package: chat completions."""

from __future__ import annotations

from collections.abc import Iterator

import openai
from loop import ADDRESS, TOKEN, TURNS, serve

client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key=TOKEN)


def whole() -> str | None:
    return client.chat.completions.create(model="auto", messages=TURNS).choices[0].message.content


def stream() -> Iterator[str | None]:
    for chunk in client.chat.completions.create(model="auto", messages=TURNS, stream=True):
        yield chunk.choices[0].delta.content if chunk.choices else ""


serve("openai", whole, stream)
