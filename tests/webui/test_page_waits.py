"""The page in a real browser: what is told while an answer is awaited, and answers that nobody looks at."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from gateway_core import Reason
from gateway_core.errors import TierBroken
from gateway_core.types import Chunk

from .browser import until

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

PROMISED = 1.0  # seconds until the provider's connection is closed when nobody waits for the answer

# What a reader of the screen hears beside the answers themselves.
NOTE_TOLD = """
window.told = [];
new MutationObserver(() => window.told.push(document.getElementById("gw-told").textContent))
  .observe(document.getElementById("gw-told"), { childList: true, characterData: true, subtree: true });
"""


async def test_a_wait_tells_who_is_asked_for_how_long_and_who_was_before(stage):
    may_fail, may_think, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    late = TierBroken("copilot", "late", reason=Reason.FIRST_TOKEN_TIMEOUT)
    stage.copilot.to["Slow?"] = [may_fail, late]
    stage.cloud.to["Slow?"] = [may_think, Chunk(), Chunk(), may_end, "at last"]
    async with stage.page() as page:
        await page.tab.evaluate(NOTE_TOLD)
        line = page.tab.locator(".gw-waiting")
        await page.ask("Slow?", wait=False)
        await expect(line).to_have_text(re.compile(r"^Copilot… [3-9] s$"))
        await page.picture("waiting")
        assert await page.violations() == []
        may_fail.set()
        await expect(line).to_have_text(re.compile(r"^Cloud…( \d s)? \(copilot: was too slow to begin\)$"))
        may_think.set()
        await expect(line).to_have_text(re.compile(r"^Cloud is thinking… \d s \(copilot: was too slow to begin\)$"))
        await page.picture("thinking")
        may_end.set()
        await expect(page.answer_text).to_have_text("at last")
        await expect(line).to_have_count(0)
        told = await page.tab.evaluate("window.told")

    assert told == [
        "Copilot…",
        "copilot: was too slow to begin. Cloud…",
        "copilot: was too slow to begin. Cloud is thinking…",
    ]


async def test_an_answer_that_begins_at_once_is_not_announced(stage):
    async with stage.page() as page:
        await page.tab.evaluate(NOTE_TOLD)
        await page.ask("Hi")
        await page.tab.wait_for_timeout(2500)

        assert await page.tab.evaluate("window.told") == []


async def test_an_answer_goes_on_while_another_conversation_is_shown(stage):
    seen, may_end = asyncio.Event(), asyncio.Event()
    stage.copilot.to["Long?"] = ["a beginning", seen, ", a middle", may_end, " and an end"]
    async with stage.page() as page:
        await page.ask("Earlier")
        await page.ask("Long?", wait=False)
        await expect(page.answer_text).to_have_text("a beginning")
        await page.tab.get_by_role("button", name="New chat").click()
        entry = page.tab.locator(".gw-chat", has_text="Earlier").first
        await expect(entry).to_contain_text("answering")
        await page.ask("Meanwhile?")
        await expect(page.answer_text).to_have_text("ok")
        await page.tab.keyboard.press("Escape")  # is not meant for the answer that nobody looks at
        await page.picture("answering")
        assert await page.violations() == []

        await entry.locator(".gw-open").click()
        await expect(page.answer_text).to_have_text("a beginning")
        await expect(page.tab.get_by_role("button", name="Stop")).to_be_visible()
        seen.set()
        await expect(page.answer_text).to_have_text("a beginning, a middle")
        await page.tab.locator(".gw-chat", has_text="Meanwhile?").locator(".gw-open").click()
        await expect(page.answer_text).to_have_text("ok")
        may_end.set()
        await expect(page.tab.locator(".gw-answering")).to_have_count(0)
        await expect(page.tab.locator(".gw-turn")).to_have_count(2)  # nothing of it was written here
        await entry.locator(".gw-open").click()
        await expect(page.answer_text).to_have_text("a beginning, a middle and an end")
        await expect(page.tab.locator(".gw-turn")).to_have_count(4)

    assert stage.copilot.cancelled == 0


async def test_stop_ends_the_answer_that_is_shown_and_no_other(stage):
    stage.copilot.to["One?"] = ["one", 60.0, "never"]
    stage.copilot.to["Two?"] = ["two", 60.0, "never"]
    async with stage.page() as page:
        await page.ask("One?", wait=False)
        await expect(page.answer_text).to_have_text("one")
        await page.tab.keyboard.press("Alt+n")
        await page.ask("Two?", wait=False)
        await expect(page.answer_text).to_have_text("two")
        await page.tab.keyboard.press("Escape")
        await expect(page.answer).to_contain_text("Stopped before the end.")
        await until(lambda: stage.copilot.cancelled == 1, 20)
        await page.tab.locator(".gw-chat", has_text="One?").first.locator(".gw-open").click()
        await expect(page.answer_text).to_have_text("one")
        await expect(page.tab.get_by_role("button", name="Stop")).to_be_visible()
        await page.tab.keyboard.press("Alt+n")

        left_at = time.time()
        await page.tab.close()
        await until(lambda: stage.copilot.cancelled == 2, 20)

    assert stage.copilot.cancelled_at - left_at < 3 * PROMISED


async def test_more_answers_at_a_time_than_a_browser_has_connections_for_are_not_begun(stage):
    stage.copilot.to["Long?"] = ["a beginning", 60.0, "never"]
    async with stage.page() as page:
        for _ in range(3):
            await page.ask("Long?", wait=False)
            await expect(page.answer_text).to_have_text("a beginning")
            await page.tab.keyboard.press("Alt+n")
        await page.ask("One more?", wait=False)
        await expect(page.tab.locator("#gw-banner")).to_contain_text("3 other answers are being written")
        await expect(page.message).to_have_value("One more?")
    await until(lambda: stage.copilot.cancelled == 3, 20)  # with the page that waited for them


async def test_a_conversation_deleted_while_its_answer_grows_ends_it(stage):
    stage.copilot.to["Delete me?"] = ["a beginning", 60.0, "never"]
    async with stage.page() as page:
        await page.ask("Delete me?", wait=False)
        await expect(page.answer_text).to_have_text("a beginning")
        await page.tab.keyboard.press("Alt+n")
        entry = page.tab.locator(".gw-chat", has_text="Delete me?").first
        await entry.locator("summary").click()
        await entry.get_by_role("button", name="Delete …").click()
        await page.tab.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await until(lambda: stage.copilot.cancelled == 1, 20)
