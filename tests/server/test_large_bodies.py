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

PHOTO = "/9j/" + "A" * 5_000_000
URL = f"data:image/jpeg;base64,{PHOTO}"
SOURCE = {"type": "base64", "media_type": "image/jpeg", "data": PHOTO}


def showing(picture: dict, text: str = "What is it?", kind: str = "text") -> list[dict]:
    return [{"role": "user", "content": [{"type": kind, "text": text}, picture]}]


PHOTOS = {
    "/v1/chat/completions": {"messages": showing({"type": "image_url", "image_url": {"url": URL}})},
    "/v1/messages": {"messages": showing({"type": "image", "source": SOURCE})},
    "/v1/responses": {"input": showing({"type": "input_image", "image_url": URL}, kind="input_text")},
    "/api/chat": {"messages": [{"role": "user", "content": "What is it?", "images": [PHOTO]}]},
    "/api/generate": {"prompt": "What is it?", "images": [PHOTO]},
}


@pytest.mark.parametrize("path", PHOTOS)
async def test_an_ordinary_photo_may_be_sent_wherever_pictures_are_taken(path):
    local = ScriptedTier("local")
    async with calling(local) as client:
        photo = await client.post(path, json=PHOTOS[path])
        too_many = await client.post(path, json={**PHOTOS[path], "more": [PHOTO] * 3})

    assert photo.status_code == 200
    assert local.prompts[0].messages[-1].content[-1]["image_url"]["url"] == URL
    assert (too_many.status_code, "larger than 20 MB" in too_many.text) == (413, True)


@pytest.mark.parametrize("path", PHOTOS)
async def test_words_have_the_same_limit_with_pictures_as_without(path):
    async with calling(ScriptedTier("local")) as client:
        reply = await client.post(path, json={**PHOTOS[path], "more": "x" * 2_000_000})

    assert (reply.status_code, "without pictures and files, the request is larger than 2 MB" in reply.text) == (
        413,
        True,
    )


@pytest.mark.parametrize("path", ["/ai/query", "/api/show"])
async def test_where_no_pictures_are_taken_two_megabytes_are_enough(path):
    async with calling(ScriptedTier("local")) as client:
        reply = await client.post(path, json={"prompt": "x", "model": "x" * 2_000_000})

    assert (reply.status_code, "larger than 2 MB" in reply.text) == (413, True)


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
