"""Laws: whatever JSON comes, every endpoint answers with a documented status, and never with an error of our own."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_core.testing import ScriptedTier
from server import create_app

from .calling import BASE, JSON, gateway

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURN = {"role": "user", "content": "a"}
BODIES: dict[str, dict[str, Any]] = {
    "/ai/query": {
        "prompt": "a", "system": "b", "messages": [TURN], "tier": "cloud", "model": "m", "local_only": False,
        "max_tokens": 5, "temperature": 0.5, "deadline_s": 5, "on_interrupt": "stop", "stream": False, "details": True,
    },
    "/ai/query/rag": {
        "prompt": "a", "documents": ["a", {"text": "b", "name": "c"}, {"name": "d", "content_base64": "ZQ=="}],
        "max_context_chars": 500,
    },
    "/v1/chat/completions": {
        "model": "auto", "stream": False, "stream_options": {"include_usage": True}, "tools": [TOOL], "temperature": 1,
        "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}, "stop": ["x"],
        "messages": [
            TURN, {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "a", "tool_call_id": "c"},
        ],
    },
    "/v1/messages": {
        "model": "auto", "max_tokens": 5, "system": [{"type": "text", "text": "a"}], "stop_sequences": ["x"],
        "tools": [{"name": "f", "description": "g", "input_schema": {}}], "tool_choice": {"type": "tool", "name": "f"},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "image", "source": {"type": "base64", "data": "ZQ=="}},
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "b"}]},
            ]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
        ],
    },
    "/v1/responses": {
        "model": "auto", "instructions": "a", "text": {"format": {"type": "json_schema", "schema": {}}},
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:,"},
            ]},
        ],
    },
    "/api/chat": {
        "model": "auto", "format": {"type": "object"}, "options": {"num_predict": 5, "temperature": 1, "stop": ["x"]},
        "tools": [TOOL],
        "messages": [
            {"role": "user", "content": "a", "images": ["ZQ=="]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "content": "b", "tool_name": "f"},
        ],
    },
    "/api/generate": {"model": "auto", "prompt": "a", "system": "b", "images": ["ZQ=="], "options": {"seed": 1}},
    "/api/show": {"model": "auto"},
}  # fmt: skip

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

Place = tuple[str | int, ...]


def places(body: Any) -> list[Place]:
    """The way to every value of the body, and to its whole."""
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [(), *((key, *rest) for key, value in inner for rest in places(value))]


def planted(body: Any, place: Place, value: Any) -> Any:
    """The body with `value` at this place."""
    if not place:
        return value
    changed = copy.copy(body)
    changed[place[0]] = planted(body[place[0]], place[1:], value)
    return changed


@pytest.fixture(scope="module")
def app():
    return create_app(gateway(ScriptedTier("copilot", ["ok"]), ScriptedTier("cloud", ["ok"])))


@pytest.mark.parametrize("path", BODIES)
def test_whatever_json_comes_the_status_is_a_documented_one(app, path):
    documented = {int(status) for status in app.openapi()["paths"][path]["post"]["responses"]} - {500}

    async def post(body: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
            return await client.post(path, content=json.dumps(body).encode(), headers=JSON)

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(places(BODIES[path])), anything)
    def law(place: Place, value: Any) -> None:
        reply = asyncio.run(post(planted(BODIES[path], place, value)))

        assert reply.status_code in documented, reply.text

    assert asyncio.run(post(BODIES[path])).status_code == 200
    law()
