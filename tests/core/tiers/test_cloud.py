from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway_core.errors import (
    ContextTooLong,
    PromptRefused,
    QuotaUsedUp,
    RateLimited,
    SettingsInvalid,
    TierBroken,
    TierFailed,
    TierUnavailable,
    Unauthorized,
)
from gateway_core.settings import PROVIDER_KEYS
from gateway_core.testing import OpenAISimulator
from gateway_core.testing.clock import ManualClock
from gateway_core.tiers.cloud import CloudTier, build_cloud
from gateway_core.tiers.http import Http
from gateway_core.tiers.providers import load_providers
from gateway_core.types import Reason

from .asking import a_prompt, ask, settings_for
from .conftest import a_call

KEYS = {"openai": "sk-CANARY-3f9a8b7c6d5e", "azure": "azure-key", "anthropic": "sk-ant-x", "gemini": "AIzaX"}
KEYS |= {"openrouter": "sk-or-x", "custom": "anything"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_TOKEN", "_BASE_URL", "_MODEL"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def openai() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
async def cloud_of(http: Http, tmp_path: Any) -> Callable[..., CloudTier]:
    def make(simulator: OpenAISimulator, **fields: Any) -> CloudTier:
        name = simulator.flavour
        fields = {"cloud_provider": name, "cloud_base_url": simulator.base_url} | fields
        key = PROVIDER_KEYS[name]
        fields.setdefault(key, KEYS[name])
        if name in ("azure", "custom"):
            fields.setdefault("cloud_model", next(iter(simulator.models), "m"))
        return build_cloud(settings_for(tmp_path, **fields), ManualClock(wall=1_795_392_000.0), http)

    return make


async def refusal(tier: CloudTier, prompt: Any = None) -> Any:
    with pytest.raises((TierFailed, PromptRefused)) as raised:
        await ask(tier, prompt)
    return raised.value


async def test_f1_a_streamed_answer_with_its_usage(openai, cloud_of):
    found = await ask(cloud_of(openai))
    assert found.text == openai.answer
    assert (found.finish_reason, found.sent) == ("stop", 1)
    usage = found.chunks[-1].usage
    assert usage is not None
    assert usage.output_tokens
    body = openai.paid_calls[0].body
    assert body["reasoning_effort"] == "low"
    assert "temperature" not in body


@pytest.mark.parametrize("flavour", list(KEYS))
async def test_each_provider_answers_with_its_own_header_and_body(flavour, cloud_of):
    with OpenAISimulator(flavour=flavour) as simulator:
        found = await ask(cloud_of(simulator), a_prompt(max_tokens=60, temperature=None))
        assert found.text == simulator.answer
        headers = simulator.paid_calls[0].headers
        assert ("api-key" in headers) == (flavour == "azure")
        assert ("authorization" in headers) == (flavour != "azure")


async def test_the_next_answer_uses_the_same_connection(openai, cloud_of):
    tier = cloud_of(openai)
    for _ in range(3):
        await ask(tier)
    assert {call.connection for call in openai.paid_calls} == {1}


async def test_the_temperature_is_capped_where_a_provider_caps_it(cloud_of):
    with OpenAISimulator(flavour="anthropic") as simulator:
        await ask(cloud_of(simulator), a_prompt(temperature=1.7))
        assert simulator.paid_calls[0].body["temperature"] == 1.0


VARIANTS = [
    "usage_separate", "usage_last", "usage_every", "usage_none", "thinking:0.05", "whole_reply", "crlf", "cr_only",
    "bom", "bare_colon", "split_bytes:1", "bad_utf8:3", "data_after_done", "no_done", "close_delimited",
    "wrong_type", "whole_reply+wrong_type", "crlf+split_bytes:1", "bom+cr_only+split_bytes:3",
]  # fmt: skip


@pytest.mark.parametrize("fault", VARIANTS)
@pytest.mark.parametrize("flavour", ["openai", "azure", "openrouter"])
async def test_f50_f53_variants_of_a_good_stream_are_whole_answers(flavour, fault, cloud_of):
    with OpenAISimulator(flavour=flavour) as simulator:
        simulator.script(fault)
        found = await ask(cloud_of(simulator))
    expected = simulator.answer if not fault.startswith("bad_utf8") else None
    assert expected is None or found.text == expected
    assert "after the end" not in found.text
    assert found.finish_reason == "stop"


async def test_f50_line_separators_inside_a_text_are_text(openai, cloud_of):
    openai.script("u2028+split_bytes:1")
    assert "\u2028\u0085\u2029" in (await ask(cloud_of(openai))).text


async def test_f93_reasoning_is_a_sign_of_life_without_text(openai, cloud_of):
    openai.script("thinking:0.1")
    found = await ask(cloud_of(openai))
    assert found.text == openai.answer
    assert sum(not chunk.text for chunk in found.chunks) > 2


@pytest.mark.parametrize(("flavour", "alive"), [("openrouter", True), ("openai", False)])
async def test_only_documented_comments_are_signs_of_life(serve, http, tmp_path, flavour, alive):
    async def handler(exchange: Any) -> None:
        await exchange.begin()
        await exchange.part(b": OPENROUTER PROCESSING\n\n")
        await exchange.part(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        await exchange.end()

    server = await serve(handler)
    fields = {PROVIDER_KEYS[flavour]: "key-of-test", "cloud_provider": flavour, "cloud_base_url": server.url}
    found = await ask(build_cloud(settings_for(tmp_path, **fields), ManualClock(), http))
    assert (not found.chunks[0].text) == alive


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "billed"),
    [
        ("status_500", TierBroken, Reason.UPSTREAM_5XX, True),
        ("status_502", TierBroken, Reason.UPSTREAM_5XX, True),
        ("status_503", TierBroken, Reason.UPSTREAM_5XX, True),
        ("status_504", TierBroken, Reason.UPSTREAM_5XX, True),
        ("status_408", TierBroken, Reason.UPSTREAM_5XX, False),
        ("status_409", TierBroken, Reason.UPSTREAM_5XX, False),
        ("status_424", TierBroken, Reason.UPSTREAM_5XX, False),
        ("server_overloaded", TierBroken, Reason.UPSTREAM_5XX, True),
        ("overloaded_529", TierBroken, Reason.UPSTREAM_5XX, True),
        ("capacity_498", RateLimited, Reason.RATE_LIMITED, False),
        ("rate_limit_exceeded", RateLimited, Reason.RATE_LIMITED, False),
        ("status_429", RateLimited, Reason.RATE_LIMITED, False),
        ("list_error_429", RateLimited, Reason.RATE_LIMITED, False),
        ("insufficient_quota", QuotaUsedUp, Reason.QUOTA_USED_UP, False),
        ("credit_balance_exhausted", QuotaUsedUp, Reason.QUOTA_USED_UP, False),
        ("organization_spend_limit_exceeded", QuotaUsedUp, Reason.QUOTA_USED_UP, False),
        ("project_spend_limit_exceeded", QuotaUsedUp, Reason.QUOTA_USED_UP, False),
        ("organization_usage_limit_exceeded", QuotaUsedUp, Reason.QUOTA_USED_UP, False),
        ("no_credits", QuotaUsedUp, Reason.QUOTA_USED_UP, False),
        ("invalid_api_key", Unauthorized, Reason.UNAUTHORIZED, False),
        ("list_error_400", Unauthorized, Reason.UNAUTHORIZED, False),
        ("unsupported_country", Unauthorized, Reason.FORBIDDEN, False),
        ("status_403", Unauthorized, Reason.FORBIDDEN, False),
        ("context_length_exceeded", ContextTooLong, Reason.CONTEXT_TOO_LONG, False),
        ("status_413", ContextTooLong, Reason.CONTEXT_TOO_LONG, False),
        ("html_error:401", TierBroken, Reason.PORTAL, False),
        ("html_error:403", TierBroken, Reason.PORTAL, False),
        ("html_error:429", RateLimited, Reason.RATE_LIMITED, False),
        ("html_200", TierUnavailable, Reason.PORTAL, False),
        ("status_511", TierUnavailable, Reason.PORTAL, False),
        ("redirect:http://elsewhere.example/", TierUnavailable, Reason.PORTAL, False),
        ("bad_schema", TierBroken, Reason.BAD_PAYLOAD, True),
        ("bad_json", TierBroken, Reason.BAD_PAYLOAD, True),
        ("empty_body", TierBroken, Reason.EMPTY_BODY, True),
        ("short_body+whole_reply", TierBroken, Reason.TRUNCATED, True),
        ("huge_body:20", TierBroken, Reason.TOO_LARGE, True),
        ("gzip_bomb", TierBroken, Reason.BAD_PAYLOAD, True),
        ("role_only_then_drop", TierBroken, Reason.RESET, True),
        ("cut_after:10", TierBroken, Reason.RESET, True),
        ("close_after:10", TierBroken, Reason.TRUNCATED, True),
        ("end_after:10", TierBroken, Reason.TRUNCATED, True),
        ("no_finish", TierBroken, Reason.TRUNCATED, True),
        ("bad_line_after:10", TierBroken, Reason.BAD_PAYLOAD, True),
        ("error_first", TierBroken, Reason.UPSTREAM_ERROR, True),
        ("error_after:10", TierBroken, Reason.UPSTREAM_ERROR, True),
        ("error_after:3,code=rate_limit_exceeded", TierBroken, Reason.UPSTREAM_ERROR, True),
        ("long_line:2000000", TierBroken, Reason.TOO_LARGE, True),
    ],
)  # fmt: skip
async def test_what_each_fault_means(openai, cloud_of, fault, kind, reason, billed):
    openai.script(fault)
    found = await refusal(cloud_of(openai))
    assert (type(found), found.reason, found.may_have_billed, found.again) == (kind, reason, billed, False)
    assert len(openai.paid_calls) == 1
    assert KEYS["openai"] not in f"{found} {found.detail} {found.cure}"


