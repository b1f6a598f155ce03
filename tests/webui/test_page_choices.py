"""The page in a real browser: who is asked, and what never leaves the laptop."""

from __future__ import annotations

import pytest

from .browser import DESK, PHONE

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

LLAMA = "llama3:latest"


@pytest.fixture
def models(stage):
    stage.copilot.models, stage.cloud.models = ("gpt-5",), ("gpt-4o", "meta/llama-4")
    stage.local.models = (LLAMA,)
    yield stage
    for tier in (stage.copilot, stage.cloud, stage.local):
        tier.models = ()


@pytest.mark.parametrize("view", ["desk", "phone"])
async def test_a_model_is_asked_of_its_own_tier_and_of_nobody_else(models, view):
    async with models.page(viewport=PHONE if view == "phone" else DESK) as page:
        select = page.tab.get_by_label("Model for the next question")
        groups = await select.locator("optgroup").evaluate_all("found => found.map(group => group.label)")
        assert groups == ["Copilot", "Cloud", "This laptop"]
        if view == "phone":
            await page.tab.get_by_role("button", name="Tiers and sources").click()
        await select.select_option(LLAMA)
        await expect(page.tab.locator("#gw-tier").get_by_label("local")).to_be_checked()
        await page.picture(f"model-{view}")
        if view == "phone":
            await page.tab.locator("#gw-middle").click(position={"x": 5, "y": 200})
        await expect(page.tab.locator("#gw-chosen")).to_contain_text(f"only This laptop · {LLAMA}")
        await page.ask("A secret")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("This laptop")

    assert [prompt.model for prompt in models.local.prompts] == [LLAMA]
    assert models.copilot.calls == models.cloud.calls == 0


async def test_a_model_goes_with_its_tier_and_a_name_may_hold_a_slash(models):
    async with models.page() as page:
        select = page.tab.get_by_label("Model for the next question")
        await select.select_option("meta/llama-4")
        await page.ask("Hi")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("Cloud")
        await page.reload()
        await expect(select).to_have_value("cloud/meta/llama-4")
        await page.tab.locator("#gw-tier").get_by_label("first that can").check()
        await expect(select).to_have_value("")
        await page.ask("Hi")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("Copilot")

    assert [prompt.model for prompt in (*models.cloud.prompts, *models.copilot.prompts)] == ["meta/llama-4", None]


async def test_settings_that_would_leave_nobody_cannot_be_chosen_together(models):
    async with models.page() as page:
        tier, local = page.tab.locator("#gw-tier"), page.tab.get_by_label("Stay local")
        barred = page.tab.locator("#gw-barred")
        await local.check()
        await expect(tier.get_by_label("cloud")).to_be_disabled()
        await expect(tier.get_by_label("copilot")).to_be_disabled()
        await expect(tier.get_by_label("local")).to_be_enabled()
        await expect(page.tab.locator("#gw-model optgroup[label=Cloud]")).to_have_attribute("disabled", "")
        await expect(barred).to_contain_text("Copilot and cloud are not asked")
        await page.picture("stay-local")
        assert await page.violations() == []

        await page.tab.get_by_role("button", name="Back to normal").click()
        await tier.get_by_label("cloud").check()
        await expect(local).to_be_disabled()
        await expect(barred).to_contain_text("Only Cloud is asked: to stay local")
        await page.tab.keyboard.press("Alt+l")
        await expect(page.tab.locator("#gw-banner")).to_contain_text("Only Cloud is asked")
        assert not await local.is_checked()


async def test_settings_kept_from_before_that_contradict_each_other_stay_on_this_laptop(models):
    async with models.page() as page:
        kept = {"owner": None, "now": {"tier": "cloud", "model": "gpt-4o", "local_only": True}}
        await page.tab.evaluate("kept => sessionStorage.setItem('gateway.choices', JSON.stringify(kept))", kept)
        await page.reload()
        await expect(page.tab.get_by_label("Stay local")).to_be_checked()
        await expect(page.tab.locator("#gw-tier").get_by_label("first that can")).to_be_checked()
        await page.ask("A secret")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("This laptop")
