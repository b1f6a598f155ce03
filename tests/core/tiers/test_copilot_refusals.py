"""What a refusal means: whose fault it is, how long it lasts, and what the user is told."""

from __future__ import annotations

import json
import math
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
from gateway_core.tiers.complaints import complaint_of
from gateway_core.tiers.copilot.in_the_way import is_in_the_way
from gateway_core.types import Reason

from .asking import CHAT_MODEL, ask, refusal

ERRORS = [
    ("token_expired", Unauthorized, Reason.UNAUTHORIZED, math.inf),
    ("ide_token_expired", Unauthorized, Reason.UNAUTHORIZED, math.inf),
    ("bad_credentials", Unauthorized, Reason.UNAUTHORIZED, math.inf),
    ("off_topic", PromptRefused, None, None),
    ("invalid_prompt", PromptRefused, None, None),
    ("invalid_request", PromptRefused, None, None),
    ("content_filter_422", PromptRefused, None, None),
    ("context_too_long", ContextTooLong, Reason.CONTEXT_TOO_LONG, None),
    ("copilot_quota_exceeded", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * 86_400.0),
    ("quota_exceeded_text", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * 86_400.0),
    ("free_quota_exceeded", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * 86_400.0),
    ("billing_not_configured", QuotaUsedUp, Reason.QUOTA_USED_UP, 8 * 86_400.0),
    ("forbidden_policy", Unauthorized, Reason.FORBIDDEN, math.inf),
    ("extension_blocked", Unauthorized, Reason.FORBIDDEN, 86_400.0),
    ("login_page_403", TierBroken, Reason.PORTAL, None),
    ("blocked_by_firewall", TierBroken, Reason.PORTAL, None),
    ("bad_gateway_page", TierBroken, Reason.UPSTREAM_5XX, None),
    ("misdirected", TierBroken, Reason.WRONG_HOST, None),
    ("failed_dependency", TierBroken, Reason.UPSTREAM_5XX, None),
    ("global_rate_limit", RateLimited, Reason.RATE_LIMITED, 6.0),
    ("weekly_limit", RateLimited, Reason.RATE_LIMITED, 86_400.0),
    ("model_rate_limit", RateLimited, Reason.RATE_LIMITED, 40.0),
    ("status_429", RateLimited, Reason.RATE_LIMITED, None),
    ("client_too_old", Unauthorized, Reason.FORBIDDEN, 86_400.0),
    ("upstream_connect_error", TierBroken, Reason.UPSTREAM_5XX, None),
    ("status_500", TierBroken, Reason.UPSTREAM_5XX, None),
    ("status_503:retry_after=1", TierBroken, Reason.UPSTREAM_5XX, 1.0),
    ("status_408", TierBroken, Reason.UPSTREAM_5XX, None),
    ("status_409", TierBroken, Reason.UPSTREAM_5XX, None),
    ("status_499", TierBroken, Reason.UPSTREAM_5XX, None),
    ("html_200", TierUnavailable, Reason.PORTAL, None),
    ("status_511", TierUnavailable, Reason.PORTAL, None),
    ("redirect:http://elsewhere.example/", TierUnavailable, Reason.PORTAL, None),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "kind", "reason", "wait"), ERRORS)
async def test_what_each_error_means(copilot, tier_of, fault, kind, reason, wait):
    copilot.script(fault)
    found = await refusal(tier_of(copilot, copilot_model=CHAT_MODEL))
    assert type(found) is kind
    assert len(copilot.paid_calls) == 1
    if reason is not None:
        assert (found.reason, found.again) == (reason, False)
        assert found.wait == pytest.approx(wait, abs=1.0) if wait is not None else found.wait is None


LOOK_UP = "/copilot_internal/user"


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
