"""A large body holds nobody else up."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.testing import ScriptedTier
from server.bodies import decoded

from .calling import JSON, calling

MANY = 200_000


def bodies():
    words = "The valve of the hall was painted. " * 20
    yield pytest.param({f"f{n}": n for n in range(MANY)} | {"documents": ["x"]}, 200, id="fields that nobody knows")
    yield pytest.param({"documents": [words] * 4_000}, 200, id="many texts")
    file = {"name": "a.txt", "content_base64": base64.b64encode(words.encode() * 6_000).decode()}
    yield pytest.param({"documents": [file]}, 200, id="a file")
    yield pytest.param({"documents": ["ä"] * 600_000 + ["x\ud800"]}, 422, id="half a surrogate pair")


@pytest.mark.parametrize(("body", "status"), list(bodies()))
async def test_others_are_answered_while_it_is_read(body, status):
    content = json.dumps({"prompt": "Which colour?", **body}).encode()
    async with calling(ScriptedTier("local")) as client:
        large = asyncio.create_task(client.post("/ai/query/rag", content=content, headers=JSON))
        answered = 0
        while not large.done():
            await asyncio.sleep(0.01)
            answered += (await client.get("/health")).status_code == 200

    assert (await large).status_code == status
    assert answered > 4  # read on the loop, all of it would pass between two of them


@given(st.binary(max_size=60), st.integers(1, 9), st.sampled_from(["", "\n", " \r\n"]), st.integers(1, 7))
def test_base64_in_slices_is_base64(data, at_a_time, between, width):
    text = base64.b64encode(data).decode()
    broken = between.join(text[n : n + width] for n in range(0, len(text), width))

    assert decoded(broken, at_a_time) == data


@given(st.text("AB=/+ \n*-_é", max_size=24), st.integers(1, 9))
def test_what_is_no_base64_is_none_in_slices_either(text, at_a_time):
    def read(how):
        try:
            return how()
        except (binascii.Error, ValueError):
            return None

    whole = read(lambda: base64.b64decode("".join(text.split()), validate=True))
    assert read(lambda: decoded(text, at_a_time)) == whole
