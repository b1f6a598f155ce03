"""The page in a real browser: asking and being answered. Pictures are left in `.test-artifacts/page`."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from gateway_core import Reason
from gateway_core.errors import RateLimited, TierBroken

from .browser import until

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUMP = b"The pump stands in the cellar. The oil filter of the pump must be changed every 250 hours of work."
HOW_OFTEN = "How often must the filter be changed?"
PROMISED = 1.0  # seconds until the provider's connection is closed when nobody waits for the answer


async def test_the_whole_flow_needs_no_mouse(stage):
    stage.copilot.to["Count!"] = [part for n in range(200) for part in (f"{n} ", 0.05)]
    stage.copilot.to["Name a town."] = ["Ulm"]
    stage.copilot.to[HOW_OFTEN] = ["Every 250 hours of work [1]."]
    async with stage.page() as page:
        keys = page.tab.keyboard
        choosers: asyncio.Queue[Any] = asyncio.Queue()
        # Long before the key: the driver takes over the browser's dialogs some time after it is told to.
        page.tab.on("filechooser", choosers.put_nowait)
        await page.ask("Count!", wait=False)  # ask, and stop
        await expect(page.answer_text).to_contain_text("3 ")
        await keys.press("Escape")
        await expect(page.answer).to_contain_text("Stopped before the end.")
        await until(lambda: stage.copilot.cancelled == 1, 20)

        await keys.press("Alt+e")  # edit
        await page.tab.get_by_label("Edit your question").fill("Name a town.")
        await keys.press("Enter")
        await expect(page.answer_text).to_have_text("Ulm")
        await expect(page.answer).to_contain_text("in all")
        await expect(page.tab.locator(".gw-turn")).to_have_count(2)

        stage.copilot.to["Name a town."] = ["Bonn"]
        await keys.press("Alt+r")  # retry
        await expect(page.answer_text).to_have_text("Bonn")

        await keys.press("Alt+u")  # attach, and ask about the file
        chooser = await asyncio.wait_for(choosers.get(), 20)
        await chooser.set_files({"name": "pump.txt", "mimeType": "text/plain", "buffer": PUMP})
        await expect(page.tab.locator("#gw-documents")).to_contain_text("pump.txt")
        await page.ask(HOW_OFTEN)  # while the file is still being read: the question waits for it
        await keys.press("Alt+s")  # open a source
        card = page.tab.locator(".gw-card").first
        await expect(card).to_be_focused()
        assert await card.locator("mark").all_inner_texts() == ["every 250 hours of work"]

        await keys.press("Alt+n")  # new chat, server restart, and the old one found again
        await expect(page.tab.locator(".gw-turn")).to_have_count(0)
        page.expected = ("ERR_", "Failed to load resource")
        await stage.served.stop()
        await expect(page.tab.locator("#gw-banner")).to_contain_text("does not answer")
        await stage.served.start()
        await expect(page.tab.locator("#gw-banner")).to_contain_text("is back")
        await keys.press("Alt+f")
        await keys.type("bonn")
        await expect(page.tab.locator(".gw-chat")).to_have_count(1)
        await keys.press("Tab")
        await keys.press("Enter")
        await expect(page.tab.locator(".gw-answer").first).to_contain_text("Bonn")
        await page.picture("found-again")


async def test_an_answer_tells_its_tier_model_and_times(stage):
    async with stage.page() as page:
        await page.ask("Hi")

        badge = page.answer.locator(".gw-badge")
        await expect(badge).to_contain_text("Copilot")
        assert re.search(r"first word \d+ ms.*in all", await badge.inner_text(), re.DOTALL)


async def test_a_cut_in_mid_answer_shows_a_seam_a_reason_and_the_panel_changes_at_once(stage):
    stage.copilot.to["Capital?"] = ["The capital is Par", TierBroken("copilot", "cut", reason=Reason.STALLED)]
    seen = asyncio.Event()
    stage.cloud.to["Capital?"] = ["is, on the Seine.", seen, " That is all."]
    async with stage.page() as page:
        await page.ask("Capital?", wait=False)
        await expect(page.answer_text).to_contain_text("Paris")
        await expect(page.tab.locator("#gw-tiers")).to_contain_text("left alone")  # while the answer still grows
        seen.set()
        await expect(page.answer.locator(".gw-seam")).to_have_attribute("aria-label", "Cloud goes on here")
        await expect(page.answer_text).to_have_text("The capital is Paris, on the Seine. That is all.")
        await expect(page.answer).to_contain_text("Copilot broke off (fell silent); Cloud went on")
        await expect(page.answer).not_to_contain_text("Why")
        await expect(page.tab.locator(".gw-countdown")).to_contain_text("Tried again in")
        await page.picture("seam")

        await page.tab.get_by_role("button", name="Try every tier again").click()
        await expect(page.tab.locator("#gw-tiers .gw-state").first).to_have_text("ready")


async def test_offline_is_told_at_once_and_the_cloud_is_asked_again_when_it_is_over(stage):
    async with stage.page() as page:
        stage.network.cut()
        await expect(page.tab.locator("#gw-network")).to_contain_text("Offline")
        await page.ask("Hi")
        await expect(page.answer).to_contain_text("This laptop")
        await expect(page.answer).to_contain_text("copilot: this laptop is offline")
        await page.picture("offline")

        stage.network.connect()
        await expect(page.tab.locator("#gw-network")).to_contain_text("Online")
        await page.ask("Hi again")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("Copilot")


async def test_stay_local_and_the_choice_of_a_tier_hold_for_the_next_question(stage):
    async with stage.page() as page:
        await page.tab.keyboard.press("Alt+l")
        await page.ask("Hi")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("This laptop")
        await page.tab.keyboard.press("Alt+l")
        await page.tab.locator("#gw-tier").get_by_label("cloud").check()
        await page.ask("Hi")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("Cloud")

    assert stage.copilot.calls == 0


@pytest.mark.parametrize("way", ["stop", "close", "reload"])
async def test_leaving_an_answer_closes_the_upstream_within_a_second(stage, way):
    stage.copilot.to["Long?"] = ["a beginning", 60.0, "never"]
    async with stage.page() as page:
        await page.ask("Long?", wait=False)
        await expect(page.answer_text).to_have_text("a beginning")
        if way == "stop":
            await page.tab.get_by_role("button", name="Stop").click()
            left_at = await page.tab.evaluate("window.leftAt") / 1000
        elif way == "reload":
            await page.reload()
            left_at = await page.tab.evaluate("Number(sessionStorage.leftAt)") / 1000
            await expect(page.answer_text).to_have_text("a beginning")
            await expect(page.answer).to_contain_text("Stopped before the end.")
        else:
            left_at = time.time()
            await page.tab.close()
        await until(lambda: stage.copilot.cancelled == 1, 20)

    assert stage.copilot.cancelled_at - left_at < 3 * PROMISED


async def test_a_drill_is_marked_met_and_over(stage):
    stage.copilot.to["Tell"] = ["Once upon a time ", "there was a very old gateway in a ", "small town."]
    stage.cloud.to["Tell"] = ["large city."]
    async with stage.page() as page:
        await page.tab.get_by_role("button", name="Drill: break something").click()
        await page.tab.get_by_role("button", name="Break it for the next question").click()
        await expect(page.tab.locator("#gw-drill-note")).to_contain_text("copilot breaks off in mid-answer")
        await page.picture("drill")
        await page.ask("Tell")
        await expect(page.answer_text).to_contain_text("in a large city.")
        await expect(page.answer).to_contain_text("Drill: copilot breaks off")
        await expect(page.tab.locator("#gw-drill-note")).to_be_hidden()
        await expect(page.tab.locator("#gw-tiers .gw-state").first).to_have_text("ready")


async def test_a_drill_waits_for_the_page_that_chose_it_and_for_no_other(stage):
    may_end = asyncio.Event()
    stage.cloud.to["Tell"] = ["large city.", may_end]
    async with stage.page() as page, stage.page() as foreign:
        note = page.tab.locator("#gw-drill-note")
        await page.tab.get_by_role("button", name="Drill: break something").click()
        await page.tab.locator("#gw-drill-fault").get_by_text("down", exact=True).click()
        await page.tab.get_by_role("button", name="Break it for the next question").click()
        await expect(note).to_contain_text("copilot is down")
        other = await page.another_tab()
        for bystander in (foreign, other):
            await expect(bystander.tab.locator("#gw-drill-note")).to_be_hidden()
            await bystander.ask("Hi")
            await expect(bystander.answer.locator(".gw-badge")).to_contain_text("Copilot")
        await page.reload()
        await expect(note).to_contain_text("copilot is down")
        await page.ask("Tell", wait=False)
        await expect(page.answer_text).to_have_text("large city.")
        await expect(note).to_be_hidden()  # it is met, and waits no more
        may_end.set()
        await expect(page.answer).to_contain_text("Drill: copilot is down")


async def test_a_login_page_in_the_way_is_shown_and_what_helps(stage, monkeypatch):
    for tier in (stage.copilot, stage.cloud):
        monkeypatch.setattr(tier, "address", ("api.example.org", 443))  # what a login page can stand in front of
    async with stage.page() as page:
        stage.network.suspect_portal()
        await expect(page.tab.locator("#gw-network")).to_contain_text("A login page is in the way: open any page")
        await expect(page.tab.locator("#gw-lights")).to_contain_text("login page")
        await expect(page.tab.locator("#gw-tiers .gw-state").first).to_have_text("not asked")
        await page.picture("portal")
        assert await page.violations() == []
        await page.ask("Hi")
        await expect(page.answer).to_contain_text("copilot: a login page is in the way")
        await page.tab.get_by_role("button", name="Try every tier again").click()
        await expect(page.tab.locator("#gw-network")).to_have_text("Online")


async def test_the_panel_shows_a_change_within_a_second(stage):
    async with stage.page() as page:
        await page.tab.evaluate(
            "new MutationObserver(() => { if (!window.seenAt && /Offline/.test(document.getElementById('gw-network')"
            ".textContent)) window.seenAt = Date.now(); })"
            ".observe(document.getElementById('gw-network'), { childList: true, subtree: true })"
        )
        cut_at = time.time()
        stage.network.cut()
        await expect(page.tab.locator("#gw-network")).to_contain_text("Offline")
        seen_at = await page.tab.evaluate("window.seenAt") / 1000

    assert seen_at - cut_at < 3 * PROMISED


async def test_the_panel_tells_copilots_credits_and_when_there_are_new_ones(stage):
    stage.copilot.details = {"credits_left": 180, "credits_total": 300, "resets_on": "2026-12-01"}
    try:
        async with stage.page() as page:
            card = page.tab.locator("#gw-tiers .gw-tier").first
            await expect(card).to_contain_text("Credits: 180 of 300 left, new ones on 2026-12-01")
    finally:
        stage.copilot.details = {}


async def test_a_failure_of_everybody_is_explained_and_can_be_retried(stage):
    for tier in (stage.copilot, stage.cloud, stage.local):
        tier.to["Anyone?"] = [RateLimited(tier.backend, "too many requests", wait=40)]
    async with stage.page() as page:
        await page.ask("Anyone?")
        await expect(page.answer).to_contain_text("No tier could answer")
        await page.picture("nobody")
        for tier in (stage.copilot, stage.cloud, stage.local):
            tier.to["Anyone?"] = ["me"]
        await stage.gateway.reset()
        await page.tab.get_by_role("button", name="Retry").click()
        await expect(page.answer_text).to_have_text("me")
