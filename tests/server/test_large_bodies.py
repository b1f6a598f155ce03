"""A large body holds nobody else up."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway_core.testing import ScriptedTier
from server.bodies import decoded
from server.intake import has_many_parts

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
    documents = ["ä" * 100] * 49_000 + ["x\ud800"]
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


BOMBS = {
    "members": b'{"prompt":"x",' + b",".join(b'"k%d":1' % n for n in range(10**6)),
    "lists": b'{"prompt":"x","z":[' + b"[1]," * 2_000_000 + b"[1]]",
    "objects": b'{"prompt":"x","messages":[' + b'{"role":"user","content":"x"},' * 500_000 + b"1]",
    "half a pair": b'{"prompt":"\\ud800","z":[' + b"[1]," * 450_000 + b"[1]]",
    "wrong ones": b'{"messages":[' + b"1," * 900_000 + b"1]",
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/ai/query/rag", "/v1/embeddings"])
@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_body_of_very_many_parts_is_refused_before_they_are_made(path, bomb):
    body = BOMBS[bomb][:7_999_000] + b"}"
    async with calling(ScriptedTier("local")) as client:
        begun = time.process_time()
        reply = await client.post(path, content=body, headers=JSON)
        took = time.process_time() - begun

    assert (reply.status_code, "more than 100,000 objects, lists and members" in reply.text) == (413, True)
    assert "join short texts to longer ones" in reply.text
    assert took < 1  # reading them takes seconds


async def test_a_document_may_hold_as_many_commas_and_brackets_as_it_likes():
    table = '"a",1,2,{x:[3]}\n' * 200_000
    async with calling(ScriptedTier("local", ["ok"])) as client:
        reply = await client.post("/ai/query/rag", json={"prompt": "x", "documents": [table]})

    assert reply.status_code == 200


JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text('a"\\,:[]{}\n', max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text('a"\\,', max_size=4), inner, max_size=5),
    max_leaves=30,
)


@example("a,b", 0, 9)
@given(JSON_VALUES, st.integers(0, 20), st.integers(1, 9))
def test_parts_are_counted_outside_of_texts_wherever_the_body_is_cut(value, most, at_a_time):
    body = json.dumps(value)
    parts = sum(map(re.sub(r'"(?:[^"\\]|\\.)*"', "", body).count, "{[,:"))

    assert has_many_parts(body.encode(), most, at_a_time) == (parts > most)


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
