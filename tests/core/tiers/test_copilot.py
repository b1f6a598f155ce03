from __future__ import annotations

import asyncio
import math

import pytest

from gateway_core.errors import (
    QuotaUsedUp,
    TierBroken,
    TierUnavailable,
    TierUnreachable,
    Unauthorized,
)
from gateway_core.testing.clock import ManualClock
from gateway_core.testing.simulators.copilot import Account
from gateway_core.testing.simulators.copilot import Model as Row
from gateway_core.tiers.copilot.models import Endpoints, Model, choose
from gateway_core.types import Message, Prompt, Reason

from .asking import CHAT_MODEL, RESPONSES_MODEL, TOKEN, WALL, Asked, a_prompt, ask, refusal

both_wires = pytest.mark.parametrize("model", [CHAT_MODEL, RESPONSES_MODEL])


@both_wires
async def test_f1_an_answer_on_each_wire_with_usage_and_credits(copilot, tier_of, model):
    found = await ask(tier_of(copilot, copilot_model=model))
    assert found.text == copilot.answer
    assert (found.finish_reason, found.sent, found.notes) == ("stop", 1, [])
    usage = found.chunks[-1].usage
    assert usage is not None
    assert usage.output_tokens
    assert usage.credits == pytest.approx(0.0042)
    assert next(chunk.model for chunk in found.chunks if chunk.model) == model
    headers = copilot.paid_calls[0].headers
    assert headers["user-agent"].startswith("ai-gateway")
    assert headers["x-initiator"] == "user"
    assert not {"editor-version", "copilot-integration-id"} & set(headers)


async def test_without_a_model_the_accounts_default_answers(copilot, tier_of):
    found = await ask(tier_of(copilot))
    assert (found.text, copilot.paid_calls[0].path) == (copilot.answer, "/responses")


