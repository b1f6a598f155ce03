"""The page in a real browser: what it must not choke on, and what must never act."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from webui.api import MOST_FILE_BYTES

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ATTACK = "<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script><svg onload='window.hit=1'>"
REMOTE = "![p](http://evil.example/x.png) ![q](//evil.example/y.png) <img src='http://evil.example/z.png'>"
LINKS = "[a](javascript:window.hit=1) [b](data:text/html,<script>window.hit=1</script>) [c](vbscript:x) <http://a>"


def encrypted_pdf() -> bytes:
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(200, 200)
    writer.encrypt("secret", algorithm="RC4-128")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


async def acted(page) -> tuple[int, object]:
    """Elements that somebody's text became, and whether one of them did something."""
    places = "#gw-log, #gw-documents, #gw-cards, #gw-chats, #gw-banner, #gw-chosen"
    made = await page.tab.locator(places).locator("img, script, svg, iframe, object, [onerror], [onload]").count()
    return made, await page.tab.evaluate("window.hit")


async def test_s09_s15_nothing_that_was_written_ever_acts(stage):
    stage.copilot.to[ATTACK] = [
        ATTACK,
        f"\n\n{REMOTE} {LINKS} ",
        f"`{ATTACK}`\n\n```html\n{ATTACK}\n```\n\n| a |\n|---|\n| {ATTACK} |\n\n[1] and **{ATTACK}**",
    ]
    async with stage.page() as page:
        page.tab.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        await page.tab.get_by_role("button", name="Settings").click()
        await page.tab.get_by_label("Standing instructions").fill(ATTACK)
        await page.attach((f"{ATTACK}.txt".replace("/", "_"), f"{ATTACK} {REMOTE}".encode()))
        await expect(page.tab.locator(".gw-document")).to_contain_text("<img")
        await page.ask(ATTACK)
        await page.tab.keyboard.press("Alt+s")
        await expect(page.tab.locator(".gw-card").first).to_be_focused()
        assert await acted(page) == (0, None)

        await page.reload()
        await expect(page.answer_text).to_contain_text("<script>")
        await expect(page.tab.locator(".gw-current")).to_contain_text("<img")  # the conversation's name
        await page.picture("attack")
        links = await page.tab.locator("#gw-log a").evaluate_all("found => found.map(a => a.protocol)")
        assert await acted(page) == (0, None)
        assert set(links) == {"http:"}


async def test_an_error_message_of_a_provider_and_a_file_name_are_shown_as_text(stage):
    from gateway_core.errors import TierBroken

    for tier in (stage.copilot, stage.cloud, stage.local):
        tier.to["Hi"] = [TierBroken(tier.backend, f"said {ATTACK}")]
    async with stage.page() as page:
        page.expected = ("422",)
        await page.attach((f"{ATTACK}.pdf".replace("/", "_"), b"%PDF-1.4"))
        await expect(page.tab.locator(".gw-refused")).to_contain_text("<img")
        await page.tab.locator(".gw-refused button").click()
        await page.ask("Hi")
        await expect(page.answer).to_contain_text("No tier could answer")

        assert await acted(page) == (0, None)


