"""The openai package's async client: chat completions, tools, structured answers, models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
from loop import ADDRESS, TOKEN, TURNS, serve
from pydantic import BaseModel

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class City(BaseModel):
    name: str
    inhabitants: int


def connected() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{ADDRESS}/v1", api_key=TOKEN)


async def whole() -> str | None:
    async with connected() as client:
        return (await client.chat.completions.create(model="auto", messages=TURNS)).choices[0].message.content


async def stream() -> AsyncIterator[str | None]:
    async with connected() as client:
        async for chunk in await client.chat.completions.create(model="auto", messages=TURNS, stream=True):
            yield chunk.choices[0].delta.content if chunk.choices else ""


async def tools() -> Any:
    async with connected() as client:
        choice = (await client.chat.completions.create(model="auto", messages=TURNS, tools=[TOOL])).choices[0]
        return {"finish": choice.finish_reason, "calls": [call.model_dump() for call in choice.message.tool_calls]}


async def tools_streamed() -> Any:
    async with (
        connected() as client,
        client.chat.completions.stream(model="auto", messages=TURNS, tools=[TOOL]) as events,
    ):
        choice = (await events.get_final_completion()).choices[0]
        return {"finish": choice.finish_reason, "calls": [call.model_dump() for call in choice.message.tool_calls]}


async def tool_results() -> str | None:
    """The second half of a tool call: its result goes back."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    turns = [
        *TURNS,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    async with connected() as client:
        reply = await client.chat.completions.create(model="auto", messages=turns, tools=[TOOL])
        return reply.choices[0].message.content


async def parsed() -> Any:
    async with connected() as client:
        reply = await client.chat.completions.parse(model="auto", messages=TURNS, response_format=City)
        found = reply.choices[0].message.parsed
        return found.model_dump() if isinstance(found, City) else None


async def parsed_streamed() -> Any:
    async with (
        connected() as client,
        client.chat.completions.stream(model="auto", messages=TURNS, response_format=City) as events,
    ):
        found = (await events.get_final_completion()).choices[0].message.parsed
        return found.model_dump() if isinstance(found, City) else None


async def usage() -> Any:
    options = {"include_usage": True}
    counted = []
    async with connected() as client:
        whole = await client.chat.completions.create(model="auto", messages=TURNS)
        counted.append(whole.usage.completion_tokens)
        grown = await client.chat.completions.create(model="auto", messages=TURNS, stream=True, stream_options=options)
        counted += [chunk.usage.completion_tokens async for chunk in grown if chunk.usage]
    return counted


async def models() -> list[str]:
    async with connected() as client:
        return [(await client.models.retrieve(model.id)).id async for model in client.models.list()]


async def unknown_model() -> Any:
    async with connected() as client:
        try:
            return (await client.models.retrieve("cloud/gpt-99")).id
        except openai.NotFoundError as refused:
            return refused.code


serve(
    "openai", whole, stream, tools=tools, tools_streamed=tools_streamed, tool_results=tool_results, parsed=parsed,
    parsed_streamed=parsed_streamed, usage=usage, models=models, unknown_model=unknown_model,
)  # fmt: skip