async def test_system_and_earlier_turns_reach_the_responses_wire(copilot, tier_of):
    turns = (Message("system", "be short"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    await ask(tier_of(copilot), Prompt(turns, max_tokens=50))
    body = copilot.paid_calls[0].body
    assert body["instructions"] == "be short"
    assert [(item["role"], item["content"]) for item in body["input"]] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert (body["max_output_tokens"], body["store"], "temperature" in body) == (50, False, False)


async def test_the_temperature_is_left_out_where_it_is_not_taken_and_that_is_told(copilot, tier_of):
    found = await ask(tier_of(copilot), a_prompt(temperature=0.2))
    assert any("temperature" in note for note in found.notes)


GOOD = [
    "thinking:0.05", "whole_reply", "crlf", "cr_only", "bom", "bare_colon", "split_bytes:1", "u2028", "data_after_done",
    "no_done", "close_delimited", "crlf+split_bytes:1", "repeat_sequence:5", "usage_none", "usage_separate",
]  # fmt: skip


@both_wires
@pytest.mark.parametrize("fault", GOOD)
async def test_f50_f52_f53_variants_of_a_good_stream_are_whole_answers(copilot, tier_of, model, fault):
    copilot.script(fault)
    found = await ask(tier_of(copilot, copilot_model=model))
    if fault == "u2028":
        assert "\u2028\u0085\u2029" in found.text
    else:
        assert found.text == copilot.answer
    assert found.finish_reason == "stop"


CUTS = [
    ("cut_after:10", Reason.RESET),
    ("close_after:10", Reason.TRUNCATED),
    ("end_after:10", Reason.TRUNCATED),
    ("bad_line_after:10", Reason.BAD_PAYLOAD),
    ("error_after:10", Reason.UPSTREAM_ERROR),
    ("error_first", Reason.UPSTREAM_ERROR),
    ("no_finish", Reason.TRUNCATED),
    ("long_line:2000000", Reason.TOO_LARGE),
    ("bad_schema", Reason.BAD_PAYLOAD),
    ("bad_json", Reason.BAD_PAYLOAD),
    ("empty_body", Reason.EMPTY_BODY),
    ("huge_body:20", Reason.TOO_LARGE),
    ("gzip_bomb", Reason.BAD_PAYLOAD),
    ("reset_after_request", Reason.RESET),
]  # fmt: skip


@both_wires
@pytest.mark.parametrize(("fault", "reason"), CUTS)
async def test_a_cut_is_never_a_whole_answer(copilot, tier_of, model, fault, reason):
    copilot.script(fault)
    found = await refusal(tier_of(copilot, copilot_model=model, copilot_api_base=copilot.url))  # a fresh connection
    assert found.reason is reason
    assert not found.again
    assert len(copilot.paid_calls) == 1


async def test_f52_a_gap_in_the_numbers_is_a_cut(copilot, tier_of):
    copilot.script("gap_sequence:5")
    found = await refusal(tier_of(copilot))
    assert (type(found), found.reason) == (TierBroken, Reason.TRUNCATED)
    assert found.asked.text
    assert copilot.answer.startswith(found.asked.text)


@both_wires
@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_f20_the_finish_reason_is_told(copilot, tier_of, model, reason):
    copilot.script(f"finish:{reason}")
    assert (await ask(tier_of(copilot, copilot_model=model))).finish_reason == reason


@both_wires
@pytest.mark.parametrize("fault", ["tool_call:weather", "tool_call:weather+whole_reply"])
async def test_tool_calls_have_one_shape_on_both_wires(copilot, tier_of, model, fault):
    copilot.script(fault)
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    found = await ask(tier_of(copilot, copilot_model=model), a_prompt(passthrough={"tools": tools}))
    calls = [call for chunk in found.chunks for call in chunk.tool_calls]
    assert calls[0]["function"]["name"] == "weather"
    assert "".join(call["function"].get("arguments", "") for call in calls).startswith("{")
    assert found.finish_reason == "tool_calls"


async def test_f19_a_retired_model_is_replaced_visibly_without_a_paid_call_in_vain(copilot, tier_of):
    tier = tier_of(copilot, copilot_model="gpt-4o")
    first = await ask(tier)
    assert first.text == copilot.answer
    assert "gpt-4o" in first.notes[0]
    assert RESPONSES_MODEL in first.notes[0]
    second = await ask(tier)
    assert (second.mended, len(second.notes)) == ([], 1)
    assert any("gpt-4o" in note for note in (await tier.info()).notes)


async def test_f19_a_model_retired_while_we_run_is_replaced(copilot, tier_of):
    tier = tier_of(copilot, copilot_model=CHAT_MODEL)
    await ask(tier)
    copilot.retire(CHAT_MODEL)
    found = await ask(tier)
    assert found.text == copilot.answer
    assert found.notes


async def test_a_wrong_path_is_flipped_once_and_remembered(copilot, tier_of):
    copilot.advertise_endpoints = False
    copilot.models["gpt-6-chat"] = Row("gpt-6-chat", "x", ("/chat/completions",))
    tier = tier_of(copilot, copilot_model="gpt-6-chat")
    first, second = await ask(tier), await ask(tier)
    assert (first.mended, second.mended) == ([Reason.WRONG_ENDPOINT], [])
    assert [call.path for call in copilot.calls if call.method == "POST"] == [
        "/responses",
        "/chat/completions",
        "/chat/completions",
    ]


async def test_a_seat_that_moved_to_another_host_is_found_again(copilot, tier_of):
    tier = tier_of(copilot)
    await ask(tier)
    copilot.move(TOKEN, "/business")
    found = await ask(tier)
    assert (found.text, found.mended) == (copilot.answer, [Reason.WRONG_HOST])
    assert len(copilot.calls_to("/copilot_internal/user")) == 2


async def test_50_first_questions_at_once_look_the_account_up_once(copilot, tier_of):
    tier = tier_of(copilot)
    answers: list[Asked] = await asyncio.gather(*(ask(tier) for _ in range(50)))
    assert {found.text for found in answers} == {copilot.answer}
    assert len(copilot.calls_to("/copilot_internal/user")) == 1
    assert len(copilot.calls_to("/models")) == 1


async def test_a_caller_who_leaves_does_not_stop_the_look_up_of_the_others(copilot, tier_of):
    tier = tier_of(copilot)
    first, second = asyncio.create_task(ask(tier)), asyncio.create_task(ask(tier))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).text == copilot.answer


async def test_the_list_of_models_is_kept_on_disk_for_the_next_start(copilot, tier_of, tmp_path):
    await ask(tier_of(copilot))
    await ask(tier_of(copilot))
    assert len(copilot.calls_to("/models")) == 1
    path = tmp_path / "state" / "copilot_models.json"
    assert path.stat().st_mode & 0o077 == 0
    assert TOKEN not in path.read_text()


async def test_a_stale_list_is_used_and_renewed_beside_the_request(copilot, tier_of):
    clock = ManualClock(wall=WALL)
    tier = tier_of(copilot, clock=clock)
    await ask(tier)
    clock.advance(7200)
    await ask(tier)
    for _ in range(200):
        if len(copilot.calls_to("/models")) == 2:
            break
        await asyncio.sleep(0.01)
    assert len(copilot.calls_to("/models")) == 2


async def test_with_the_login_the_list_of_its_models_is_forgotten(copilot, tier_of):
    tier = tier_of(copilot)
    await ask(tier)
    before = await tier.context_chars(a_prompt())
    tier.forget_login()

    assert before is not None
    assert await tier.context_chars(a_prompt()) is None


async def test_a_damaged_list_on_disk_is_read_anew(copilot, tier_of, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "copilot_models.json").write_text("{nonsense")
    assert (await ask(tier_of(copilot))).text == copilot.answer


async def test_a_broken_list_of_models_does_not_keep_us_from_asking(copilot, tier_of):
    copilot.script("status_500@/models")
    assert (await ask(tier_of(copilot))).text == copilot.answer


async def test_f16_used_up_credits_cost_one_paid_call_and_wait_for_the_reset(copilot, tier_of):
    copilot.tokens[TOKEN] = Account(credits=0.0)
    tier = tier_of(copilot)
    with pytest.raises(QuotaUsedUp) as raised:
        await ask(tier)
    assert raised.value.wait == pytest.approx(8 * 86_400.0, abs=1.0)
    assert len([call for call in copilot.calls if call.method == "POST"]) == 1
    assert not await tier.quota_is_back()
    copilot.tokens[TOKEN] = Account(credits=5.0)
    assert await tier.quota_is_back()


async def test_f14_f15_a_revoked_token_is_refused_after_one_second_look(copilot, tier_of):
    copilot.revoke(TOKEN)
    found = await refusal(tier_of(copilot, copilot_api_base=copilot.url))
    assert (type(found), found.wait) == (Unauthorized, math.inf)
    assert "login" in found.cure


async def test_f14_a_token_renewed_elsewhere_is_picked_up_at_once(copilot, tier_of):
    issued = ["gho_first00000000000000000000000000000"]
    tier = tier_of(copilot, github_copilot_token=None, gh=lambda: issued[-1])
    await tier.prepare()
    before = tier.identity
    assert (await ask(tier)).text == copilot.answer
    copilot.revoke(issued[0])
    issued.append("gho_second0000000000000000000000000000")
    found = await asyncio.gather(*(ask(tier) for _ in range(20)))
    assert {asked.text for asked in found} == {copilot.answer}
    assert tier.identity != before


async def test_a_refused_token_gives_way_to_the_next_source_and_reset_brings_it_back(copilot, tier_of):
    copilot.revoke(TOKEN)
    good = "gho_good00000000000000000000000000000"
    tier = tier_of(copilot, gh=lambda: good)
    first, second = await ask(tier), await ask(tier)
    assert (first.text, first.mended, second.mended) == (copilot.answer, [Reason.UNAUTHORIZED], [])
    assert any("GITHUB_COPILOT_TOKEN" in note for note in (await tier.info()).notes)
    tier.forget()
    await tier.prepare()
    assert (await ask(tier)).mended == [Reason.UNAUTHORIZED]


async def test_an_account_without_copilot_is_told_githubs_reason(copilot, tier_of):
    copilot.tokens[TOKEN] = Account(has_copilot=False)
    found = await refusal(tier_of(copilot))
    assert (type(found), found.reason) == (Unauthorized, Reason.FORBIDDEN)
    assert "https://github.com/settings/copilot" in found.cure


async def test_a_fine_grained_token_brings_its_integration_id(copilot, tier_of):
    token = "github_pat_11AAAAAA0000000000000000000000"
    tier = tier_of(copilot, github_copilot_token=token)
    assert (await ask(tier)).text == copilot.answer
    assert copilot.paid_calls[0].headers["copilot-integration-id"] == "copilot-developer-cli"


async def test_a_classic_token_is_refused_here_without_a_call(copilot, tier_of):
    tier = tier_of(copilot, github_copilot_token="ghp_0000000000000000000000000000000000")
    await tier.prepare()
    missing = tier.missing()
    assert missing is not None
    assert "ghp_" in missing.why
    assert "gh auth login" in missing.cure
    with pytest.raises(TierUnavailable):
        await ask(tier)
    assert not (await tier.info()).configured
    assert copilot.calls == []


async def test_without_any_token_nothing_is_asked(copilot, tier_of):
    tier = tier_of(copilot, github_copilot_token=None)
    await tier.prepare()
    assert tier.missing() is not None
    assert tier.identity is None
    await tier.info()
    assert copilot.calls == []


async def test_status_shows_plan_credits_and_models_for_free(copilot, tier_of):
    found = await tier_of(copilot).info()
    assert found.details["plan"] == "individual"
    assert found.details["credits_left"] == pytest.approx(1180.4)
    assert found.details["resets_on"] == "2026-12-01"
    assert RESPONSES_MODEL in found.models
    assert "claude-haiku-5.5" not in found.models
    assert copilot.paid_calls == []
    assert TOKEN not in repr(found)


async def test_status_is_complete_enough_when_nobody_answers(copilot, tier_of):
    tier = tier_of(copilot)
    copilot.stop()
    assert (await tier.info()).configured


async def test_f2_a_refused_connection_is_unreachable(copilot, tier_of):
    tier = tier_of(copilot)
    await ask(tier)
    copilot.stop()
    with pytest.raises(TierUnreachable) as raised:
        await ask(tier)
    assert raised.value.reason is Reason.CONNECT_REFUSED


async def test_f6_a_connection_closed_while_idle_is_no_failure(copilot, tier_of):
    tier = tier_of(copilot)
    await ask(tier)
    copilot.drop_connections()
    assert (await ask(tier)).text == copilot.answer


async def test_f18_the_window_of_the_model_is_known_and_an_overflow_is_trimmed_once(copilot, tier_of):
    tier = tier_of(copilot, copilot_model=CHAT_MODEL)
    await tier.info()
    assert await tier.context_chars(a_prompt()) == 600_000
    copilot.script("context_too_long")
    found = await ask(tier, a_prompt("long", refit=lambda chars: a_prompt("short")))
    assert found.mended == [Reason.CONTEXT_TOO_LONG]


async def test_a_short_rate_limit_is_waited_out(copilot, tier_of):
    copilot.script("status_429:retry_after_ms=20")
    assert (await ask(tier_of(copilot))).mended == [Reason.RATE_LIMITED]


# Exchange


async def test_50_questions_at_once_are_one_exchange_though_our_calendar_is_wrong(copilot, tier_of):
    copilot.clock_skew = -7200.0
    tier = tier_of(copilot, copilot_auth="exchange", github_copilot_token="ghu_" + "x" * 36)
    answers = await asyncio.gather(*(ask(tier) for _ in range(50)))
    assert {found.text for found in answers} == {copilot.answer}
    assert len(copilot.calls_to("/copilot_internal/v2/token")) == 1
    headers = copilot.paid_calls[0].headers
    assert headers["editor-version"].startswith("ai-gateway")


async def test_f14_bearers_that_expire_in_flight_are_one_exchange_and_no_visible_error(copilot, tier_of):
    tier = tier_of(copilot, copilot_auth="exchange", github_copilot_token="ghu_" + "x" * 36)
    await ask(tier)
    copilot.expire_tokens()
    answers = await asyncio.gather(*(ask(tier) for _ in range(100)))
    assert {found.text for found in answers} == {copilot.answer}
    assert len(copilot.calls_to("/copilot_internal/v2/token")) == 2


async def test_auto_exchanges_an_editors_token_once_it_is_refused_as_it_is(copilot, tier_of):
    tier = tier_of(copilot, copilot_auth="auto", github_copilot_token="ghu_" + "x" * 36)
    assert (await ask(tier)).text == copilot.answer
    assert copilot.calls_to("/copilot_internal/v2/token") == [], "the token itself is taken"
    copilot.script("authentication_failed", "ok")
    assert (await ask(tier)).text == copilot.answer
    assert len(copilot.calls_to("/copilot_internal/v2/token")) == 1
    assert copilot.paid_calls[-1].headers["authorization"].startswith("Bearer tid=")


async def test_direct_never_exchanges(copilot, tier_of):
    tier = tier_of(copilot, copilot_auth="direct", github_copilot_token="ghu_" + "x" * 36)
    copilot.script(*["authentication_failed"] * 5)
    assert isinstance(await refusal(tier), Unauthorized)
    assert copilot.calls_to("/copilot_internal/v2/token") == []


async def test_a_bearer_is_renewed_beside_the_requests_before_it_ends(copilot, tier_of):
    clock = ManualClock(wall=WALL)
    tier = tier_of(copilot, clock=clock, copilot_auth="exchange", github_copilot_token="ghu_" + "x" * 36)
    await ask(tier)
    clock.advance(1300)
    await ask(tier)
    for _ in range(200):
        if len(copilot.calls_to("/copilot_internal/v2/token")) == 2:
            break
        await asyncio.sleep(0.01)
    assert len(copilot.calls_to("/copilot_internal/v2/token")) == 2


async def test_a_token_of_gh_cannot_be_exchanged_and_the_cure_is_told(copilot, tier_of):
    found = await refusal(tier_of(copilot, copilot_auth="exchange"))
    assert isinstance(found, Unauthorized)
    assert "COPILOT_AUTH=direct" in found.cure


# Courtesy


async def test_more_than_a_minute_allows_goes_elsewhere_uncharged(copilot, tier_of):
    clock = ManualClock(wall=WALL)
    tier = tier_of(copilot, clock=clock, copilot_max_rpm=3)
    for _ in range(3):
        await ask(tier)
    with pytest.raises(TierUnavailable) as raised:
        await ask(tier)
    assert raised.value.reason is Reason.COURTESY_LIMIT
    clock.advance(61)
    assert (await ask(tier)).text == copilot.answer


async def test_more_than_two_at_a_time_wait_and_a_place_is_given_back(copilot, tier_of):
    tier = tier_of(copilot, copilot_max_in_flight=2)
    copilot.script("hang", "hang")
    hanging = [asyncio.create_task(ask(tier)) for _ in range(2)]
    for _ in range(500):
        if len(copilot.paid_calls) == 2:
            break
        await asyncio.sleep(0.01)
    with pytest.raises(TierUnavailable) as raised:
        await ask(tier)
    assert raised.value.reason is Reason.COURTESY_LIMIT
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert (await ask(tier)).text == copilot.answer


# Choices without I/O


@pytest.mark.parametrize(
    ("name", "endpoints", "path"),
    [
        ("gpt-6-luna", (), "/responses"),
        ("gpt-5.3-codex", (), "/responses"),
        ("mai-code-1.1-flash", (), "/responses"),
        ("gemini-3.8-flash", (), "/chat/completions"),
        ("claude-haiku-5.5", ("/v1/messages", "/chat/completions"), "/chat/completions"),
        ("kimi-k3", ("/responses", "ws:/responses"), "/responses"),
        ("gpt-6-luna", ("/chat/completions",), "/chat/completions"),
        ("gpt-6-luna", ("/responses", "/chat/completions"), "/responses"),
    ],
)
def test_the_path_is_advertised_else_by_family(name, endpoints, path):
    assert Endpoints().of(name, Model(name, endpoints)) == path


def test_what_was_learned_wins_and_two_refusals_end_the_flipping():
    endpoints = Endpoints()
    assert endpoints.refused("gpt-6-luna", "/responses")
    assert endpoints.of("gpt-6-luna", Model("gpt-6-luna", ("/responses",))) == "/chat/completions"
    assert not endpoints.refused("gpt-6-luna", "/chat/completions")


def test_the_default_is_the_accounts_else_one_we_know():
    rows = [Model("zeta"), Model("gemini-3.8-flash"), Model("other", is_default=True)]
    assert choose(rows).id == "other"
    assert choose(rows[:2]).id == "gemini-3.8-flash"
    assert choose(rows[:1]).id == "zeta"
    assert choose([]) is None
