"""The documented endpoints on a good day."""

from __future__ import annotations

import base64

import pytest

from gateway_core import Message, Usage
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk

from .calling import calling


async def test_a_plain_reply_has_exactly_the_three_documented_fields():
    async with calling(ScriptedTier("copilot", ["Par", "is"])) as client:
        reply = await client.post("/ai/query", json={"prompt": "What is the capital of France?"})

    assert reply.status_code == 200
    assert reply.json() == {"response": "Paris", "backend": "copilot", "state": "closed"}
    assert reply.headers["x-ai-gateway-backend"] == "copilot"
    assert reply.headers["content-type"] == "application/json"


async def test_an_answer_cut_by_its_longest_length_says_so_beside_the_three_fields():
    script = [Chunk("The sky"), Chunk(finish_reason="length")]
    async with calling(ScriptedTier("copilot", script)) as client:
        reply = await client.post("/ai/query", json={"prompt": "Why?", "max_tokens": 2})

    assert set(reply.json()) == {"response", "backend", "state"}
    assert reply.headers["x-ai-gateway-finish-reason"] == "length"


async def test_health_has_exactly_the_five_documented_fields():
    async with calling(ScriptedTier("copilot"), ScriptedTier("cloud")) as client:
        reply = await client.get("/health")

    assert reply.status_code == 200
    assert reply.json() == {
        "status": "ok",
        "copilot_available": True,
        "cloud_available": True,
        "local_available": False,
        "circuit_state": "closed",
    }


async def test_health_is_200_when_nobody_would_answer():
    async with calling() as client:
        reply = await client.get("/health")

    assert (reply.status_code, reply.json()["status"]) == (200, "degraded")


async def test_reset_says_ok_and_needs_no_body():
    async with calling() as client:
        reply = await client.post("/admin/reset")

    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


async def test_status_tells_every_tier_with_its_circuit():
    async with calling(ScriptedTier("copilot"), ScriptedTier("local")) as client:
        told = (await client.get("/status")).json()

    assert [(t["backend"], t["mode"], t["circuit"]["state"]) for t in told["tiers"]] == [
        ("copilot", "copilot", "closed"),
        ("local", "ollama", "closed"),
    ]


async def test_every_option_reaches_the_tier():
    copilot, cloud = ScriptedTier("copilot"), ScriptedTier("cloud")
    options = {
        "prompt": "And Italy?",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "France?"}, {"role": "assistant", "content": "Paris"}],
        "tier": "cloud",
        "model": "m-1",
        "max_tokens": 20,
        "temperature": 0,
        "deadline_s": 5,
        "on_interrupt": "stop",
    }
    async with calling(copilot, cloud) as client:
        reply = await client.post("/ai/query", json=options)

    assert reply.json()["backend"] == "cloud"
    (prompt,) = cloud.prompts
    assert prompt.messages == (
        Message("system", "Be brief."),
        Message("user", "France?"),
        Message("assistant", "Paris"),
        Message("user", "And Italy?"),
    )
    assert (prompt.model, prompt.max_tokens, prompt.temperature) == ("m-1", 20, 0)
    assert copilot.calls == 0


async def test_null_means_unset():
    names = "system messages tier model local_only max_tokens temperature deadline_s on_interrupt stream details"
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", json={"prompt": "x", **dict.fromkeys(names.split())})

    assert reply.json() == {"response": "ok", "backend": "copilot", "state": "closed"}


async def test_details_say_who_was_asked_and_what_it_took():
    copilot = ScriptedTier("copilot", [Chunk("hi", model="m-9"), Chunk(finish_reason="stop", usage=Usage(3, 1))])
    async with calling(copilot) as client:
        told = (await client.post("/ai/query", json={"prompt": "x", "details": True})).json()

    assert set(told) == {"response", "backend", "state", "details"}
    details = told["details"]
    assert (details["mode"], details["model"], details["finish_reason"]) == ("copilot", "m-9", "stop")
    assert details["segments"] == [{"backend": "copilot", "start": 0, "end": 2}]
    assert details["attempts"][0].items() >= {"backend": "copilot", "outcome": "answered", "reason": None}.items()
    assert details["usage"]["input_tokens"] == 3


async def test_unknown_fields_are_ignored_and_named():
    async with calling(ScriptedTier("copilot")) as client:
        told = (
            await client.post(
                "/ai/query",
                json={
                    "prompt": "x",
                    "details": True,
                    "top_p": 1,
                    "messages": [{"role": "user", "content": "a", "id": 7}],
                },
            )
        ).json()

    assert told["details"]["notes"] == ["unknown fields were ignored: top_p, messages[0].id"]


