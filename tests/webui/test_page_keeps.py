"""The page in a real browser: what outlives a reload, another tab and a restart, and what is erased."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway_core.secrets import write_private

from .browser import until

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_two_tabs_keep_their_own_conversations_and_lose_none(stage):
    async with stage.page() as one, stage.page() as other:
        await one.ask("First tab")
        await other.ask("Second tab")
        await one.tab.reload()
        await one.ready()
        await expect(one.tab.locator(".gw-user")).to_have_text(re.compile("First tab"))
        await expect(one.tab.locator("#gw-chats")).to_contain_text("Second tab")


async def test_conversations_are_renamed_exported_and_deleted(stage):
    async with stage.page() as page:
        await page.ask("A question to rename")
        current = page.tab.locator(".gw-current")
        await current.locator("summary").click()
        await current.get_by_role("button", name="Rename", exact=True).click()
        await page.tab.get_by_label("New name").fill("My talk")
        await page.tab.keyboard.press("Enter")
        await expect(current).to_contain_text("My talk")
        await current.locator("summary").click()
        async with page.tab.expect_download() as download:
            await current.get_by_role("link", name="Export as Notebook").click()
        assert (await download.value).suggested_filename == "my-talk.ipynb"
        dialog = page.tab.get_by_role("dialog")
        for leave in ("Escape", "Enter"):  # Cancel has the focus
            await current.locator("summary").click()
            await current.get_by_role("button", name="Delete …").click()
            await expect(dialog).to_contain_text("“My talk” goes for good")
            await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
            await page.picture("delete")
            await page.tab.keyboard.press(leave)
            await expect(dialog).to_have_count(0)
            await expect(current.locator("summary")).to_be_focused()
            await expect(page.tab.locator(".gw-turn")).to_have_count(2)
        await current.locator("summary").click()
        await current.get_by_role("button", name="Delete …").click()
        await dialog.get_by_role("button", name="Delete").click()
        await expect(page.tab.locator("#gw-chats").get_by_text("My talk")).to_have_count(0)
        await expect(page.tab.locator(".gw-turn")).to_have_count(0)


async def test_later_turns_that_a_retry_dropped_can_be_brought_back(stage):
    may_end = asyncio.Event()
    async with stage.page() as page:
        banner, turns = page.tab.locator("#gw-banner"), page.tab.locator(".gw-turn")
        for n in range(3):
            stage.copilot.to[f"Question {n}"] = [f"answer {n}"]
            await page.ask(f"Question {n}")
        stage.copilot.to["Question 0"] = ["another answer", may_end]
        await page.tab.locator(".gw-answer").first.hover()
        await page.tab.locator(".gw-answer").first.get_by_role("button", name="Retry").click()
        await expect(page.answer_text).to_have_text("another answer")
        await expect(turns).to_have_count(2)
        await expect(banner).to_contain_text("4 later turns were dropped.")
        await page.picture("dropped")
        assert await page.violations() == []

        await banner.get_by_role("button", name="Undo").click()  # while the new answer still grows
        await expect(banner).to_contain_text("The later turns are back.")
        await expect(page.tab.locator(".gw-answer .gw-text")).to_have_text([f"answer {n}" for n in range(3)])
        await until(lambda: stage.copilot.cancelled == 1, 20)
        await page.reload()
        await expect(turns).to_have_count(6)

        may_end.set()
        await page.tab.locator(".gw-user").first.hover()
        await page.tab.locator(".gw-user").first.get_by_role("button", name="Edit").click()
        await page.tab.get_by_label("Edit your question").fill("Question X")
        await page.tab.keyboard.press("Enter")
        await expect(banner).to_contain_text("4 later turns were dropped.")
        await expect(page.answer_text).to_have_text("ok")
        await banner.get_by_role("button", name="Undo").click()
        await expect(turns).to_have_count(6)
        await banner.get_by_role("button", name="Undo").click()  # and back again: neither is lost
        await expect(banner).to_contain_text("The new answer is back.")
        await expect(page.answer_text).to_have_text("ok")
        await page.ask("On we go")
        await expect(banner).to_be_hidden()
        await expect(turns).to_have_count(4)


async def test_a_retry_of_the_last_answer_drops_no_later_turn(stage):
    async with stage.page() as page:
        await page.ask("Hi")
        await page.tab.keyboard.press("Alt+r")
        await page.tab.wait_for_function("!document.body.classList.contains('gw-asking')")
        await expect(page.tab.locator("#gw-banner")).to_be_hidden()


async def test_files_without_a_question_are_found_again(stage):
    async with stage.page() as page:
        await page.attach(("minutes of the meeting.txt", b"Nobody came."))  # several at once are read side by side
        await page.attach(("second.txt", b"Nobody left."))
        await page.tab.keyboard.press("Alt+n")
        await expect(page.tab.locator(".gw-document")).to_have_count(0)
        entry = page.tab.locator(".gw-chat").first
        await expect(entry).to_contain_text("minutes of the meeting.txt")
        await entry.locator(".gw-open").click()
        await expect(page.tab.locator(".gw-document")).to_have_count(2)
        await page.ask("Who came?")
        await expect(page.tab.locator(".gw-current")).to_contain_text("Who came?")


async def test_an_answer_that_ends_leaves_an_open_menu_open(stage):
    stage.copilot.to["Slow"] = ["a word", 1.0, "the end"]
    async with stage.page() as page:
        await page.ask("Hi")
        await page.ask("Slow", wait=False)
        await expect(page.answer_text).to_have_text("a word")
        menu = page.tab.locator(".gw-current details")
        await menu.locator("summary").click()
        await expect(page.answer_text).to_have_text("a wordthe end")
        await page.tab.wait_for_function("!document.body.classList.contains('gw-asking')")
        await page.tab.wait_for_timeout(300)
        await expect(menu).to_have_attribute("open", "")


async def test_two_tabs_of_one_conversation_lose_nothing_of_each_other(stage):
    may_end = asyncio.Event()
    stage.copilot.to["First?"] = ["a beginning", may_end, " and an end"]
    async with stage.page() as one:
        one.expected = ("409",)
        await one.ask("First?", wait=False)
        await expect(one.answer_text).to_have_text("a beginning")
        other = await one.another_tab(one.tab.url)
        await expect(other.tab.locator(".gw-user")).to_contain_text("First?")
        await other.ask("Second?", wait=False)
        await expect(other.tab.locator("#gw-banner")).to_contain_text("is being answered, perhaps in another tab")
        await expect(other.message).to_have_value("Second?")  # nothing was asked, nothing is lost

        may_end.set()
        await expect(one.answer_text).to_have_text("a beginning and an end")
        await expect(other.answer_text).to_have_text("a beginning and an end")  # it is told
        await other.message.press("Enter")
        await expect(other.answer_text).to_have_text("ok")
        await expect(one.tab.locator(".gw-turn")).to_have_count(4)
        await one.ask("Third?")
        await expect(other.tab.locator(".gw-turn")).to_have_count(6)


async def test_a_tab_that_was_not_told_cannot_drop_what_another_browser_added(stage):
    async with stage.page() as one, stage.page() as foreign:
        one.expected = ("409",)
        await one.ask("First?")
        await foreign.open(one.tab.url)
        await foreign.ask("Second?")
        await one.tab.keyboard.press("Alt+r")  # would drop everything after the first question
        await expect(one.tab.locator("#gw-banner")).to_contain_text("went on elsewhere")
        await expect(one.tab.locator(".gw-user")).to_have_count(2)
        await foreign.reload()
        await expect(foreign.tab.locator(".gw-turn")).to_have_count(4)


async def test_one_tab_listens_for_all_and_another_takes_over(stage):
    """A browser has six connections to a host; tabs that each held one would block each other."""
    async with stage.page() as one:
        tabs = [one, await one.another_tab(), await one.another_tab()]
        streams = [page.asked.count("/ai/events") for page in tabs]
        assert sorted(streams) == [0, 0, 1]

        await one.tab.close()
        stage.network.cut()
        for page in tabs[1:]:
            await expect(page.tab.locator("#gw-network")).to_contain_text("Offline")
        assert sum(page.asked.count("/ai/events") for page in tabs[1:]) == 1


async def test_a_restart_of_the_server_in_mid_answer_loses_no_conversation(stage):
    stage.copilot.to["Long?"] = ["a beginning", 60.0, "never"]
    async with stage.page() as page:
        page.expected = ("ERR_", "Failed to load resource")
        await page.ask("Hi")
        await page.ask("Long?", wait=False)
        await expect(page.answer_text).to_have_text("a beginning")
        await stage.served.stop()
        await expect(page.answer).to_contain_text("The connection to the server was lost")
        await expect(page.answer_text).to_have_text("a beginning")
        await stage.served.start()
        await expect(page.tab.locator("#gw-banner")).to_contain_text("is back")

        await page.reload()
        await expect(page.tab.locator(".gw-turn")).to_have_count(4)
        await expect(page.answer_text).to_have_text("a beginning")
        await expect(page.answer).to_contain_text("Stopped before the end.")
        stage.copilot.to["Long?"] = ["a whole answer"]
        await page.answer.get_by_role("button", name="Retry").click()
        await expect(page.answer_text).to_have_text("a whole answer")
        await expect(page.tab.locator(".gw-turn")).to_have_count(4)


async def test_a_conversation_remembers_its_settings(stage):
    async with stage.page() as page:
        chosen = page.tab.locator("#gw-chosen")
        await page.tab.get_by_label("Stay local").check()
        await page.tab.get_by_role("button", name="Settings").click()
        await page.tab.get_by_label("Standing instructions").fill("Be brief.")
        await page.tab.locator("#gw-temperature").get_by_text("inventive").click()
        await page.reload()  # before there is a conversation
        await expect(chosen).to_contain_text("stays on this laptop · standing instructions · inventive")
        await page.message.fill("not sent yet")
        await page.reload()
        await expect(page.message).to_have_value("not sent yet")
        await page.ask("Secret")
        await page.reload()
        await page.ask("Secret too")
        asked = stage.local.prompts[-1]
        assert (stage.copilot.calls, asked.messages[0].content, asked.temperature) == (0, "Be brief.", 1.2)
        secret = page.tab.url

        await page.tab.get_by_role("button", name="New chat").click()
        await expect(chosen).to_contain_text("stays on this laptop")  # a new one takes those that are shown
        await page.tab.get_by_role("button", name="Back to normal").click()
        await expect(chosen).to_be_hidden()
        await expect(page.tab.get_by_label("Stay local")).not_to_be_checked()
        await page.tab.locator("#gw-tier").get_by_label("cloud").check()
        await page.ask("Public")
        await expect(page.answer.locator(".gw-badge")).to_contain_text("Cloud")

        other = await page.another_tab(secret)
        await expect(other.tab.locator("#gw-chosen")).to_contain_text("stays on this laptop · standing instructions")
        await expect(other.tab.get_by_label("Stay local")).to_be_checked()
        await other.tab.get_by_role("button", name="Settings").click()
        await expect(other.tab.get_by_label("Standing instructions")).to_have_value("Be brief.")
        await page.tab.get_by_role("button", name="Secret").first.click()
        await expect(chosen).to_contain_text("stays on this laptop")
        await expect(page.tab.locator("#gw-tier").get_by_label("first that can")).to_be_checked()


async def test_everything_is_erased_after_a_look_at_what_goes_and_every_tab_shows_it(stage):
    folder = stage.gateway.settings.ai_gateway_state_dir
    write_private(folder / "copilot.json", b"{}")
    write_private(folder / "indexes.db", b"")
    write_private(folder / "models" / "tiny.gguf", b"x")
    stage.copilot.to["Long?"] = ["a beginning", 60.0, "never"]
    async with stage.page() as page, stage.page() as foreign:
        foreign.expected = ("404",)
        await page.attach(("pump.txt", b"The pump stands in the cellar."))
        await page.ask("Where?")
        other = await page.another_tab(page.tab.url)
        await other.message.fill("a draft")
        await other.tab.get_by_label("Stay local").check()
        await foreign.ask("Long?", wait=False)
        await expect(foreign.answer_text).to_have_text("a beginning")

        await page.tab.get_by_role("button", name="Erase everything …").click()
        dialog = page.tab.get_by_role("dialog")
        for words in ("conversations of the chat page", "the login saved by", "indexes of documents"):
            await expect(dialog.locator("#gw-goes")).to_contain_text(words)
        for words in ("circuits", "models"):
            await expect(dialog.locator("#gw-stays")).to_contain_text(words)
        await dialog.get_by_role("button", name="Cancel").click()
        assert (folder / "copilot.json").exists()
        await expect(page.tab.locator(".gw-turn")).to_have_count(2)

        await page.tab.get_by_role("button", name="Erase everything …").click()
        await dialog.get_by_role("button", name="Erase everything", exact=True).click()
        for tab in (page, other):
            await expect(tab.tab.locator("#gw-banner")).to_contain_text("Everything was erased")
            await expect(tab.tab.locator(".gw-turn, .gw-chat, .gw-document, #gw-cards li")).to_have_count(0)
            await expect(tab.message).to_have_value("")
            await expect(tab.tab.locator("#gw-chosen")).to_be_hidden()
        await expect(foreign.tab.locator("#gw-banner")).to_contain_text("not there any more")
        await expect(foreign.tab.locator(".gw-turn")).to_have_count(0)
        await until(lambda: stage.copilot.cancelled == 1, 20)
        kept = {path.name for path in folder.iterdir()}
        assert kept & {"conversations", "copilot.json", "indexes.db"} == set()
        assert (folder / "models" / "tiny.gguf").exists()
        for tab in (page, other):
            assert set(await tab.tab.evaluate("Object.values({...sessionStorage}).join('')")) <= set("0123456789")
        await page.reload()
        await page.ask("A new beginning")
        await expect(page.tab.locator(".gw-chat")).to_have_count(1)
