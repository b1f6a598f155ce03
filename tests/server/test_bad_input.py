"""Bad input is 4xx with a problem that names the field, never a 500, and never repeats what was sent."""

from __future__ import annotations

import json
import time

import pytest
from pydantic import ValidationError

from gateway_core import PromptRefused
from gateway_core.testing import ScriptedTier
from server.surfaces.chat_completions import ChatBody
from server.surfaces.messages import MessagesBody
from server.surfaces.ollama import OllamaChatBody

from .calling import JSON, calling

DEEP = b"[" * 90_000 + b"]" * 90_000


def bodies() -> list[object]:
    def body(content: bytes, field: str, id: str) -> object:
        return pytest.param(content, field, id=id)

    def sent(field: str, id: str, **fields: object) -> object:
        return body(json.dumps({"prompt": "x", **fields}).encode(), field, id)

    return [
        body(b"", "body", "nothing"),
        body(b"{", "body", "half an object"),
        body(b"null", "body", "null"),
        body(b'["prompt"]', "body", "a list"),
        body(b'{"prompt":"\xff"}', "body", "not UTF-8"),
        body(b'{"prompt":"x","z":' + DEEP + b"}", "body", "endlessly deep"),
        body(b'{"prompt":"x","z":' + b"9" * 10_000 + b"}", "body", "an endless number"),
        body(b'{"prompt":"\\ud800"}', "prompt", "half a surrogate pair"),
        body(b'{"prompt":"x","system":"a\\udc00b"}', "system", "half a pair elsewhere"),
        body(b'{"prompt":"a\\u0000b"}', "prompt", "NUL"),
        body(b"{}", "prompt", "no prompt"),
        sent("prompt", "an empty prompt", prompt=" \n"),
        sent("prompt", "a prompt that is a number", prompt=3),
        sent("prompt", "a prompt that is null", prompt=None),
        sent("tier", "an unknown tier", tier="moon"),
        sent("tier", "a cloud tier under local_only", tier="cloud", local_only=True),
        sent("max_tokens", "no tokens", max_tokens=0),
        sent("max_tokens", "tokens as text", max_tokens="10"),
        sent("temperature", "too hot", temperature=9),
        body(b'{"prompt":"x","temperature":NaN}', "temperature", "not a number"),
        sent("deadline_s", "no time", deadline_s=0),
        body(b'{"prompt":"x","deadline_s":Infinity}', "deadline_s", "endless time"),
        sent("on_interrupt", "an unknown policy", on_interrupt="shrug"),
        sent("stream", "a stream that is a text", stream="yes"),
        sent("messages[1].role", "an unknown role", messages=[{"role": "user", "content": "a"}, {"role": "x"}]),
        sent("messages[0].content", "a turn without text", messages=[{"role": "user"}]),
        sent("messages[0]", "NUL in a turn", messages=[{"role": "user", "content": "\0"}]),
    ]


@pytest.mark.parametrize(("body", "field"), bodies())
async def test_f91_a_bad_body_is_422_and_names_the_field(body, field):
    copilot = ScriptedTier("copilot")
    async with calling(copilot) as client:
        reply = await client.post("/ai/query", content=body, headers=JSON)

    problem = reply.json()
    assert (reply.status_code, problem["status"], problem["field"]) == (422, 422, field)
    assert reply.headers["content-type"] == "application/problem+json"
    assert set(problem) == {
        "type", "title", "status", "detail", "code", "attempts", "cure", "retry_after", "field",
    }  # fmt: skip
    assert field.removeprefix("messages") in problem["detail"]
    assert problem["cure"]
    assert copilot.calls == 0


@pytest.mark.parametrize(
    ("documents", "field"),
    [
        pytest.param([], "documents", id="none"),
        pytest.param(None, "documents", id="null"),
        pytest.param("text", "documents", id="not a list"),
        pytest.param(["a", 3], "documents[1]", id="a number"),
        pytest.param([{"name": "a"}], "documents[0].text", id="no text"),
        pytest.param([{"text": 3}], "documents[0].text", id="a text that is a number"),
        pytest.param([{"name": "a", "content_base64": "%"}], "documents[0].content_base64", id="not base64"),
        pytest.param([{"content_base64": ""}], "documents[0].name", id="a file without a name"),
        pytest.param([["a"]], "documents[0]", id="a list in the list"),
    ],
)
async def test_f90_bad_documents_are_422_and_named(documents, field):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query/rag", json={"prompt": "x", "documents": documents})

    assert (reply.status_code, reply.json()["field"]) == (422, field)
    assert reply.json()["cure"]


@pytest.mark.parametrize(
    ("body", "detail", "cure"),
    [
        ({"documents": []}, "documents is empty", "send at least one text, or use /ai/query"),
        ({}, "documents is missing", "send at least one text, or use /ai/query"),
        (
            {"documents": [5]},
            'documents[0] must be a text, {"text", "name"} or {"name", "content_base64"}',
            "correct documents[0]; docs/rest.md tells what is taken",
        ),
        ({"documents": ["a"], "max_tokens": 0}, None, "correct max_tokens; docs/rest.md tells what is taken"),
        (
            {"documents": [{"name": "a", "content_base64": "%"}]}, None,
            "send the file's bytes in base64, or its text as a document",
        ),
    ],
)  # fmt: skip
async def test_the_cure_of_a_wrong_field_can_be_followed(body, detail, cure):
    async with calling(ScriptedTier("copilot")) as client:
        problem = (await client.post("/ai/query/rag", json={"prompt": "x", **body})).json()

    assert problem["cure"] == cure
    assert detail in (None, problem["detail"])


