"""A large body holds nobody else up."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json

from hypothesis import given
from hypothesis import strategies as st

from gateway_core.testing import ScriptedTier
from server.bodies import decoded

from .calling import JSON, calling


async def test_others_are_answered_while_it_is_read():
    """A fault at the end of many texts: what takes long is done by nobody but us, step by step."""
    documents = ["ä"] * 600_000 + ["x\ud800"]
    content = json.dumps({"prompt": "Which colour?", "documents": documents}).encode()
    loop = asyncio.get_running_loop()
    async with calling(ScriptedTier("local")) as client:
        begun = last = loop.time()
        large = asyncio.create_task(client.post("/ai/query/rag", content=content, headers=JSON))
        longest = 0.0
        while not large.done():
            await asyncio.sleep(0.005)
            assert (await client.get("/api/version")).status_code == 200
            longest, last = max(longest, loop.time() - last), loop.time()

    assert (await large).status_code == 422
    assert longest < 0.7 * (last - begun)  # read on the loop, nearly all of it would pass between two answers


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
