"""The page in a real browser, before tiers that follow a script. Pictures are left in `.test-artifacts/page`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway_core import Reason
from gateway_core.errors import RateLimited, TierBroken

from .browser import PHONE, Stage, staged, until

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PUMP = b"The pump stands in the cellar. The oil filter of the pump must be changed every 250 hours of work."
HOW_OFTEN = "How often must the filter be changed?"
CODE = 'def f(x):  # a comment\n    return "text" + str(1)'
EVERYTHING = f"""# Title

text `code` **strong** [link](https://example.org)

- a
- b

```python
{CODE}
```

| a | b |
|---|---|
| 1 | 2 |
"""
ATTACK = "<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script><svg onload='window.hit=1'>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("page") / "state") as made:
        made.cloud.to[HOW_OFTEN] = made.copilot.to[HOW_OFTEN] = ["Every 250 hours of work [1]. See [9]."]
        yield made


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def fresh(stage: Stage) -> AsyncIterator[None]:
    await stage.gateway.reset()
    stage.network.connect()
    for tier in (stage.copilot, stage.cloud, stage.local):
        tier.prompts.clear()
        tier.cancelled = 0
    yield


async def test_the_whole_flow_needs_no_mouse(stage):
    stage.copilot.to["Count!"] = [part for n in range(200) for part in (f"{n} ", 0.05)]
    stage.copilot.to["Name a town."] = ["Ulm"]
    async with stage.page() as page:
        keys = page.tab.keyboard
        await page.ask("Count!", wait=False)  # ask, and stop
        await expect(page.answer_text).to_contain_text("3 ")
        await keys.press("Escape")
        await expect(page.answer).to_contain_text("Stopped before the end.")
        await until(lambda: stage.copilot.cancelled == 1, 1)

        await keys.press("Alt+e")  # edit
        await page.tab.get_by_label("Edit your question").fill("Name a town.")
        await keys.press("Enter")
        await expect(page.answer_text).to_have_text("Ulm")
        await expect(page.answer).to_contain_text("in all")
        await expect(page.tab.locator(".gw-turn")).to_have_count(2)

        stage.copilot.to["Name a town."] = ["Bonn"]
        await keys.press("Alt+r")  # retry
        await expect(page.answer_text).to_have_text("Bonn")

        async with page.tab.expect_file_chooser() as chooser:  # attach, and ask about the file
            await keys.press("Alt+u")
        await (await chooser.value).set_files({"name": "pump.txt", "mimeType": "text/plain", "buffer": PUMP})
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
        await expect(page.tab.locator("#gw-banner")).to_contain_text("is back", timeout=15_000)
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
    stage.cloud.to["Capital?"] = ["is, on the Seine.", 1.2, " That is all."]
    async with stage.page() as page:
        await page.ask("Capital?", wait=False)
        await expect(page.answer_text).to_contain_text("Paris")
        begun = time.monotonic()
        await expect(page.tab.locator("#gw-tiers")).to_contain_text("left alone")
        panel_took = time.monotonic() - begun
        await expect(page.answer.locator(".gw-seam")).to_have_attribute("aria-label", "Cloud goes on here")
        await expect(page.answer_text).to_have_text("The capital is Paris, on the Seine. That is all.")
        await expect(page.answer).to_contain_text("copilot: broke off (fell silent)")
        await expect(page.tab.locator(".gw-countdown")).to_contain_text("Tried again in")
        await page.picture("seam")

        await page.tab.get_by_role("button", name="Try every tier again").click()
        await expect(page.tab.locator("#gw-tiers .gw-state").first).to_have_text("ready")

    assert panel_took < 1


async def test_offline_is_told_at_once_and_the_cloud_is_asked_again_when_it_is_over(stage):
    async with stage.page() as page:
        stage.network.cut()
        await expect(page.tab.locator("#gw-network")).to_contain_text("Offline", timeout=3000)
        await page.ask("Hi")
        await expect(page.answer).to_contain_text("This laptop")
        await expect(page.answer).to_contain_text("copilot: this laptop is offline")
        await page.picture("offline")

        stage.network.connect()
        await expect(page.tab.locator("#gw-network")).to_contain_text("Online", timeout=3000)
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
        elif way == "reload":
            await page.tab.reload()
        else:
            await page.tab.close()
        await until(lambda: stage.copilot.cancelled == 1, 3)  # promised: one second; the rest is for a busy machine
        if way == "reload":
            await page.ready()
            await expect(page.answer_text).to_have_text("a beginning")
            await expect(page.answer).to_contain_text("Stopped before the end.")


async def test_s09_s15_nothing_that_was_written_ever_acts(stage):
    stage.copilot.to[ATTACK] = [
        ATTACK,
        "\n\n![p](http://evil.example/x.png) [l](javascript:window.hit=1) <http://a> ",
        f"`{ATTACK}`\n\n```html\n{ATTACK}\n```\n\n| a |\n|---|\n| {ATTACK} |\n\n[1] and **{ATTACK}**",
    ]
    async with stage.page() as page:
        page.tab.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        file = {"name": f"{ATTACK}.txt".replace("/", "_"), "mimeType": "text/plain", "buffer": ATTACK.encode()}
        await page.tab.locator("#gw-files").set_input_files([file])
        await expect(page.tab.locator(".gw-document:not(.gw-loading)")).to_contain_text("<img")
        await page.ask(ATTACK)
        await page.tab.keyboard.press("Alt+s")
        await expect(page.tab.locator(".gw-card").first).to_be_focused()
        await page.tab.reload()
        await page.ready()
        await expect(page.answer_text).to_contain_text("<script>")
        await page.picture("attack")

        places = "#gw-log, #gw-documents, #gw-cards, #gw-chats"
        made = await page.tab.locator(places).locator("img, script, svg, iframe, [onerror], [onload]").count()
        links = await page.tab.locator("#gw-log a").evaluate_all("found => found.map(a => a.protocol)")
        assert (made, await page.tab.evaluate("window.hit")) == (0, None)
        assert set(links) <= {"http:", "https:"}


async def test_files_that_cannot_be_read_do_not_stop_the_others_and_any_can_be_removed(stage):
    files = [{"name": f"{n}.txt", "mimeType": "text/plain", "buffer": b"text %d" % n} for n in range(28)]
    files += [
        {"name": "empty.txt", "mimeType": "text/plain", "buffer": b""},
        {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"},
    ]
    async with stage.page() as page:
        page.expected = ("422",)
        await page.tab.locator("#gw-files").set_input_files(files)
        await expect(page.tab.locator(".gw-document:not(.gw-loading)")).to_have_count(30, timeout=30_000)
        await expect(page.tab.locator(".gw-refused")).to_have_count(2)
        await page.tab.get_by_role("button", name="Remove 7.txt").click()
        await expect(page.tab.locator(".gw-document")).to_have_count(29)
        await page.tab.reload()
        await page.ready()
        await expect(page.tab.locator(".gw-document")).to_have_count(27)


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


async def test_conversations_are_renamed_exported_and_deleted(stage):
    async with stage.page() as page:
        page.tab.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
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
        await current.locator("summary").click()
        await current.get_by_role("button", name="Delete", exact=True).click()
        await expect(page.tab.get_by_text("My talk")).to_have_count(0)
        await expect(page.tab.locator(".gw-turn")).to_have_count(0)


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


async def test_two_tabs_keep_their_own_conversations_and_lose_none(stage):
    async with stage.page() as one, stage.page() as other:
        await one.ask("First tab")
        await other.ask("Second tab")
        await one.tab.reload()
        await one.ready()
        await expect(one.tab.locator(".gw-user")).to_have_text(re.compile("First tab"))
        await expect(one.tab.locator("#gw-chats")).to_contain_text("Second tab")


async def test_shortcuts_are_listed_and_can_be_switched_off(stage):
    async with stage.page() as page:
        await page.tab.locator("#gw-help").focus()
        await page.tab.keyboard.press("?")
        await expect(page.tab.get_by_role("dialog")).to_contain_text("New chat")
        await page.tab.get_by_label("Shortcuts are on").uncheck()
        await page.tab.keyboard.press("Escape")
        await page.tab.keyboard.press("Alt+t")
        assert not await page.tab.evaluate("document.body.classList.contains('dark')")


async def test_the_light_is_switched_and_remembered(stage):
    async with stage.page() as page:
        await page.tab.get_by_role("button", name="Dark colours").click()
        await page.tab.reload()
        await page.ready()
        assert await page.tab.evaluate("document.body.classList.contains('dark')")


async def test_a_phone_shows_everything_without_scrolling_sideways(stage):
    async with stage.page(viewport=PHONE, has_touch=True) as page:
        for n in range(4):
            await page.ask(f"Question {n}")
        box = await page.message.bounding_box()
        assert box["y"] + box["height"] <= PHONE["height"]
        assert await page.tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        await page.picture("phone")
        await page.tab.get_by_role("button", name="Conversations").click()
        await expect(page.tab.get_by_role("button", name="New chat")).to_be_in_viewport()
        await page.tab.get_by_role("button", name="Tiers and sources").click()
        await expect(page.tab.get_by_role("button", name="Try every tier again")).to_be_in_viewport()
        await page.picture("phone-tiers")


@pytest.mark.parametrize("view", ["light", "dark", "phone"])
async def test_axe_finds_nothing(stage, view):
    package = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
    axe = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    stage.copilot.to["Show all"] = [EVERYTHING]
    stage.copilot.to["Cut"] = ["Half of ", TierBroken("copilot", "cut", reason=Reason.STALLED)]
    options = {"color_scheme": "dark" if view == "dark" else "light"} | ({"viewport": PHONE} if view == "phone" else {})
    async with stage.page(**options) as page:
        await page.tab.evaluate(axe)

        async def violations():
            found = await page.tab.evaluate("axe.run(document).then(result => result.violations)")
            return [(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in found]

        await page.tab.wait_for_timeout(300)
        assert await violations() == []
        await page.picture(f"empty-{view}")
        await page.tab.locator("#gw-files").set_input_files(
            [{"name": "pump.txt", "mimeType": "text/plain", "buffer": PUMP}]
        )
        await expect(page.tab.locator(".gw-document:not(.gw-loading)")).to_have_count(1)
        await page.ask("Show all")
        assert await page.answer_text.locator("pre").inner_text() == CODE
        await page.picture(f"markdown-{view}")
        await page.ask("Cut")
        await page.ask(HOW_OFTEN)
        assert await violations() == []
        await page.tab.keyboard.press("Alt+s")
        await page.tab.wait_for_timeout(300)
        await page.picture(f"sources-{view}")
        assert await violations() == []
