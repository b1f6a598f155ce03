"""The page in a real browser: light and dark, desk and phone, keys, and readers of all kinds."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from gateway_core import Reason
from gateway_core.errors import TierBroken

from .browser import PHONE

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

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
    stage.copilot.to["Show all"] = [EVERYTHING]
    stage.copilot.to["Cut"] = ["Half of ", TierBroken("copilot", "cut", reason=Reason.STALLED)]
    stage.cloud.to[HOW_OFTEN] = stage.copilot.to[HOW_OFTEN] = ["Every 250 hours of work [1]. See [9]."]
    options = {"color_scheme": "dark" if view == "dark" else "light"} | ({"viewport": PHONE} if view == "phone" else {})
    async with stage.page(**options) as page:
        assert await page.violations() == []
        await page.picture(f"empty-{view}")

        await page.attach(("pump.txt", PUMP))
        await page.ask("Show all")
        assert await page.answer_text.locator("pre").inner_text() == CODE
        await page.picture(f"markdown-{view}")
        await page.ask("Cut")
        await page.ask(HOW_OFTEN)
        assert await page.violations() == []
        await page.tab.keyboard.press("Alt+s")
        await expect(page.tab.locator(".gw-card").first).to_be_focused()
        assert await page.violations() == []
        await page.picture(f"sources-{view}")

        if view == "phone":
            await page.tab.get_by_role("button", name="Tiers and sources").click()
            await page.tab.get_by_role("button", name="Tiers and sources").click()
        await page.tab.get_by_role("tab", name="Tiers").click()
        await page.tab.get_by_role("button", name="Settings").click()
        await page.tab.get_by_label("Standing instructions").fill("Be brief.")
        await page.tab.get_by_text("inventive").click()
        await page.tab.get_by_role("button", name="Drill: break something").click()
        await page.tab.get_by_role("button", name="Break it for the next question").scroll_into_view_if_needed()
        assert await page.violations() == []
        await page.picture(f"settings-{view}")
        await page.tab.get_by_role("button", name="Break it for the next question").click()
        await expect(page.tab.locator("#gw-drill-note")).to_contain_text("copilot breaks off in mid-answer")
        stage.network.cut()
        await expect(page.tab.locator("#gw-lights")).to_contain_text("offline")
        assert await page.violations() == []
        await page.picture(f"offline-{view}")
        await page.tab.get_by_role("button", name="End the drill").click()

        if view == "phone":
            await page.tab.get_by_role("button", name="Conversations").click()
        await page.tab.get_by_role("button", name="Erase everything").first.click()
        assert await page.violations() == []
        await page.picture(f"erase-{view}")


async def test_a_tap_on_a_phone_opens_the_sources(stage):
    stage.copilot.to[HOW_OFTEN] = ["Every 250 hours of work [1]."]
    async with stage.page(viewport=PHONE, has_touch=True, is_mobile=True) as page:
        await page.attach(("pump.txt", PUMP))
        await page.ask(HOW_OFTEN)
        card, shade = page.tab.locator(".gw-card").first, page.tab.locator("#gw-middle")
        for place in (page.answer.locator(".gw-cite"), page.answer.get_by_role("button", name="Sources: 1")):
            await place.tap()
            await expect(card).to_be_in_viewport()
            await expect(card).to_be_focused()
            await page.picture("phone-source")
            await shade.tap(position={"x": 10, "y": 30})
            await expect(card).to_be_hidden()


async def test_an_open_dialog_takes_the_keys(stage):
    stage.copilot.to["Long?"] = ["a beginning", 60.0, "never"]
    async with stage.page() as page:
        await page.ask("Long?", wait=False)
        await expect(page.answer_text).to_have_text("a beginning")
        await page.tab.get_by_role("button", name="Erase everything …").click()
        dialog = page.tab.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        for keys in ("Alt+n", "Alt+t", "Alt+f"):
            await page.tab.keyboard.press(keys)
        await page.tab.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(page.answer_text).to_have_text("a beginning")
        await expect(page.tab.get_by_role("button", name="Stop")).to_be_visible()
        assert not await page.tab.evaluate("document.body.classList.contains('dark')")


async def test_the_light_is_switched_and_remembered(stage):
    async with stage.page() as page:
        await page.tab.get_by_role("button", name="Dark colours").click()
        await page.tab.reload()
        await page.ready()
        assert await page.tab.evaluate("document.body.classList.contains('dark')")


async def test_shortcuts_are_listed_and_can_be_switched_off(stage):
    async with stage.page() as page:
        await page.tab.locator("#gw-help").focus()
        await page.tab.keyboard.press("?")
        await expect(page.tab.get_by_role("dialog")).to_contain_text("New chat")
        await page.tab.get_by_label("Shortcuts are on").uncheck()
        await page.tab.keyboard.press("Escape")
        await page.tab.keyboard.press("Alt+t")
        assert not await page.tab.evaluate("document.body.classList.contains('dark')")


async def test_the_switch_of_the_shortcuts_looks_on_when_it_is(stage):
    async with stage.page(color_scheme="light") as page:
        await page.tab.get_by_role("button", name="Keyboard shortcuts").click()
        switch = page.tab.locator("#gw-keys-on")
        await expect(switch).to_be_checked()
        with Image.open(BytesIO(await switch.screenshot())) as shown:
            width, height = shown.size
            inside = shown.convert("RGB").crop((width // 4, height // 4, width * 3 // 4, height * 3 // 4))

        assert len(inside.getcolors()) > 1  # a tick is seen, not white upon white
