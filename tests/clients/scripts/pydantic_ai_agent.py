"""pydantic-ai's agent: text, a tool that is really called, a typed answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from loop import ADDRESS, QUESTION, TOKEN, serve
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel("auto", provider=OpenAIProvider(base_url=f"{ADDRESS}/v1", api_key=TOKEN))


class City(BaseModel):
    name: str


async def whole() -> str:
    return (await Agent(model).run(QUESTION)).output


async def stream() -> AsyncIterator[str]:
    async with Agent(model).run_stream(QUESTION) as reply:
        async for piece in reply.stream_text(delta=True, debounce_by=None):
            yield piece


async def tools() -> Any:
    asked = []
    agent = Agent(model)

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "sunny"

    return {"output": (await agent.run(QUESTION)).output, "calls": len(asked)}


async def parsed() -> Any:
    return (await Agent(model, output_type=NativeOutput(City)).run(QUESTION)).output.model_dump()


serve("pydantic-ai-slim", whole, stream, tools=tools, parsed=parsed)
