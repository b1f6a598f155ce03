"""What a day may cost: counted tier by tier, and a tier whose budget is spent is left out until midnight."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest

from gateway_core import (
    AllTiersFailed,
    AnswerInterrupted,
    Drill,
    Gateway,
    Settings,
    SettingsInvalid,
    Usage,
    drilled,
)
from gateway_core.budget import Budgets, Limit, MemoryLedger, Spent, day_of, midnight_after
from gateway_core.errors import TierBroken, TierUnreachable
from gateway_core.testing import ManualClock, ScriptedTier
from gateway_core.tiers.providers import load_providers
from gateway_core.types import Chunk, Reason

NOON = datetime(2026, 11, 23, 12, 0).timestamp()
HOUR = 3600.0


def says(text: str, read: int | None = None, written: int | None = None, cost: float | None = None) -> list:
    return [text, Chunk(finish_reason="stop", usage=Usage(read, written, cost=cost), model="m-1")]


class PricedTier(ScriptedTier):
    prices = {None: (1.0, 10.0), "m-1": (1.0, 10.0)}  # noqa: RUF012 - a table

    def price_of(self, model: str | None) -> tuple[float, float] | None:
        return self.prices.get(model)


def gateway(*tiers: ScriptedTier, clock: ManualClock | None = None, **settings) -> Gateway:
    clock = clock or ManualClock(wall=NOON)
    return Gateway(tiers, settings=Settings(ai_gateway_store="memory", **settings), clock=clock)


async def spent(asked: Gateway, backend: str) -> dict:
    return next(tier.budget for tier in (await asked.status()).tiers if tier.backend == backend)


async def who(asked: Gateway, **options) -> str:
    return (await asked.ask("Hello", **options)).backend


async def test_without_a_budget_nothing_is_counted():
    asked = gateway(ScriptedTier("copilot", says("Hi", 1_000_000, 1)))
    await asked.ask("Hello")

    assert asked.budgets is None
    assert (await asked.status()).tiers[0].budget is None


async def test_a_spent_budget_sends_the_next_question_down_the_ladder():
    copilot, cloud = ScriptedTier("copilot", says("Hi", 60, 40)), ScriptedTier("cloud", says("Ho", 5, 5))
    asked = gateway(copilot, cloud, copilot_daily_tokens=150)
    answers = [await asked.ask("Hello") for _ in range(4)]

    assert [answer.backend for answer in answers] == ["copilot", "copilot", "cloud", "cloud"]
    attempt = answers[-1].attempts[0]
    assert (attempt.outcome, attempt.reason) == ("skipped", "budget_spent")
    assert attempt.retry_after == 12 * HOUR
    assert "150 tokens is spent (200)" in attempt.detail
    assert "COPILOT_DAILY_TOKENS" in attempt.cure
    assert "00:00" in attempt.cure
    assert copilot.calls == 2


async def test_midnight_begins_a_new_day():
    clock = ManualClock(wall=NOON)
    asked = gateway(
        ScriptedTier("copilot", says("Hi", 100, 0)), ScriptedTier("local"), clock=clock, copilot_daily_tokens=100
    )
    answered = [await who(asked)]
    for hours in (0, 11.99, 0.02):
        clock.advance(hours * HOUR)
        answered.append(await who(asked))

    assert answered == ["copilot", "local", "local", "copilot"]


async def test_a_pinned_tier_whose_budget_is_spent_is_an_explained_error():
    asked = gateway(ScriptedTier("cloud", says("Hi", 100, 0)), ScriptedTier("local"), cloud_daily_tokens=100)
    await asked.ask("Hello")
    with pytest.raises(AllTiersFailed) as caught:
        await asked.ask("Hello", tier="cloud")

    assert [a.reason for a in caught.value.attempts] == ["budget_spent"]
    assert caught.value.retry_after == 12 * HOUR


async def test_money_is_counted_by_the_price_of_the_model():
    asked = gateway(PricedTier("cloud", says("Hi", 200_000, 30_000)), ScriptedTier("local"), cloud_daily_cost=0.9)
    answered = [await who(asked) for _ in range(3)]

    assert answered == ["cloud", "cloud", "local"]
    told = await spent(asked, "cloud")
    assert (told["cost"], told["cost_limit"], told["currency"]) == (pytest.approx(1.0), 0.9, "USD")


@pytest.mark.parametrize("answering", [None, "dear-at-some-date"])
def test_the_price_is_that_of_the_model_that_was_asked_where_the_other_has_none(answering):
    prices = {None: (1.0, 10.0), "dear": (100.0, 1000.0)}
    budgets = Budgets({"cloud": Limit(1)}, MemoryLedger(), lambda: NOON, lambda backend, model: prices.get(model))
    charged = budgets.charge("cloud", answering, Usage(10_000, 1_000), read=0, written=0, asked="dear")

    assert charged.cost == pytest.approx(2.0)


async def test_a_call_that_broke_off_costs_what_the_model_that_was_asked_costs():
    class Dear(PricedTier):
        prices = {None: (1.0, 10.0), "scripted-cloud": (1000.0, 1000.0)}  # noqa: RUF012 - a table

    cloud = Dear("cloud", ["x" * 40, TierBroken("cloud", "cut", reason=Reason.RESET)])
    asked = gateway(cloud, ScriptedTier("local"), cloud_daily_cost=1)
    await asked.ask("y" * 100)

    assert (await spent(asked, "cloud"))["cost"] == pytest.approx(0.035)


async def test_the_providers_own_word_on_the_cost_wins():
    asked = gateway(PricedTier("cloud", says("Hi", 200_000, 30_000, cost=0.25)), cloud_daily_cost=1)
    await asked.ask("Hello")

    assert (await spent(asked, "cloud"))["cost"] == 0.25


async def test_what_has_no_price_is_not_bought_from_a_budget_of_money():
    cloud = PricedTier("cloud", says("Hi", 1, 1))
    asked = gateway(cloud, ScriptedTier("local"), cloud_daily_cost=1)
    answers = [await asked.ask("Hello", model=model) for model in (None, "m-1", "unheard-of")]

    assert [answer.backend for answer in answers] == ["cloud", "cloud", "local"]
    attempt = answers[-1].attempts[0]
    assert (attempt.reason, attempt.retry_after) == ("unsupported", None)
    assert "unheard-of" in attempt.detail
    assert "providers.toml" in attempt.cure


async def test_what_the_provider_did_not_count_is_estimated_and_marked():
    asked = gateway(ScriptedTier("cloud", ["x" * 400]), cloud_daily_tokens=1000)
    await asked.ask("y" * 100)

    told = await spent(asked, "cloud")
    assert (told["tokens"], told["estimated_tokens"]) == (125, 125)


@pytest.mark.parametrize(
    ("script", "tokens"),
    [
        pytest.param(["x" * 40, TierBroken("cloud", "cut", reason=Reason.RESET)], 35, id="cut after some text"),
        pytest.param([TierBroken("cloud", "hung", may_have_billed=True)], 25, id="never begun, perhaps billed"),
        pytest.param([TierBroken("cloud", "500", reason=Reason.UPSTREAM_5XX)], 0, id="refused in good order"),
        pytest.param([TierUnreachable("cloud", "no way")], 0, id="never reached"),
    ],
)
async def test_failed_calls_count_by_what_they_may_have_cost(script, tokens):
    asked = gateway(ScriptedTier("cloud", script), ScriptedTier("local"), cloud_daily_tokens=1000)
    answer = await asked.ask("y" * 100)

    assert answer.backend == "local"
    told = await spent(asked, "cloud")
    assert (told["tokens"], told["estimated_tokens"]) == (tokens, tokens)


async def test_a_reader_who_leaves_has_spent_what_was_written():
    asked = gateway(ScriptedTier("cloud", ["x" * 40, "x" * 40, "x" * 40]), cloud_daily_tokens=1000)
    stream = asked.stream("y" * 100)
    seen = 0
    async for _ in stream:
        seen += 1
        if seen == 3:  # the tier's name, and two pieces of text
            break
    await stream.aclose()
    await asked.router.settled()

    assert 35 <= (await spent(asked, "cloud"))["tokens"] <= 45


async def test_an_answer_that_two_tiers_wrote_is_spent_by_both():
    copilot = ScriptedTier("copilot", ["x" * 40, TierBroken("copilot", "cut", reason=Reason.RESET)])
    asked = gateway(copilot, ScriptedTier("cloud", says("Ho", 30, 7)), copilot_daily_tokens=999, cloud_daily_tokens=999)
    async for _ in asked.stream("y" * 100):
        pass

    assert (await spent(asked, "copilot"))["tokens"] == 35
    assert (await spent(asked, "cloud"))["tokens"] == 37


async def test_a_cut_that_ends_in_an_error_is_counted_too():
    asked = gateway(
        ScriptedTier("cloud", ["x" * 40, TierBroken("cloud", "cut", reason=Reason.RESET)]), cloud_daily_tokens=999
    )
    with pytest.raises(AnswerInterrupted):
        async for _ in asked.stream("y" * 100, on_interrupt="stop"):
            pass

    assert (await spent(asked, "cloud"))["tokens"] == 35


async def test_this_laptop_costs_nothing():
    asked = gateway(ScriptedTier("local", says("Hi", 1000, 1000)), cloud_daily_tokens=1)

    assert [await who(asked) for _ in range(3)] == ["local"] * 3


async def test_the_status_tells_what_is_spent_and_until_when():
    asked = gateway(ScriptedTier("cloud", says("Hi", 90, 10)), cloud_daily_tokens=100)
    await asked.ask("Hello")
    tier = (await asked.status()).tiers[0]
    health = await asked.health()

    assert (tier.available, health.cloud_available) == (False, False)
    assert "is spent" in tier.why_not
    assert tier.budget["tokens"] == tier.budget["tokens_limit"] == 100
    resets_at = datetime.fromisoformat(tier.budget["resets_at"])
    assert resets_at.timestamp() == NOON + 12 * HOUR
    assert resets_at.utcoffset() is not None


async def test_a_reset_leaves_budgets_spent():
    asked = gateway(ScriptedTier("cloud", says("Hi", 100, 0)), ScriptedTier("local"), cloud_daily_tokens=100)
    await asked.ask("Hello")
    await asked.reset()

    assert await who(asked) == "local"


async def test_a_spent_tier_takes_no_time_from_the_others():
    """Its share of the clouds' time goes to the tier that is asked in its place."""
    copilot = ScriptedTier("copilot", says("Hi", 100, 0))
    asked = gateway(copilot, ScriptedTier("cloud"), copilot_daily_tokens=100)
    await asked.ask("Hello")
    plan = await asked.router.affordable(asked.router.plan(copilot.prompts[0]), copilot.prompts[0])

    assert [step.skip for step in plan] == ["budget_spent", None]


