"""The ollama package: chat, and what pages made for Ollama ask besides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
from loop import ADDRESS, QUESTION, TOKEN, TURNS, serve

client = ollama.Client(host=ADDRESS, headers={"Authorization": f"Bearer {TOKEN}"})


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name
    """
    return "sunny"


def whole() -> str | None:
    return client.chat(model="auto", messages=TURNS).message.content


def stream() -> Iterator[str | None]:
    for part in client.chat(model="auto", messages=TURNS, stream=True):
        yield part.message.content


def generated() -> str:
    return client.generate(model="auto", prompt=QUESTION).response


def tools() -> Any:
    return [call.model_dump() for call in client.chat(model="auto", messages=TURNS, tools=[weather]).message.tool_calls]


def tools_streamed() -> Any:
    parts = client.chat(model="auto", messages=TURNS, tools=[weather], stream=True)
    return [call.model_dump() for part in parts for call in part.message.tool_calls or ()]


def parsed() -> str | None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return client.chat(model="auto", messages=TURNS, format=schema).message.content


def names() -> list[str | None]:
    return [model.model for model in client.list().models]


def abilities() -> Any:
    return client.show("auto").capabilities


def running() -> Any:
    return [model.model for model in client.ps().models]


serve(
    "ollama", whole, stream, generated=generated, tools=tools, tools_streamed=tools_streamed, parsed=parsed,
    names=names, abilities=abilities, running=running,
)  # fmt: skip