async def test_too_deep_a_body_is_told_as_such():
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", content=b'{"prompt":"x","z":' + DEEP + b"}", headers=JSON)

    assert (reply.json()["detail"], reply.json()["cure"]) == (
        "the body is nested too deeply", "nest lists and objects at most 200 deep",
    )  # fmt: skip


async def test_a_document_that_cannot_be_read_is_named_with_a_cure():
    documents = [{"name": "a.pdf", "content_base64": "JVBERi0xLjQ="}]
    async with calling(ScriptedTier("copilot")) as client:
        problem = (await client.post("/ai/query/rag", json={"prompt": "x", "documents": documents})).json()

    assert (problem["code"], problem["field"]) == ("document_unreadable", "documents[0]")
    assert problem["cure"]


async def test_a_providers_refusal_comes_with_a_cure():
    copilot = ScriptedTier("copilot", [PromptRefused("copilot refused the request")])
    async with calling(copilot) as client:
        problem = (await client.post("/ai/query", json={"prompt": "x"})).json()

    assert (problem["code"], problem["cure"]) == (
        "prompt_refused", "change the request, or ask another tier by its name",
    )  # fmt: skip


async def test_an_empty_list_of_documents_is_told_in_plain_words():
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query/rag", json={"prompt": "x", "documents": []})

    assert reply.json()["detail"] == "documents is empty"


async def test_f91_a_prompt_of_5_mb_is_413():
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", json={"prompt": "x" * 5_000_000})

    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")
    assert "2 MB" in reply.json()["detail"]


async def test_f91_a_body_is_counted_while_it_arrives_whatever_it_declares():
    async def endless():
        for _ in range(1000):
            yield b"x" * 10_000

    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", content=endless(), headers=JSON)

    assert reply.status_code == 413


async def test_documents_may_be_larger_than_a_prompt():
    async with calling(ScriptedTier("copilot")) as client:
        fits = await client.post("/ai/query/rag", json={"prompt": "x", "documents": ["y " * 1_500_000]})
        too_large = await client.post("/ai/query/rag", json={"prompt": "x", "documents": ["y " * 17_000_000]})

    assert fits.status_code == 200
    assert too_large.status_code == 413
    assert "32 MB" in too_large.json()["detail"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonx"]
)
@pytest.mark.parametrize("path", ["/ai/query", "/ai/query/rag"])
async def test_only_json_is_read(path, kind):
    headers = {"content-type": kind} if kind else {}
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post(path, content=b'{"prompt":"x","documents":["a"]}', headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"])
async def test_json_has_several_spellings(kind):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", content=b'{"prompt":"x"}', headers={"content-type": kind})

    assert reply.status_code == 200


async def test_a_compressed_body_is_not_unpacked():
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", content=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"})

    assert reply.status_code == 415


async def test_a_byte_order_mark_does_no_harm():
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", content=b'\xef\xbb\xbf{"prompt":"x"}', headers=JSON)

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/ai/query/", 404, "not_found"),
        ("GET", "/ai/query", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/admin/reset", 405, "method_not_allowed"),
        ("GET", "/docs", 404, "not_found"),
    ],
)
async def test_what_is_not_served_is_a_problem_too(method, path, status, code):
    async with calling() as client:
        reply = await client.request(method, path)

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert ("allow" in reply.headers) == (status == 405)


async def test_an_error_of_our_own_tells_nothing_of_the_request(caplog):
    class Broken(ScriptedTier):
        def missing(self):
            raise RuntimeError("the secret prompt")

    async with calling(Broken("copilot")) as client:
        reply = await client.post("/ai/query", json={"prompt": "the secret prompt"})

    assert (reply.status_code, reply.json()["code"]) == (500, "internal")
    assert "log" in reply.json()["cure"]
    assert "secret" not in reply.text + caplog.text


@pytest.mark.parametrize(("body", "field"), bodies())
async def test_what_was_sent_is_not_repeated(body, field):
    marked = body.replace(b'"x"', b'"canary"')
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", content=marked, headers=JSON)

    assert "canary" not in reply.text


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        pytest.param(b"5," * 95_000 + b"5", "documents[0]", id="numbers"),
        pytest.param(b'"",' * 65_000 + b'""', "documents", id="empty texts"),
    ],
)
async def test_very_many_wrong_parts_hold_nobody_up(documents, told):
    body = b'{"prompt":"x","documents":[' + documents + b"]}"
    begun = time.process_time()
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query/rag", content=body, headers=JSON)

    assert (reply.status_code, reply.json()["field"]) == (422, told)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("model", [ChatBody, MessagesBody, OllamaChatBody])
@pytest.mark.parametrize("name", ["messages", "tools"])
def test_of_very_many_wrong_parts_one_is_named_and_no_list_of_all_is_made(model, name):
    body = {"model": "auto", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], name: [1] * 1000}
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(body))

    assert [error["loc"] for error in caught.value.errors()] == [(name, 0)]