@pytest.mark.parametrize(("patience", "deadline"), [(0.1, 300.0), (15.0, 1.0)])
async def test_a_drill_charges_the_tiers_that_were_really_asked_and_no_other(patience, deadline):
    copilot, cloud = ScriptedTier("copilot"), ScriptedTier("cloud", says("Ho", 5, 5))
    asked = gateway(copilot, cloud, copilot_daily_tokens=100, cloud_daily_tokens=100, first_token_timeout=patience)
    answer = await drilled(asked, Drill("copilot", "slow")).ask("x" * 4000, deadline_s=deadline)

    told = [(a.backend, a.reason, a.may_have_billed) for a in answer.attempts]
    assert told == [("copilot", "first_token_timeout", False), ("cloud", None, True)]
    assert (copilot.calls, (await spent(asked, "copilot"))["tokens"]) == (0, 0)
    assert (await spent(asked, "cloud"))["tokens"] == 10


def test_a_day_ends_at_local_midnight_summer_time_or_not(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        for date, hours in ((datetime(2026, 3, 28), 24), (datetime(2026, 3, 29), 23), (datetime(2026, 10, 25), 25)):
            begins = date.timestamp()
            assert midnight_after(begins) - begins == hours * HOUR
            assert midnight_after(begins + 5 * HOUR) == begins + hours * HOUR
            assert day_of(begins + hours * HOUR - 1) == date.date().isoformat()
            assert day_of(begins + hours * HOUR) == (date + timedelta(days=1)).date().isoformat()
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(100, 20), Spent(120, 0, 0.0003)),
        (Usage(100, None), Spent(101, 1, 0.00011)),
        (Usage(None, 20), Spent(23, 3, 0.000203)),
        (None, Spent(4, 4, 0.000013)),
        (Usage(0, 0), Spent(0, 0, 0.0)),
    ],
)
def test_half_a_count_is_completed_by_an_estimate(usage, expected):
    budgets = Budgets({"cloud": Limit(1)}, MemoryLedger(), lambda: NOON, lambda backend, model: (1.0, 10.0))
    charged = budgets.charge("cloud", "m", usage, read=10, written=4)

    assert (charged.tokens, charged.estimated, charged.cost) == (
        expected.tokens, expected.estimated, pytest.approx(expected.cost)
    )  # fmt: skip


def test_prices_are_found_by_model_and_without_its_date(tmp_path):
    (tmp_path / "providers.toml").write_text('[openai.prices]\n"gpt-6-sol" = [2, 8.5]\n', encoding="utf-8")
    openai = load_providers(tmp_path)["openai"]

    assert openai.price_of("gpt-6-sol") == openai.price_of("gpt-6-sol-2026-08-01") == (2.0, 8.5)
    assert openai.price_of(None) == openai.price_of(openai.model) == openai.price_of(f"{openai.model}-20260801")
    assert openai.price_of("gpt-6-sol-mini") is None


@pytest.mark.parametrize("told", ["[1]", '["a", 2]', "[-1, 2]", "[1, 2, 3]", "[nan, 1]", "[true, 1]", "7"])
def test_a_price_that_is_none_stops_the_program(tmp_path, told):
    (tmp_path / "providers.toml").write_text(f'[openai.prices]\n"m" = {told}\n', encoding="utf-8")

    with pytest.raises(SettingsInvalid, match=r"\[openai\] a price must be two numbers"):
        load_providers(tmp_path)