async def test_unknown_fields_without_details_change_nothing():
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", json={"prompt": "x", "top_p": 1})

    assert reply.json() == {"response": "ok", "backend": "copilot", "state": "closed"}


async def test_documents_are_texts_named_texts_or_files():
    local = ScriptedTier("local", ["30 days"], needs_documents=False)
    documents = [
        "Refunds within 30 days.",
        {"text": "No refunds later.", "name": "later.txt"},
        {"name": "more.txt", "content_base64": base64.b64encode("Öffnung 9 Uhr".encode()).decode()},
    ]
    async with calling(local) as client:
        reply = await client.post("/ai/query/rag", json={"prompt": "Refunds?", "documents": documents})

    assert reply.json() == {"response": "30 days", "backend": "local", "state": "closed"}


@pytest.mark.parametrize("accept", ["text/html", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"])
async def test_the_root_is_an_index_when_no_page_is_installed(accept):
    async with calling() as client:
        reply = await client.get("/", headers={"accept": accept})

    assert reply.status_code == 200
    assert "POST /ai/query" in reply.json()["endpoints"]


async def test_text_of_any_kind_comes_through():
    odd = "naïve 日本 \u2028 \u0085 \x7f 🙂 \ud83d"
    async with calling(ScriptedTier("copilot", [odd])) as client:
        whole = await client.post("/ai/query", json={"prompt": "x"})
        grown = await client.post("/ai/query", json={"prompt": "x", "stream": True})

    assert whole.json()["response"] == odd.replace("\ud83d", "?")
    assert len(grown.text.splitlines()) == len(grown.text.split("\n")) - 1


@pytest.mark.parametrize("chars", [50, 199, 2_000_001])
async def test_a_context_too_small_to_hold_a_passage_is_refused_by_its_field(chars: int):
    async with calling(tier := ScriptedTier("copilot")) as client:
        body = {"prompt": "hi", "documents": ["A text. " * 100], "max_context_chars": chars}
        reply = await client.post("/ai/query/rag", json=body)

    assert (reply.status_code, reply.json()["field"], tier.calls) == (422, "max_context_chars", 0)


async def test_where_not_one_passage_fits_the_refusal_names_how_much_would_do():
    columns = ",".join(f"a_rather_long_name_of_column_{n}" for n in range(12))
    rows = "\n".join(f"alpha {n}," * 12 for n in range(100))
    table = {"name": "a-name-that-is-nearly-forty-letters.csv", "text": f"{columns}\n{rows}"}
    body = {"prompt": "How many records are there?", "documents": [table], "max_context_chars": 200}
    async with calling(tier := ScriptedTier("copilot", ["99 [1]."])) as client:
        refused = (await client.post("/ai/query/rag", json=body)).json()
        calls = tier.calls
        enough = int(refused["cure"].partition(" ")[0].replace(",", ""))
        reply = await client.post("/ai/query/rag", json={**body, "max_context_chars": enough})

    assert (refused["status"], refused["field"], calls) == (422, "max_context_chars", 0)
    assert "not one passage" in refused["detail"]
    assert reply.status_code == 200


async def test_a_document_that_could_not_be_read_is_named_in_a_header_beside_the_three_fields():
    program = {"name": "ré\r\nsum.exe", "content_base64": base64.b64encode(b"MZ\x00\x01\x02" * 20).decode()}
    good = {"prompt": "What is blue?", "documents": ["The sky is blue."]}
    mixed = {**good, "documents": [*good["documents"], program]}
    async with calling(ScriptedTier("copilot", ["The sky [1]."], ["The sky [1]."])) as client:
        plain = await client.post("/ai/query/rag", json=good)
        reply = await client.post("/ai/query/rag", json=mixed)

    assert set(reply.json()) == {"response", "backend", "state"}
    assert reply.headers["x-ai-gateway-notes"] == "1 document left out: r???sum.exe (is a program, not text)"
    assert "x-ai-gateway-notes" not in plain.headers


async def test_the_header_of_documents_left_out_stays_short():
    programs = [
        {"name": f"{n}{'x' * 300}.exe", "content_base64": base64.b64encode(b"MZ\x00\x01\x02" * 20).decode()}
        for n in range(9)
    ]
    async with calling(ScriptedTier("copilot", ["The sky [1]."])) as client:
        body = {"prompt": "What is blue?", "documents": ["The sky is blue.", *programs]}
        told = (await client.post("/ai/query/rag", json=body)).headers["x-ai-gateway-notes"]

    assert told.startswith("9 documents left out: 0xxx")
    assert told.endswith("; and 6 more")
    assert len(told) <= 500
