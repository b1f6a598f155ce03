"""`POST /v1/embeddings` and `POST /api/embed`: shapes, names of models, refusals."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from gateway_core import Gateway, Settings
from gateway_core.circuit import MemoryStore
from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.tiers.base import Call
from gateway_core.tiers.vectors import Embedded
from gateway_core.types import Reason
from server.repeats import LONGEST_REPLY
from tests.environments import environment

from ..calling import calling, gateway, running, until


class EmbeddingTier(ScriptedTier):
    """Embeds by its own model: a text's length, the position in the request, and one."""

    def __init__(self, name: str, model: str | None = None, *, fails: BaseException | None = None, **options: Any):
        super().__init__(name, **options)
        self.model = model
        self.fails = fails
        self.asked: list[list[str]] = []
        self.wishes: dict[str, Any] = {}
        self.pause = 0.0

    async def embedding_model(self, wanted: str | None) -> str | None:
        return self.model if wanted in (None, self.model) else None

    async def embed(self, texts: Sequence[str], model: str, call: Call, **wishes: Any) -> Embedded:
        self.asked.append(list(texts))
        self.wishes = wishes
        call.sent()
        await asyncio.sleep(self.pause)
        if self.fails:
            raise self.fails
        return Embedded([(float(len(text)), float(n), 1.0) for n, text in enumerate(texts)], 3 * len(texts))


def tiers(**options: Any) -> tuple[ScriptedTier, EmbeddingTier, EmbeddingTier]:
    return ScriptedTier("copilot"), EmbeddingTier("cloud", "c-3", **options), EmbeddingTier("local", "l-1")


class SlowStore(MemoryStore):
    async def update(self, tier: str, change: Any) -> Any:
        await asyncio.sleep(0.05)
        return await super().update(tier, change)


async def test_a_caller_who_is_cancelled_twice_has_spent_what_was_sent():
    cloud = EmbeddingTier("cloud", "c-3")
    cloud.identity, cloud.pause = "an-account", 60.0
    settings = Settings(ai_gateway_store="memory", cloud_daily_tokens=1000)
    asked = Gateway([cloud], settings=settings, store=SlowStore())
    task = asyncio.create_task(asked.embed(["x" * 400]))
    await until(lambda: bool(cloud.asked))
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asked.aclose()

    assert asked.budgets is not None
    assert (await asked.budgets.told())["cloud"]["tokens"] == 100


class LongVectors(EmbeddingTier):
    async def embed(self, texts: Sequence[str], model: str, call: Call, **wishes: Any) -> Embedded:
        await super().embed(texts, model, call, **wishes)
        return Embedded([(0.123456789012345,) * 4000] * len(texts), 3)


async def test_a_long_reply_is_told_whole_under_a_key_too():
    cloud = LongVectors("cloud", "c-3")
    async with running(gateway(ScriptedTier("copilot"), cloud)) as server, httpx.AsyncClient(timeout=60) as client:
        first, again = [
            await client.post(
                f"http://127.0.0.1:{server.port}/v1/embeddings",
                json={"input": ["a"] * 256},
                headers={"idempotency-key": "k"},
            )
            for _ in range(2)
        ]

    assert len(first.content) > LONGEST_REPLY
    assert (len(first.json()["data"]), again.content == first.content) == (256, True)
    assert len(cloud.asked) == 2  # batches of one request


async def test_one_text_and_many_in_the_words_of_openai():
    async with calling(*tiers()) as client:
        one = await client.post("/v1/embeddings", json={"input": "four", "model": "auto"})
        many = await client.post("/v1/embeddings", json={"input": ["a", "bb"]})

    told = one.json()
    extension = told.pop("ai_gateway")
    assert told == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [4.0, 0.0, 1.0]}],
        "model": "c-3",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    assert (extension["backend"], extension["model"], extension["dimensions"]) == ("cloud", "c-3", 3)
    assert [(a["backend"], a["outcome"]) for a in extension["attempts"]] == [
        ("copilot", "skipped"),
        ("cloud", "answered"),
    ]
    assert one.headers["x-ai-gateway-backend"] == "cloud"
    assert [row["embedding"][0] for row in many.json()["data"]] == [1.0, 2.0]


async def test_floats_packed_in_base64():
    async with calling(*tiers()) as client:
        reply = await client.post("/v1/embeddings", json={"input": "four", "encoding_format": "base64"})

    packed = reply.json()["data"][0]["embedding"]
    assert struct.unpack("<3f", base64.b64decode(packed)) == (4.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("model", "backend"),
    [("auto", "cloud"), (None, "cloud"), ("", "cloud"), ("cloud", "cloud"), ("cloud/c-3", "cloud"), ("c-3", "cloud"),
     ("local", "local"), ("local/l-1", "local"), ("l-1", "local"), ("auto:latest", "cloud"), ("local:latest", "local")],
)  # fmt: skip
async def test_a_name_leads_to_its_model(model, backend):
    async with calling(*tiers()) as client:
        reply = await client.post("/v1/embeddings", json={"input": "x", "model": model})

    assert reply.json()["ai_gateway"]["backend"] == backend