async def test_f10_a_503_with_retry_after_counts_and_waits(openai, cloud_of):
    openai.script("status_503:retry_after=1")
    assert (await refusal(cloud_of(openai))).wait == 1.0


async def test_f11_a_rate_limit_names_its_wait(openai, cloud_of):
    openai.script("rate_limit_exceeded")
    assert (await refusal(cloud_of(openai))).wait == 20.0


async def test_a_short_rate_limit_is_waited_out(openai, cloud_of):
    openai.script("status_429:retry_after_ms=20")
    found = await ask(cloud_of(openai))
    assert (found.text, found.mended) == (openai.answer, [Reason.RATE_LIMITED])


async def test_f12_a_rate_limit_without_a_wait_leaves_it_to_the_circuit(openai, cloud_of):
    openai.script("status_429")
    assert (await refusal(cloud_of(openai))).wait is None


async def test_f16_used_up_credit_is_looked_at_hourly(openai, cloud_of):
    openai.script("insufficient_quota")
    found = await refusal(cloud_of(openai))
    assert found.wait == 3600.0
    assert found.cure


async def test_a_page_instead_of_vectors_does_not_blame_the_key(openai, cloud_of):
    openai.script(free="html_error:401")
    with pytest.raises(TierBroken) as raised:
        await cloud_of(openai).embed(["a text"], "text-embedding-3-small", a_call())
    assert raised.value.reason is Reason.PORTAL


