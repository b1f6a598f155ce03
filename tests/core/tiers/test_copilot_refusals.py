"""What a refusal means: whose fault it is, how long it lasts, and what the user is told."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_core.errors import (
    ContextTooLong,
    PromptRefused,
    QuotaUsedUp,
    RateLimited,
    TierBroken,
    TierUnavailable,
    Unauthorized,
)
from gateway_core.testing.clock import ManualClock
from gateway_core.tiers.complaints import ONE_DAY as DAY
from gateway_core.tiers.complaints import Cures, complaint_of, failure_from
from gateway_core.tiers.copilot.in_the_way import is_in_the_way
from gateway_core.types import Reason

from .asking import CHAT_MODEL, WALL, ask, refusal

LOOK_UP = "/copilot_internal/user"
LOG_IN = 'run "ai-gateway login"'
SPENDING = "wait for the reset, or allow more spending"
NETWORK = "open any web page and log in to the network"
BACK = r"credits are used up, back on 2026-12-01 \(402"

# A provider's fault, our failure, its reason and wait; what the user is told, and the cure: a pattern, "" for none.
ERRORS = [
    ("token_expired", Unauthorized, Reason.UNAUTHORIZED, math.inf, "the key was refused", LOG_IN),
    ("ide_token_expired", Unauthorized, Reason.UNAUTHORIZED, math.inf, "the key was refused", LOG_IN),
    ("bad_credentials", Unauthorized, Reason.UNAUTHORIZED, math.inf, "the key was refused", LOG_IN),
    ("off_topic", PromptRefused, None, None, "refused the request .*the question is off topic", ""),
    ("invalid_prompt", PromptRefused, None, None, "refused the request .*usage policy", ""),
    ("invalid_request", PromptRefused, None, None, "refused the request .*messages: wrong type", ""),
    ("content_filter_422", PromptRefused, None, None, "refused the request .*content filtered", ""),
    ("context_too_long", ContextTooLong, Reason.CONTEXT_TOO_LONG, None, "longer than the model's window", "send less"),
    ("copilot_quota_exceeded", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * DAY, BACK, SPENDING),
    ("quota_exceeded_text", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * DAY, BACK, SPENDING),
    ("free_quota_exceeded", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * DAY, BACK, SPENDING),
    ("billing_not_configured", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * DAY, BACK, SPENDING),
    ("forbidden_policy", Unauthorized, Reason.FORBIDDEN, math.inf, "access denied by policy", "allow Copilot .*https://"),
    (
        "policy_details", Unauthorized, Reason.FORBIDDEN, math.inf, "access denied by policy",
        "^Your organization has disabled Copilot for command lines. https://docs.github.com/copilot/policies$",
    ),
    ("extension_blocked", Unauthorized, Reason.FORBIDDEN, math.inf, "blocks this program", '"ai-gateway reset"'),
    ("login_page_403", TierBroken, Reason.PORTAL, None, "proxy or login page is in the way", NETWORK),
    ("blocked_by_firewall", TierBroken, Reason.PORTAL, None, "proxy or login page is in the way", NETWORK),
    ("bad_gateway_page", TierBroken, Reason.UPSTREAM_5XX, None, r"the service failed \(502\)", ""),
    ("misdirected", TierBroken, Reason.WRONG_HOST, None, "this host does not serve the account", ""),
    ("failed_dependency", TierBroken, Reason.UPSTREAM_5XX, None, "the service failed", ""),
    ("global_rate_limit", RateLimited, Reason.RATE_LIMITED, 6.0, "too many requests .*user_global_rate_limited", ""),
    ("weekly_limit", RateLimited, Reason.RATE_LIMITED, DAY, "too many requests .*user_weekly_rate_limited", ""),
    ("model_rate_limit", RateLimited, Reason.RATE_LIMITED, 40.0, "too many requests .*user_model_rate_limited", ""),
    ("status_429", RateLimited, Reason.RATE_LIMITED, None, "too many requests", ""),
    ("client_too_old", Unauthorized, Reason.FORBIDDEN, DAY, "this version of the", "^update ai-failover-gateway$"),
    ("upstream_connect_error", TierBroken, Reason.UPSTREAM_5XX, None, "the service failed", ""),
    ("status_500", TierBroken, Reason.UPSTREAM_5XX, None, "the service failed", ""),
    ("status_503:retry_after=1", TierBroken, Reason.UPSTREAM_5XX, 1.0, "the service failed", ""),
    ("status_408", TierBroken, Reason.UPSTREAM_5XX, None, "the service failed", ""),
    ("status_409", TierBroken, Reason.UPSTREAM_5XX, None, "the service failed", ""),
    ("status_499", TierBroken, Reason.UPSTREAM_5XX, None, "the service failed", ""),
    ("html_200", TierUnavailable, Reason.PORTAL, None, "login page of the network", NETWORK),
    ("status_511", TierUnavailable, Reason.PORTAL, None, "login page of the network", NETWORK),
    ("redirect:http://elsewhere.example/", TierUnavailable, Reason.PORTAL, None, "login page of the network", NETWORK),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "kind", "reason", "wait", "told", "cure"), ERRORS)
async def test_what_each_error_means(copilot, tier_of, fault, kind, reason, wait, told, cure):
    copilot.script(fault)
    found = await refusal(tier_of(copilot, copilot_model=CHAT_MODEL))
    assert type(found) is kind
    assert len(copilot.paid_calls) == 1
    assert re.search(told, str(found))
    assert re.search(cure, found.cure) if cure else found.cure == ""
    if reason is not None:
        assert (found.reason, found.again) == (reason, False)
        assert found.wait == pytest.approx(wait, abs=1.0) if wait is not None else found.wait is None


async def test_a_kind_of_token_that_is_refused_names_the_permission_and_the_id_it_needs(copilot, tier_of):
    copilot.script(then="pat_not_supported")
    found = await refusal(tier_of(copilot, github_copilot_token="github_pat_11" + "A" * 26))
    assert (type(found), found.wait) == (Unauthorized, math.inf)
    assert "this kind of key was refused" in str(found)
    assert '"Copilot Requests"' in found.cure
    assert "copilot-developer-cli" in found.cure


async def test_credits_without_a_known_date_are_asked_for_again_after_an_hour(copilot, tier_of):
    copilot.script("quota_exceeded_text", f"status_500@{LOOK_UP}")
    found = await refusal(tier_of(copilot, copilot_api_base=copilot.url, copilot_model=CHAT_MODEL))
    assert (type(found), found.wait) == (QuotaUsedUp, 3600.0)
    assert "its credits are used up (402)" in str(found)


async def test_credits_used_up_again_after_a_reset_wait_for_the_next_one(copilot, tier_of):
    clock = ManualClock(wall=WALL)
    tier = tier_of(copilot, clock=clock, copilot_model=CHAT_MODEL)
    await ask(tier)
    clock.suspend(3600)
    clock.set_wall(WALL + 10 * DAY)
    copilot.quota_reset = WALL + 40 * DAY
    copilot.script("quota_exceeded_text")
    found = await refusal(tier)
    assert found.wait == pytest.approx(30 * DAY, abs=1.0)


def test_what_github_advises_is_one_short_line_without_the_prompt():
    long = {"message": "pay\n" * 200, "url": "javascript:alert(1)"}
    told = complaint_of(403, json.dumps({"error_details": long})).advice
    cure = failure_from("copilot", complaint_of(403, json.dumps({"error_details": long})), Cures()).cure
    assert len(told) <= 400
    assert set(cure.split()) == {"pay"}
    assert "\n" not in cure


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("bad_gateway_page", TierBroken, Reason.UPSTREAM_5XX),
        ("upstream_connect_error", TierBroken, Reason.UPSTREAM_5XX),
        ("login_page_403", TierBroken, Reason.PORTAL),
        ("blocked_by_firewall", TierBroken, Reason.PORTAL),
        ("html_200", TierUnavailable, Reason.PORTAL),
        ("github_rate_limit", RateLimited, Reason.RATE_LIMITED),
        ("bad_credentials", Unauthorized, Reason.UNAUTHORIZED),
        ("no_access", Unauthorized, Reason.FORBIDDEN),
    ],
)
async def test_what_an_error_of_the_look_up_means(copilot, tier_of, fault, kind, reason):
    copilot.script(*[f"{fault}@{LOOK_UP}"] * 2)
    found = await refusal(tier_of(copilot))
    assert (type(found), found.reason) == (kind, reason)
    assert copilot.paid_calls == []


async def test_a_login_page_before_the_look_up_is_not_believed_for_a_day(copilot, tier_of):
    copilot.script(f"login_page_403@{LOOK_UP}")
    tier = tier_of(copilot)
    await refusal(tier)
    assert (await ask(tier)).text == copilot.answer
    assert len(copilot.calls_to(LOOK_UP)) == 2


@pytest.mark.parametrize("fault", ["login_page_403", "blocked_by_firewall"])
async def test_a_page_before_the_list_of_models_says_nothing_about_the_account(copilot, tier_of, fault):
    copilot.script(f"{fault}@/models")
    assert (await ask(tier_of(copilot))).text == copilot.answer


ERROR = {"error": {"message": "no", "code": "nonsense"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        pytest.param(400, ERROR, PromptRefused, Reason.PROMPT_REFUSED, id="its word in JSON"),
        pytest.param(403, ERROR, Unauthorized, Reason.FORBIDDEN, id="its 403 in JSON"),
        pytest.param(404, "404 page not found", TierUnavailable, Reason.NOT_CONFIGURED, id="a wrong path"),
        pytest.param(401, "who are you?", Unauthorized, Reason.UNAUTHORIZED, id="401 in words"),
        pytest.param(400, "blocked", TierBroken, Reason.PORTAL, id="words that are nobody's"),
        pytest.param(403, "blocked", TierBroken, Reason.PORTAL, id="403 in words"),
        pytest.param(451, {}, TierBroken, Reason.PORTAL, id="JSON that is no error"),
    ],
)
async def test_a_service_of_ones_own_is_believed_without_githubs_id(
    copilot: Any, tier_of: Any, serve: Callable[..., Awaitable[Any]], status: int, body: Any, kind: type, reason: Reason
):
    async def refuse(exchange: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        await exchange.reply(text.encode(), status, content_type="text/plain" if text == body else "application/json")

    own = await serve(refuse)
    found = await refusal(tier_of(copilot, copilot_api_base=own.url, copilot_model=CHAT_MODEL))
    assert (type(found), found.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("url", "status", "body", "expected"),
    [
        ("https://api.individual.githubcopilot.com", 403, ERROR, True),
        ("https://api.individual.githubcopilot.com", 400, ERROR, False),
        ("https://api.individual.githubcopilot.com", 404, "not found", True),
        ("https://copilot.example.com", 403, ERROR, False),
        ("https://copilot.example.com", 404, "not found", False),
    ],
)
def test_github_itself_never_forbids_without_its_id(url, status, body, expected):
    text = body if isinstance(body, str) else json.dumps(body)
    reply = SimpleNamespace(status=status, content_type="text/plain", headers={})
    assert is_in_the_way(reply, complaint_of(status, text), url) is expected
