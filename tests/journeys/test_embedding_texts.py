"""Texts to vectors by simulated providers on real sockets: who makes them, and what happens when they cannot."""

from __future__ import annotations

import asyncio

import pytest

from gateway_core import AllTiersFailed, PromptRefused

from .conftest import Build, Providers


async def test_the_cloud_embeds_and_counts(gateway: Build, providers: Providers):
    found = await gateway().embed(["one", "two"], dimensions=8)

    (call,) = providers.cloud.calls_to("/v1/embeddings")
    assert (call.body["input"], call.body["dimensions"]) == (["one", "two"], 8)
    assert (found.backend, found.model, len(found.vectors)) == ("cloud", "text-embedding-3-small", 2)
    assert found.usage.input_tokens == 2
    assert [(a.backend, a.outcome, a.may_have_billed) for a in found.attempts][-1] == ("cloud", "answered", True)


async def test_ollama_embeds_by_what_it_has_installed(gateway: Build, providers: Providers):
    found = await gateway().embed(["one"], tier="local")

    assert (found.backend, found.model) == ("local", "all-minilm:latest")
    assert not providers.cloud.calls_to("/v1/embeddings")


async def test_without_a_cloud_this_laptop_embeds(gateway: Build, providers: Providers):
    found = await gateway(openai_api_key=None, cloud_api_key=None).embed(["one"])

    assert found.backend == "local"
    assert [a.reason for a in found.attempts] == ["unsupported", "not_configured", None]


@pytest.mark.parametrize(
    ("fault", "reason", "may_have_billed"),
    [
        ("status_500", "upstream_5xx", False),
        ("status_429:retry_after=60", "rate_limited", False),
        ("status_401", "unauthorized", False),
        ("hang", "first_token_timeout", True),
        ("bad_schema", "bad_payload", False),
        ("reset_after_request", "reset", True),
    ],
)
async def test_a_fault_of_the_cloud_is_told_and_no_other_model_stands_in(
    gateway: Build, providers: Providers, fault: str, reason: str, may_have_billed: bool
):
    providers.cloud.script(free=fault, then=fault)
    with pytest.raises(AllTiersFailed) as caught:
        await gateway().embed(["one"])

    cloud = next(a for a in caught.value.attempts if a.backend == "cloud")
    assert (cloud.reason, cloud.may_have_billed) == (reason, may_have_billed)
    assert not providers.ollama.calls_to("/api/embed")


async def test_the_deadline_holds(gateway: Build, providers: Providers):
    providers.cloud.script(free="hang", then="hang")
    asked = gateway(first_token_timeout=30, stall_timeout=30)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(AllTiersFailed) as caught:
        await asked.embed(["one"], deadline_s=0.5)

    assert asyncio.get_running_loop().time() - begun < 3
    assert [a.reason for a in caught.value.attempts if a.backend == "cloud"] == ["deadline"]


async def test_what_the_provider_refuses_is_the_callers_fault(gateway: Build, providers: Providers):
    providers.cloud.script(free="status_400", then="status_400")
    with pytest.raises(PromptRefused):
        await gateway().embed(["one"])


async def test_a_named_model_is_asked_of_whoever_has_it(gateway: Build, providers: Providers):
    found = await gateway(openai_api_key=None).embed(["one"], model="all-minilm")

    assert (found.backend, found.model) == ("local", "all-minilm:latest")
