"""The page in a real browser while its server is away: nothing is lost, and nothing is claimed that is not known."""

from __future__ import annotations

import pytest

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ABROAD = ("ERR_", "Failed to load resource")
STILL_HERE = "The server does not answer; your question is still here."


@pytest.mark.parametrize("place", ["a new chat", "a chat"])
async def test_a_question_asked_while_the_server_is_away_comes_back(stage, place):
    async with stage.page() as page:
        page.expected = ABROAD
        turns = page.tab.locator(".gw-turn")
        if place == "a chat":
            await page.ask("First?")
        before = await turns.count()
        await stage.served.stop()
        await page.ask("Second?", wait=False)
        await expect(page.tab.locator("#gw-banner")).to_contain_text(STILL_HERE)
        await expect(page.tab.locator("#gw-banner")).to_contain_text("This page goes on trying")
        await expect(page.tab.locator("#gw-banner")).not_to_contain_text("fetch")
        await expect(turns).to_have_count(before)
        await expect(page.message).to_have_value("Second?")
        await page.picture(f"away-{before}")

        await stage.served.start()
        await expect(page.tab.locator("#gw-banner")).to_contain_text("is back")
        await page.reload()
        await expect(page.message).to_have_value("Second?")
        await page.message.press("Enter")
        await expect(page.answer_text).to_have_text("ok")
        await expect(turns).to_have_count(before + 2)
        await expect(page.message).to_have_value("")
        await page.reload()
        await expect(turns).to_have_count(before + 2)
        await expect(page.message).to_have_value("")


async def test_a_retry_while_the_server_is_away_drops_nothing(stage):
    async with stage.page() as page:
        page.expected = ABROAD
        for question in ("First?", "Second?"):
            await page.ask(question)
        await stage.served.stop()
        await expect(page.tab.locator("#gw-banner")).to_contain_text("does not answer")
        await page.tab.locator(".gw-user").first.hover()
        await page.tab.locator(".gw-user").first.get_by_role("button", name="Edit").click()
        await page.tab.get_by_label("Edit your question").fill("First, please?")
        await page.tab.keyboard.press("Enter")
        await expect(page.message).to_have_value("First, please?")
        await expect(page.tab.locator(".gw-turn")).to_have_count(4)
        await page.tab.keyboard.press("Alt+r")
        await expect(page.tab.locator("#gw-banner")).to_contain_text(STILL_HERE)
        await expect(page.tab.locator(".gw-turn")).to_have_count(4)
        await expect(page.message).to_have_value("First, please?")
        await stage.served.start()


@pytest.mark.parametrize("light", ["light", "dark"])
async def test_nothing_is_claimed_of_the_tiers_while_the_server_is_away(stage, light):
    async with stage.page(color_scheme=light) as page:
        page.expected = ABROAD
        banner, states = page.tab.locator("#gw-banner"), page.tab.locator("#gw-tiers .gw-state")
        await expect(states).to_have_text(["ready"] * 3)
        await stage.served.stop()
        await expect(states).to_have_text(["unknown"] * 3)
        await expect(page.tab.locator("#gw-lights .gw-words")).to_have_text(["unknown"] * 3)
        await expect(page.tab.locator("#gw-lights .gw-on, #gw-tiers .gw-on")).to_have_count(0)
        await expect(page.tab.locator("#gw-network")).to_have_text("Unknown: the server does not answer")
        await page.tab.get_by_role("button", name="Try every tier again").click()
        await page.tab.get_by_role("button", name="Erase everything").click()
        await page.tab.wait_for_timeout(500)
        await expect(banner).to_have_text("The server does not answer. This page goes on trying.")
        await page.picture(f"unknown-{light}")
        assert await page.violations() == []

        await stage.served.start()
        await expect(states).to_have_text(["ready"] * 3)
        await expect(banner).not_to_contain_text("goes on trying")
