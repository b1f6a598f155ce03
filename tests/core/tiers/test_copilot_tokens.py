"""Several tokens: which one is used, and that none gets what was looked up for another."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway_core.errors import TierUnavailable, Unauthorized
from gateway_core.secrets import Secret
from gateway_core.testing.clock import ManualClock
from gateway_core.testing.simulators.copilot import Account
from gateway_core.tiers.copilot.account import Accounts
from gateway_core.tiers.copilot.catalogue import Catalogue
from gateway_core.tiers.copilot.tokens import Token
from gateway_core.types import Reason

from .asking import CHAT_MODEL, RESPONSES_MODEL, TOKEN, WALL, ask, refusal, settings_for

GOOD = "gho_good00000000000000000000000000000"
EDITORS, OTHER_EDITORS = "ghu_first" + "x" * 27, "ghu_second" + "x" * 26


@pytest.fixture
async def accounts_of(copilot: Any, http: Any, tmp_path: Any) -> AsyncIterator[Callable[..., Accounts]]:
    made: list[Accounts] = []

    def make(**fields: Any) -> Accounts:
        settings = settings_for(tmp_path, copilot_github_api=copilot.url, **fields)
        made.append(Accounts(settings, ManualClock(wall=WALL), http, http.client()))
        return made[-1]

    yield make
    for accounts in made:
        await accounts.aclose()


async def test_two_tokens_at_once_are_each_led_to_their_own_host(copilot, accounts_of):
    copilot.tokens[OTHER_EDITORS] = Account(host="/business")
    accounts = accounts_of()
    found = await asyncio.gather(*(accounts.bearer(Token(Secret(t), "x")) for t in (EDITORS, OTHER_EDITORS)))
    assert [bearer.api.removeprefix(copilot.url) for bearer in found] == ["", "/business"]


async def test_two_tokens_at_once_are_exchanged_for_a_bearer_each(copilot, accounts_of):
    accounts = accounts_of(copilot_auth="exchange")
    found = await asyncio.gather(*(accounts.bearer(Token(Secret(t), "x")) for t in (EDITORS, OTHER_EDITORS)))
    assert found[0].secret != found[1].secret
    assert len(copilot.calls_to("/copilot_internal/v2/token")) == 2


async def test_two_accounts_at_once_each_read_their_own_list_of_models(tmp_path):
    async def ask(name: str) -> Any:
        await asyncio.sleep(0)
        return {"data": [{"id": name}]}

    catalogue = Catalogue(tmp_path, ManualClock(wall=WALL))
    lists = await asyncio.gather(*(catalogue.read(key, lambda key=key: ask(key), wait=True) for key in ("a", "b")))
    assert [[model.id for model in models] for models in lists] == [["a"], ["b"]]
    assert [model.id for model in await catalogue.anew("a", lambda: ask("a"))] == ["a"]


# The next source


def bearers(copilot: Any) -> list[str]:
    return [call.headers["authorization"].removeprefix("Bearer ") for call in copilot.calls if call.method == "POST"]


async def test_a_token_without_copilot_gives_way_to_the_next_source(copilot, tier_of):
    copilot.tokens[TOKEN] = Account(has_copilot=False)
    tier = tier_of(copilot, gh=lambda: GOOD)
    first, second = await ask(tier), await ask(tier)
    assert (first.text, first.mended, second.mended) == (copilot.answer, [Reason.FORBIDDEN], [])
    assert set(bearers(copilot)) == {GOOD}
    assert any("GITHUB_COPILOT_TOKEN" in note and "refused" in note for note in (await tier.info()).notes)


async def test_a_token_that_only_copilot_forbids_gives_way_to_the_next_source(copilot, tier_of):
    copilot.tokens[TOKEN] = Account(has_copilot=False)
    tier = tier_of(copilot, gh=lambda: GOOD, copilot_api_base=copilot.url, copilot_model=CHAT_MODEL)
    found = await ask(tier)
    assert (found.text, found.mended) == (copilot.answer, [Reason.FORBIDDEN])
    assert bearers(copilot) == [TOKEN, GOOD]


async def test_many_at_once_without_copilot_all_go_to_the_next_source(copilot, tier_of):
    copilot.tokens[TOKEN] = Account(has_copilot=False)
    tier = tier_of(copilot, gh=lambda: GOOD)
    answers = await asyncio.gather(*(ask(tier) for _ in range(20)))
    assert {found.text for found in answers} == {copilot.answer}
    assert set(bearers(copilot)) == {GOOD}


async def test_the_only_token_waits_for_its_account_to_be_let_in(copilot, tier_of):
    copilot.tokens[TOKEN] = Account(has_copilot=False)
    found = await refusal(tier_of(copilot))
    assert (type(found), found.reason, found.wait, found.again) == (Unauthorized, Reason.FORBIDDEN, math.inf, False)


# Exchange, where it was not asked for


async def test_auto_exchanges_only_the_token_that_was_refused_as_it_is(copilot, tier_of):
    copilot.revoke(EDITORS)
    tier = tier_of(copilot, copilot_auth="auto", github_copilot_token=EDITORS, gh=lambda: GOOD)
    await refusal(tier)
    assert (await ask(tier)).text == copilot.answer
    assert set(bearers(copilot)) == {GOOD}
    assert {call.headers["authorization"] for call in copilot.calls_to("/v2/token")} == {f"token {EDITORS}"}


async def test_auto_after_a_reset_sends_the_token_as_it_is_again(copilot, tier_of):
    tier = tier_of(copilot, copilot_auth="auto", github_copilot_token=EDITORS)
    copilot.script("authentication_failed")
    await ask(tier)
    tier.forget()
    await ask(tier)
    assert [bearer.partition("=")[0] for bearer in bearers(copilot)] == [EDITORS, "tid", EDITORS]


async def test_auto_takes_two_refusals_at_once_for_one(copilot, tier_of):
    tier = tier_of(copilot, copilot_auth="auto", github_copilot_token=EDITORS)
    copilot.script(*["slow_first:0.2+authentication_failed"] * 2)
    found = await asyncio.gather(ask(tier), ask(tier))
    assert [one.mended for one in found] == [[Reason.UNAUTHORIZED]] * 2
    assert len(copilot.calls_to("/v2/token")) == 1


# Headers


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("pat_not_supported", Reason.UNAUTHORIZED), ("missing_editor_version", Reason.INTERNAL)],
)
async def test_a_header_that_is_missing_is_added_once_for_all_who_missed_it(copilot, tier_of, fault, reason):
    tier = tier_of(copilot)
    copilot.script(*[f"slow_first:0.2+{fault}"] * 3)
    found = await asyncio.gather(*(ask(tier) for _ in range(3)))
    assert [one.mended for one in found] == [[reason]] * 3
    assert (await ask(tier)).mended == []
    assert not any("refused" in note for note in (await tier.info()).notes)


async def test_an_editors_header_that_does_not_help_is_our_fault_and_no_circuit_hears_of_it(copilot, tier_of, caplog):
    copilot.script(then="missing_editor_version")
    with caplog.at_level(logging.WARNING, "ai_gateway"):
        found = await refusal(tier_of(copilot))
    assert (type(found), found.reason, found.wait) == (TierUnavailable, Reason.INTERNAL, None)
    assert "fault of the gateway" in caplog.text


FINE_GRAINED, INSTALLATION = "github_pat_11" + "A" * 26, "ghs_" + "0" * 36
WAYS = [
    pytest.param({}, id="as it is"),
    pytest.param({"github_copilot_token": FINE_GRAINED}, id="fine-grained"),
    pytest.param({"github_copilot_token": INSTALLATION}, id="installation"),
    pytest.param({"github_copilot_token": EDITORS}, id="an editor's"),
    pytest.param({"github_copilot_token": EDITORS, "copilot_auth": "exchange"}, id="exchanged"),
    pytest.param({"copilot_integration_id": "my-own"}, id="an integration id of one's own"),
    pytest.param({"pinned": True}, id="a pinned address"),
]


@pytest.mark.parametrize("model", [CHAT_MODEL, RESPONSES_MODEL])
@pytest.mark.parametrize("fields", WAYS)
async def test_no_request_lacks_a_header_that_copilot_wants(copilot, tier_of, fields, model):
    fields = dict(fields)
    if fields.pop("pinned", False):
        fields["copilot_api_base"] = copilot.url
    tier = tier_of(copilot, copilot_model=model, **fields)
    assert (await ask(tier)).text == copilot.answer
    await tier.info()
    assert {call.path for call in copilot.calls} >= {"/models"}
    assert [(call.path, call.missing) for call in copilot.calls if call.missing] == []


# The seat's host


async def test_a_403_after_an_answer_asks_once_where_the_seat_is_served(copilot, tier_of):
    tier = tier_of(copilot)
    await ask(tier)
    copilot.script("forbidden_policy")
    found = await refusal(tier)
    assert (found.reason, found.again) == (Reason.FORBIDDEN, False)
    assert len(copilot.calls_to("/copilot_internal/user")) == 2
    assert len(copilot.paid_calls) == 2


async def test_a_403_after_an_answer_follows_the_seat_to_its_new_host(copilot, tier_of):
    tier = tier_of(copilot)
    await ask(tier)
    copilot.script("slow_first:0.5+forbidden_policy")
    asking = asyncio.create_task(ask(tier))
    for _ in range(200):
        if len(copilot.paid_calls) == 2:
            break
        await asyncio.sleep(0.01)
    copilot.move(TOKEN, "/business")
    found = await asking
    assert (found.text, found.mended) == (copilot.answer, [Reason.FORBIDDEN])
    assert len(copilot.calls_to("/copilot_internal/user")) == 2