async def test_thirty_files_at_once_and_each_that_cannot_be_read_is_one_clear_line(stage, tmp_path: Path):
    refused = {
        "empty.txt": (b"", "is empty"),
        "broken.pdf": (b"%PDF-1.4", "is a damaged PDF"),
        "locked.pdf": (encrypted_pdf(), "password"),
        "program.txt": (b"MZ\x90\0" + bytes(300), ""),
        "huge.txt": (b"x" * (MOST_FILE_BYTES + 6 * 2**20), "is larger than the 25 MB allowed"),
    }
    read = {f"{n}.txt": b"text %d" % n for n in range(23)}
    page_of_markup = b"<!DOCTYPE html><html><body><p>Hello</p><script>window.hit=1</script></body></html>"
    read |= {"renamed.txt": page_of_markup, "renamed.md": page_of_markup}
    files = read | {name: data for name, (data, _) in refused.items()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    async with stage.page() as page:
        page.expected = ("422", "413", "ERR_CONNECTION")
        await page.tab.locator("#gw-files").set_input_files([tmp_path / name for name in files])
        await expect(page.tab.locator(".gw-document:not(.gw-loading)")).to_have_count(30, timeout=60_000)
        await page.tab.get_by_text("5 files were not read").click()
        lines = await page.tab.locator(".gw-refused .gw-title").all_inner_texts()
        told = {line.partition(":")[0]: line for line in lines}
        assert set(told) == set(refused)
        assert [name for name, (_, words) in refused.items() if words not in told[name]] == []
        assert [line for line in lines if "\n" in line or len(line) > 200] == []
        await page.picture("thirty-files")

        await page.tab.get_by_role("button", name="Remove 7.txt").click()
        await expect(page.tab.locator(".gw-document")).to_have_count(29)
        await page.reload()
        await expect(page.tab.locator(".gw-document")).to_have_count(24)
        await page.ask("What do they say?")
        await expect(page.answer_text).to_have_text("ok")
        assert await acted(page) == (0, None)


async def test_a_prompt_of_a_million_characters_is_pasted_and_asked(stage):
    async with stage.page(permissions=["clipboard-read", "clipboard-write"]) as page:
        await page.tab.evaluate("navigator.clipboard.writeText('ä word '.repeat(150_000))")
        await page.message.focus()
        await page.tab.keyboard.press("Control+v")
        await page.message.press("Enter")
        await expect(page.answer_text).to_have_text("ok", timeout=60_000)
        await page.ask("And now?")

    asked = [prompt.question for prompt in stage.copilot.prompts]
    assert [len(question) for question in asked] == [1_050_000, 8]


# What a hand would do: files out of a folder, or a picture of the screen out of the clipboard.
GIVE = """([kind, name, text]) => {
  const given = new DataTransfer();
  given.items.add(new File([text], name, { type: "text/plain" }));
  const at = document.getElementById("gw-log");
  const way = { bubbles: true, cancelable: true };
  const drag = (type) => at.dispatchEvent(new DragEvent(type, { dataTransfer: given, ...way }));
  if (kind === "paste") at.dispatchEvent(new ClipboardEvent("paste", { clipboardData: given, ...way }));
  if (kind === "drag") drag("dragenter");
  if (kind === "drop") return [drag("dragover"), drag("drop")];
}"""


async def test_files_are_dropped_and_pasted(stage):
    stage.copilot.to["Where?"] = ["In the cellar [1]."]
    async with stage.page() as page:
        await page.tab.evaluate(GIVE, ["drag", "dropped.txt", ""])
        await expect(page.tab.get_by_text("Drop files to ask about them")).to_be_visible()
        await page.picture("drop")
        untouched = await page.tab.evaluate(GIVE, ["drop", "dropped.txt", "The pump stands in the cellar."])
        assert untouched == [False, False]  # else the browser would go to the file
        await expect(page.tab.get_by_text("Drop files to ask about them")).to_be_hidden()
        await expect(page.tab.locator(".gw-document:not(.gw-loading)")).to_have_text(["dropped.txt30 characters✕"])
        await page.tab.evaluate(GIVE, ["paste", "pasted.txt", "The roof is red."])
        await expect(page.tab.locator(".gw-document:not(.gw-loading)")).to_have_count(2)
        await page.ask("Where?")
        await expect(page.answer.locator(".gw-cite")).to_have_count(1)


async def test_answers_and_code_are_copied(stage):
    code = 'print("1 < 2")\n'
    answer = f"Run **this**:\n\n```python\n{code}```\n"
    stage.copilot.to["How?"] = [answer]
    async with stage.page(permissions=["clipboard-read", "clipboard-write"]) as page:
        clipboard = "navigator.clipboard.readText()"
        await page.ask("How?")
        await page.answer.locator(".gw-code").get_by_role("button", name="Copy").click()
        await expect(page.answer.locator(".gw-code")).to_contain_text("Copied")
        assert (await page.tab.evaluate(clipboard)).strip() == code.strip()
        await page.answer.locator(".gw-tools").get_by_role("button", name="Copy").click()
        await expect(page.answer.locator(".gw-tools")).to_contain_text("Copied")
        assert await page.tab.evaluate(clipboard) == answer
        await page.tab.evaluate("navigator.clipboard.writeText('')")
        await page.tab.keyboard.press("Alt+c")
        await expect(page.tab.locator("#gw-banner")).to_contain_text("in the clipboard")
        assert await page.tab.evaluate(clipboard) == answer


async def test_a_prompt_that_is_too_long_comes_back_with_one_line(stage):
    async with stage.page() as page:
        page.expected = ("422",)
        await page.ask("first")
        await page.tab.evaluate("window.gateway.talk.ask('x'.repeat(2_000_001), null)")
        await expect(page.tab.locator("#gw-banner")).to_contain_text("prompt: ")
        await expect(page.tab.locator(".gw-turn")).to_have_count(2)
        assert len(await page.message.input_value()) == 2_000_001
        await page.message.fill("")
        await page.ask("second")
        await expect(page.tab.locator(".gw-turn")).to_have_count(4)