@pytest.mark.parametrize("model", ["text-embedding-ada-002", "cloud/other", "copilot", "local/c-3"])
async def test_no_other_model_stands_in_for_the_one_that_was_named(model):
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local) as client:
        reply = await client.post("/v1/embeddings", json={"input": "x", "model": model})

    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["type"]) == (503, "no_tier_answered", "server_error")
    assert {a["reason"] for a in error["ai_gateway"]["attempts"]} <= {"model_missing", "unsupported"}
    assert not cloud.asked + local.asked
    assert "tier/model" in error["message"] or model == "copilot"


async def test_vectors_of_another_model_never_stand_in_for_a_tier_that_fails():
    copilot, cloud, local = tiers(fails=TierBroken("cloud", "it broke", reason=Reason.UPSTREAM_5XX))
    async with calling(copilot, cloud, local) as client:
        reply = await client.post("/v1/embeddings", json={"input": "x"})

    attempts = {a["backend"]: a for a in reply.json()["error"]["ai_gateway"]["attempts"]}
    assert reply.status_code == 503
    assert (attempts["cloud"]["outcome"], attempts["cloud"]["reason"]) == ("failed", "upstream_5xx")
    assert (attempts["local"]["outcome"], attempts["local"]["reason"]) == ("skipped", "unsupported")
    assert "local/l-1" in attempts["local"]["cure"]
    assert not local.asked


async def test_the_same_model_at_the_next_tier_does_stand_in():
    cloud = EmbeddingTier("cloud", "m", fails=TierBroken("cloud", "it broke", reason=Reason.UPSTREAM_5XX))
    local = EmbeddingTier("local", "m")
    async with calling(cloud, local) as client:
        reply = await client.post("/v1/embeddings", json={"input": "x"})

    assert (reply.status_code, reply.json()["model"], reply.json()["ai_gateway"]["backend"]) == (200, "m", "local")


async def test_a_tier_that_keeps_failing_is_left_alone_and_its_answers_are_not():
    copilot, cloud, local = tiers(fails=TierBroken("cloud", "it broke", reason=Reason.UPSTREAM_5XX))
    async with calling(copilot, cloud, local) as client:
        for _ in range(5):
            last = await client.post("/v1/embeddings", json={"input": "x"})
        chat = await client.post("/ai/query", json={"prompt": "x", "tier": "cloud"})

    reasons = [a["reason"] for a in last.json()["error"]["ai_gateway"]["attempts"] if a["backend"] == "cloud"]
    assert (len(cloud.asked), reasons) == (3, ["circuit_open"])
    assert chat.status_code == 200


async def test_where_nobody_embeds_it_is_said():
    async with calling(ScriptedTier("copilot"), ScriptedTier("cloud"), ScriptedTier("local")) as client:
        openai = await client.post("/v1/embeddings", json={"input": "x"})
        ollama = await client.post("/api/embed", json={"model": "auto", "input": "x"})

    assert (openai.status_code, ollama.status_code) == (503, 503)
    assert "makes no embeddings" in openai.json()["error"]["message"]
    assert "makes no embeddings" in ollama.json()["error"]


async def test_wishes_are_passed_on_and_what_was_not_heeded_is_told():
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local) as client:
        reply = await client.post("/v1/embeddings", json={"input": "x", "dimensions": 2})

    assert cloud.wishes == {"dimensions": 2, "truncate": False}
    assert reply.json()["ai_gateway"]["notes"] == ["2 dimensions were asked for; c-3 gave 3"]


async def test_many_texts_are_asked_for_in_parts_and_come_back_in_order():
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local) as client:
        reply = await client.post("/v1/embeddings", json={"input": ["x" * (n + 1) for n in range(300)]})

    assert [len(part) for part in cloud.asked] == [128, 128, 44]
    assert [row["embedding"][0] for row in reply.json()["data"]] == [float(n + 1) for n in range(300)]
    assert reply.json()["usage"]["prompt_tokens"] == 900


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"input": [1, 2, 3]}, "input", "tokenizer"),
        ({"input": [[1, 2], [3]]}, "input", "tokenizer"),
        ({"input": {"text": "x"}}, "input", "text"),
        ({"input": 7}, "input", "text"),
        ({"input": None}, "input", "text"),
        ({}, "input", "missing"),
        ({"input": []}, "input", "empty"),
        ({"input": ""}, "input[0]", "empty"),
        ({"input": ["x", " "]}, "input[1]", "empty"),
        ({"input": ["x", "a\u0000b"]}, "input[1]", "NUL"),
        ({"input": ["x"] * 2049}, "input", "2,048"),
        ({"input": "x", "dimensions": 0}, "dimensions", "greater"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "base64"),
        ({"input": "x", "model": 3}, "model", "string"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_name(body, field, words):
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local) as client:
        reply = await client.post("/v1/embeddings", json=body)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (422, field)
    assert words in error["message"]
    assert not cloud.asked


