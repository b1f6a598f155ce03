"""The anthropic package: messages, and a tool's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
from loop import ADDRESS, TOKEN, TURNS, serve

client = anthropic.Anthropic(base_url=ADDRESS, api_key=TOKEN)
REQUEST = {"model": "auto", "max_tokens": 1000, "messages": TURNS}
TOOLS = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]


def whole() -> str:
    return "".join(block.text for block in client.messages.create(**REQUEST).content if block.type == "text")


def stream() -> Iterator[str]:
    with client.messages.stream(**REQUEST) as events:
        yield from events.text_stream
        events.get_final_message()


def tools() -> Any:
    told = client.messages.create(**REQUEST, tools=TOOLS)
    return {"stop": told.stop_reason, "calls": [block.model_dump() for block in told.content]}


def tools_streamed() -> Any:
    with client.messages.stream(**REQUEST, tools=TOOLS) as events:
        told = events.get_final_message()
    return {"stop": told.stop_reason, "calls": [block.model_dump() for block in told.content]}


def models() -> list[str]:
    return [client.models.retrieve(model.id).id for model in client.models.list()]


def unknown_model() -> str:
    try:
        return client.models.retrieve("cloud/gpt-99").id
    except anthropic.NotFoundError as refused:
        return refused.body["error"]["type"]


serve(
    "anthropic", whole, stream, tools=tools, tools_streamed=tools_streamed, models=models, unknown_model=unknown_model
)