async def test_f15_a_refused_key_waits_for_another(openai, cloud_of):
    openai.script("invalid_api_key")
    assert (await refusal(cloud_of(openai))).wait == math.inf


@pytest.mark.parametrize("fault", ["content_policy_violation", "invalid_prompt", "invalid_request", "string_error_400"])
async def test_f17_the_callers_fault_is_told_and_names_the_tier(openai, cloud_of, fault):
    openai.script(fault)
    found = await refusal(cloud_of(openai))
    assert isinstance(found, PromptRefused)
    assert str(found).startswith("cloud")


async def test_a_refusal_that_quotes_the_prompt_is_not_repeated(openai, cloud_of):
    canary = "The launch code is CANARY-PROMPT-48151623"
    openai.script(f"status_400:message={canary}")
    assert "CANARY" not in str(await refusal(cloud_of(openai), a_prompt(canary)))


async def test_f18_a_context_too_long_is_asked_again_when_it_can_be_made_smaller(openai, cloud_of):
    openai.script("context_length_exceeded")
    prompt = a_prompt("long", refit=lambda chars: a_prompt("short"))
    found = await ask(cloud_of(openai), prompt)
    assert found.mended == [Reason.CONTEXT_TOO_LONG]


async def test_f19_a_model_that_is_gone_is_replaced_visibly_and_remembered(openai, cloud_of):
    openai.configure("models", {"gpt-6-luna": None, "text-embedding-3-small": None})
    tier = cloud_of(openai, cloud_model="gpt-4o-mini")
    found = await ask(tier)
    assert found.mended == [Reason.MODEL_GONE]
    assert "gpt-4o-mini" in found.notes[0]
    assert "gpt-6-luna" in found.notes[0]
    again = await ask(tier)
    assert (again.mended, len(again.notes)) == ([], 1)
    assert any("gpt-4o-mini" in note for note in (await tier.info()).notes)


async def test_f19_without_a_live_model_the_next_tier_is_asked(openai, cloud_of):
    openai.configure("models", {"text-embedding-3-small": None})
    found = await refusal(cloud_of(openai, cloud_model="gpt-4o-mini"))
    assert (type(found), found.reason) == (TierUnavailable, Reason.MODEL_GONE)


async def test_a_refused_parameter_is_dropped_told_and_remembered(openai, cloud_of):
    tier = cloud_of(openai)
    found = await ask(tier, a_prompt(temperature=0.3, passthrough={"top_p": 0.5}))
    assert found.mended == [Reason.PARAMETER_REFUSED]
    assert "takes no temperature" in found.notes[0]
    assert (await ask(tier, a_prompt(temperature=0.3))).mended == []