async def test_it_wants_json_and_not_too_much_of_it():
    async with calling(*tiers()) as client:
        text = await client.post("/v1/embeddings", content=b"x", headers={"content-type": "text/plain"})
        large = await client.post("/v1/embeddings", json={"input": "x" * 8_000_001})

    assert (text.status_code, large.status_code) == (415, 413)
    assert large.json()["error"]["code"] == "too_large"


async def test_in_the_words_of_ollama():
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local) as client:
        reply = await client.post("/api/embed", content=b'{"model": "local", "input": ["a", "bb"]}')
        loaded = await client.post("/api/embed", json={"model": "local"})
        asis = await client.post("/api/embed", json={"model": "local", "input": "x", "truncate": False})

    told = reply.json()
    assert (told["model"], told["embeddings"]) == ("local", [[1.0, 0.0, 1.0], [2.0, 1.0, 1.0]])
    assert (told["prompt_eval_count"], told["ai_gateway"]["model"]) == (6, "l-1")
    assert (loaded.status_code, loaded.json()["embeddings"]) == (200, [])
    assert (asis.status_code, local.wishes["truncate"]) == (200, False)


async def test_the_same_key_is_embedded_once():
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local) as client:
        key = {"idempotency-key": "k"}
        first = await client.post("/v1/embeddings", json={"input": "x"}, headers=key)
        again = await client.post("/v1/embeddings", json={"input": "x"}, headers=key)

    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert len(cloud.asked) == 1


async def test_who_hangs_up_is_not_embedded_for():
    copilot, cloud, local = tiers()
    cloud.pause = 60
    async with running(gateway(copilot, cloud, local)) as server:
        _, writer = await server.send(server.post("/v1/embeddings", {"input": "x"}))
        await until(lambda: len(cloud.asked) == 1)
        writer.close()
        told = server.server._service.gateway.telemetry
        await until(lambda: any(h.facts["outcome"] == "cancelled" for h in told.recent("attempt")))


async def test_only_this_laptop_when_the_settings_say_so():
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local, local_only=True) as client:
        auto = await client.post("/v1/embeddings", json={"input": "x"})
        pinned = await client.post("/v1/embeddings", json={"input": "x", "model": "cloud"})

    assert auto.json()["ai_gateway"]["backend"] == "local"
    assert (pinned.status_code, pinned.json()["error"]["param"]) == (422, "tier")
    assert not cloud.asked


OPENAI = """
import openai, sys
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="unused")
many = client.embeddings.create(model="auto", input=["a", "bb"])
print([row.embedding for row in many.data], many.model, many.usage.prompt_tokens)
try:
    client.embeddings.create(model="auto", input=[1, 2])
except openai.UnprocessableEntityError as refused:
    print("tokenizer" in str(refused))
"""
OLLAMA = """
import ollama, sys
print(ollama.Client(host=sys.argv[1]).embed(model="local", input="four").embeddings)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "script", "printed"),
    [
        ("client-openai", OPENAI, "[[1.0, 0.0, 1.0], [2.0, 1.0, 1.0]] c-3 6\nTrue\n"),
        ("client-ollama", OLLAMA, "[[4.0, 0.0, 1.0]]\n"),
    ],
)
async def test_the_official_sdks_unchanged(client: str, script: str, printed: str):
    python = environment(client) / "python"
    async with running(gateway(*tiers())) as server:
        child = await asyncio.create_subprocess_exec(
            python, "-c", script, server.url, stdout=asyncio.subprocess.PIPE, env={"NO_PROXY": "*"}
        )
        out, _ = await child.communicate()

    assert out.decode() == printed


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed"])
async def test_texts_that_are_not_to_leave_the_laptop_stay(path: str):
    copilot, cloud, local = tiers()
    async with calling(copilot, cloud, local) as client:
        reply = await client.post(path, json={"input": "private", "local_only": True})

    assert (reply.status_code, cloud.asked, local.asked) == (200, [], [["private"]])
