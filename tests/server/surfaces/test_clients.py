"""The official Python SDKs, unchanged, against a real server: whole, streamed, through a failover, and cut."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import httpx
import pytest

from gateway_core import Usage
from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason

from ..calling import gateway, running
from .test_chat_completions import FRAGMENTS, TOOL

pytestmark = pytest.mark.slow
HELLO = [{"role": "user", "content": "Hello"}]
USED = Chunk(finish_reason="stop", usage=Usage(7, 2))
DOWN = TierBroken("copilot", "it broke", reason=Reason.RESET)


@asynccontextmanager
async def openai(*tiers: ScriptedTier):
    sdk = pytest.importorskip("openai", reason="the SDK is not installed (group clients)")
    async with (
        running(gateway(*tiers)) as server,
        sdk.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused") as client,
    ):
        yield sdk, client


@asynccontextmanager
async def anthropic(*tiers: ScriptedTier):
    sdk = pytest.importorskip("anthropic", reason="the SDK is not installed (group clients)")
    async with (
        running(gateway(*tiers)) as server,
        sdk.AsyncAnthropic(base_url=server.url, api_key="unused") as client,
    ):
        yield sdk, client


@asynccontextmanager
async def ollama(*tiers: ScriptedTier):
    sdk = pytest.importorskip("ollama", reason="the SDK is not installed (group clients)")
    async with running(gateway(*tiers)) as server:
        client = sdk.AsyncClient(host=server.url)
        yield sdk, client
        await client._client.aclose()


def failing_over() -> tuple[ScriptedTier, ScriptedTier]:
    return ScriptedTier("copilot", [DOWN]), ScriptedTier("cloud", ["Hi ", "there", USED])


async def test_openai_whole_and_streamed_through_a_failover():
    async with openai(*failing_over()) as (_, client):
        whole = await client.chat.completions.create(model="auto", messages=HELLO)
        text, usage = "", None
        stream = await client.chat.completions.create(
            model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            usage = chunk.usage or usage

    assert whole.choices[0].message.content == text == "Hi there"
    assert whole.ai_gateway["backend"] == "cloud"
    assert (whole.usage.total_tokens, usage.total_tokens) == (9, 9)


async def test_openai_sees_a_cut_as_an_error():
    text = ""
    async with openai(ScriptedTier("copilot", ["one ", "two ", DOWN])) as (sdk, client):
        try:
            async for chunk in await client.chat.completions.create(model="auto", messages=HELLO, stream=True):
                text += chunk.choices[0].delta.content or ""
        except sdk.APIError as cut:
            code = cut.code

    assert (text, code) == ("one two ", "stream_interrupted")


async def test_openai_does_not_retry_a_final_failure():
    copilot = ScriptedTier("copilot", [DOWN])
    async with openai(copilot) as (sdk, client):
        with pytest.raises(sdk.InternalServerError) as failed:
            await client.chat.completions.create(model="auto", messages=HELLO)

    assert (failed.value.status_code, failed.value.code, copilot.calls) == (503, "no_tier_answered", 1)


async def test_openai_tools_and_structured_answers():
    pydantic = pytest.importorskip("pydantic")

    class City(pydantic.BaseModel):
        name: str

    copilot = ScriptedTier("copilot", [*FRAGMENTS, Chunk(finish_reason="tool_calls")], ['{"name": ', '"Rome"}'])
    async with openai(copilot) as (_, client):
        called = await client.chat.completions.create(model="auto", messages=HELLO, tools=[TOOL])
        parsed = await client.chat.completions.parse(model="auto", messages=HELLO, response_format=City)

    assert json.loads(called.choices[0].message.tool_calls[0].function.arguments) == {"city": "Rome"}
    assert parsed.choices[0].message.parsed == City(name="Rome")
    assert copilot.prompts[1].passthrough["response_format"]["type"] == "json_schema"


async def test_openai_responses_and_models():
    async with openai(*failing_over()) as (_, client):
        whole = await client.responses.create(model="auto", input="Hello")
        grown = [event async for event in await client.responses.create(model="auto", input="Hello", stream=True)]
        names = [model.id async for model in client.models.list()]

    assert whole.output_text == grown[-1].response.output_text == "Hi there"
    assert names[0] == "auto"


async def test_openai_responses_see_a_cut_as_an_error():
    async with openai(ScriptedTier("copilot", ["one ", DOWN])) as (sdk, client):
        stream = await client.responses.create(model="auto", input="Hello", stream=True)
        with pytest.raises(sdk.APIError):
            [event async for event in stream]


async def test_anthropic_whole_and_streamed_through_a_failover():
    request = {"model": "auto", "max_tokens": 100, "messages": HELLO}
    async with anthropic(*failing_over()) as (_, client):
        whole = await client.messages.create(**request)
        async with client.messages.stream(**request) as stream:
            text = "".join([part async for part in stream.text_stream])
            last = await stream.get_final_message()

    assert whole.content[0].text == last.content[0].text == text == "Hi there"
    assert last.usage.output_tokens == 2


async def test_anthropic_sees_a_cut_and_a_failure_as_errors():
    copilot = ScriptedTier("copilot", ["one ", DOWN], [DOWN])
    request = {"model": "auto", "max_tokens": 100, "messages": HELLO}
    async with anthropic(copilot) as (sdk, client):
        with pytest.raises(sdk.APIError):
            async with client.messages.stream(**request) as stream:
                await stream.get_final_message()
        with pytest.raises(sdk.APIStatusError) as failed:
            await client.messages.create(**request)

    assert (failed.value.status_code, copilot.calls) == (503, 2)


async def test_anthropic_tools():
    copilot = ScriptedTier("copilot", [*FRAGMENTS, Chunk(finish_reason="tool_calls")])
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    async with (
        anthropic(copilot) as (_, client),
        client.messages.stream(model="auto", max_tokens=9, messages=HELLO, tools=tools) as stream,
    ):
        told = await stream.get_final_message()

    assert (told.stop_reason, told.content[0].input) == ("tool_use", {"city": "Rome"})


async def test_ollama_whole_and_streamed_through_a_failover():
    async with ollama(*failing_over()) as (_, client):
        whole = await client.chat(model="auto", messages=HELLO)
        grown = [part.message.content async for part in await client.chat(model="auto", messages=HELLO, stream=True)]
        generated = await client.generate(model="auto", prompt="Hello")
        names = [model.model for model in (await client.list()).models]
        abilities = (await client.show("auto")).capabilities

    assert whole.message.content == "".join(grown) == generated.response == "Hi there"
    assert names[0] == "auto"
    assert "completion" in abilities


async def test_ollama_sees_a_cut_and_a_failure_as_errors():
    async with ollama(ScriptedTier("copilot", ["one ", DOWN], [DOWN])) as (sdk, client):
        with pytest.raises((sdk.ResponseError, httpx.RemoteProtocolError)):
            [part async for part in await client.chat(model="auto", messages=HELLO, stream=True)]
        with pytest.raises(sdk.ResponseError) as failed:
            await client.chat(model="auto", messages=HELLO)

    assert failed.value.status_code == 503