async def test_the_other_name_of_the_token_limit_is_tried(serve, http, tmp_path):
    bodies = []

    async def handler(exchange: Any) -> None:
        bodies.append(json.loads(exchange.body))
        if "max_tokens" in bodies[-1]:
            told = {"error": {"message": "x", "code": "unsupported_parameter", "param": "max_tokens"}}
            await exchange.reply(json.dumps(told).encode(), 400, content_type="application/json")
        else:
            whole = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
            await exchange.reply(json.dumps(whole).encode(), content_type="application/json")

    server = await serve(handler)
    fields = {"cloud_provider": "custom", "cloud_base_url": server.url, "cloud_model": "m"}
    await ask(build_cloud(settings_for(tmp_path, **fields), ManualClock(), http), a_prompt(max_tokens=7))
    assert bodies[1]["max_completion_tokens"] == 7


async def test_fields_of_compatible_surfaces_are_passed_on_and_never_dropped(openai, cloud_of):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    openai.script("tool_call:weather")
    wants = {"tools": tools, "user": "me", "n": 3, "stream": False, "model": "other"}
    found = await ask(cloud_of(openai), a_prompt(passthrough=wants))
    body = openai.paid_calls[0].body
    assert (body["tools"], body["user"], body["stream"]) == (tools, "me", True)
    assert (body["model"], body.get("n"), body["reasoning_effort"]) == ("gpt-6-luna", None, "none")
    assert found.finish_reason == "tool_calls"
    calls = [call for chunk in found.chunks for call in chunk.tool_calls]
    assert calls[0]["function"]["name"] == "weather"


@pytest.mark.parametrize(("told", "meant"), [("length", "length"), ("content_filter", "content_filter")])
async def test_f20_the_finish_reason_is_told(openai, cloud_of, told, meant):
    openai.script(f"finish:{told}")
    assert (await ask(cloud_of(openai))).finish_reason == meant


async def test_f26_an_empty_answer_with_an_end_is_an_answer(openai, cloud_of):
    openai.script("empty_text")
    found = await ask(cloud_of(openai))
    assert (found.text, found.finish_reason) == ("", "stop")


async def test_f6_a_connection_closed_while_idle_costs_one_more_attempt_at_most(openai, cloud_of):
    tier = cloud_of(openai)
    await ask(tier)
    openai.drop_connections()
    assert (await ask(tier)).text == openai.answer


async def test_a_model_to_be_switched_off_is_announced(openai, cloud_of):
    tier = cloud_of(openai, cloud_model="gpt-4o-mini")
    notes = (await tier.info()).notes
    assert any("2027-01-14" in note for note in notes)
    await tier.info()
    assert len(openai.calls_to("/models")) == 1
    assert openai.paid_calls == []


async def test_info_never_raises(openai, cloud_of):
    tier = cloud_of(openai)
    openai.stop()
    assert (await tier.info()).configured


@pytest.mark.parametrize(
    ("fields", "cure"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"cloud_provider": "gemini"}, "GEMINI_API_KEY"),
        ({"cloud_provider": "azure", "azure_openai_api_key": "k"}, "CLOUD_BASE_URL"),
        ({"cloud_provider": "custom", "cloud_base_url": "http://127.0.0.1:1/v1"}, "CLOUD_MODEL"),
        ({"cloud_provider": "custom", "cloud_base_url": "https://models.github.ai", "cloud_api_key": "k"}, "PROVIDER"),
        ({"openai_api_key": "two\nlines"}, "copy it"),
        ({"openai_api_key": "k", "cloud_base_url": "http://api.example/v1"}, "https"),
    ],
)
async def test_what_is_missing_and_its_cure(http, tmp_path, fields, cure):
    tier = build_cloud(settings_for(tmp_path, **fields), ManualClock(), http)
    found = tier.missing()
    assert found is not None
    assert cure in found.cure
    assert not (await tier.info()).configured


async def test_the_identity_changes_with_key_and_origin(http, tmp_path):
    def identity(**fields: Any) -> str | None:
        return build_cloud(settings_for(tmp_path, **fields), ManualClock(), http).identity

    one = identity(openai_api_key="one-key-of-mine")
    assert one == identity(openai_api_key="one-key-of-mine")
    assert one != identity(openai_api_key="another-key-of-mine")
    assert one != identity(openai_api_key="one-key-of-mine", cloud_base_url="https://x.example")
    assert one is not None
    assert "one-key" not in one
    assert identity() is None


def test_the_table_of_providers_is_complete_dated_and_can_be_overridden(tmp_path):
    table = load_providers()
    assert set(table) == set(PROVIDER_KEYS)
    assert all(entry.checked_on for entry in table.values())
    tmp_path.joinpath("providers.toml").write_text('[openai]\nmodel = "gpt-9"\n')
    assert load_providers(tmp_path)["openai"].model == "gpt-9"
    assert load_providers(tmp_path)["openai"].base_url == table["openai"].base_url
    tmp_path.joinpath("providers.toml").write_text("[openai]\nmodel = 7\n")
    with pytest.raises(SettingsInvalid, match="openai"):
        load_providers(tmp_path)
