"""Several tokens: which one is used, and that none gets what was looked up for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway_core.secrets import Secret
from gateway_core.testing.clock import ManualClock
from gateway_core.testing.simulators.copilot import Account
from gateway_core.tiers.copilot.account import Accounts
from gateway_core.tiers.copilot.catalogue import Catalogue
from gateway_core.tiers.copilot.tokens import Token

from .asking import WALL, settings_for

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
