"""The page in a real browser: how what was written is set."""

from __future__ import annotations

import asyncio

import pytest

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)  # a guard against hanging, on machines with much else to do

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

SET = """async (text) => {
  const { fill } = await import("./page/markdown.js");
  const made = document.createElement("div");
  fill(made, text);
  for (const part of made.querySelectorAll(".gw-code-bar")) part.remove();
  for (const part of made.querySelectorAll("*")) for (const name of part.getAttributeNames())
    if (!["href", "start", "aria-label"].includes(name)) part.removeAttribute(name);
  return made.innerHTML;
}"""


async def set_(page, text):
    return await page.tab.evaluate(SET, text)


async def test_markdown_is_set_as_it_was_meant(stage):
    async with stage.page() as page:
        for text, wanted in [
            ("1. a\n2. b\n- c\n- d", "<ol><li>a</li><li>b</li></ol><ul><li>c</li><li>d</li></ul>"),
            ("1. a\n\n- c", "<ol><li>a</li></ol><ul><li>c</li></ul>"),
            ("1. a\n   - c\n2. b", "<ol><li>a<ul><li>c</li></ul></li><li>b</li></ol>"),
            ("***x*** *a **b** c*", "<p><em><strong>x</strong></em> <em>a <strong>b</strong> c</em></p>"),
            ("Fish &amp; chips&nbsp;&lt;b&gt;", "<p>Fish &amp; chips&nbsp;&lt;b&gt;</p>"),
            ("`&amp;`", "<p><code>&amp;amp;</code></p>"),
            ("a<br>b<br/>c<b>d", "<p>a<br>b<br>c&lt;b&gt;d</p>"),
            ("Title\n===\n\nPart\n---\n\ntext", "<h3>Title</h3><h4>Part</h4><p>text</p>"),
            ("text\n***\ntext", "<p>text</p><hr><p>text</p>"),
        ]:  # fmt: skip
            assert await set_(page, text) == wanted


async def test_code_by_indentation_and_task_boxes(stage):
    async with stage.page() as page:
        assert "<code>x = 1\n\ny = 2</code>" in await set_(page, "So:\n\n    x = 1\n\n    y = 2\n\nEnd")
        tasks = await set_(page, "- [x] done\n- [ ] not yet")
        assert tasks == (
            '<ul><li><span aria-label="Done:"></span>done</li><li><span aria-label="To do:"></span>not yet</li></ul>'
        )


async def test_an_address_keeps_its_brackets(stage):
    wanted = 'href="https://en.wikipedia.org/wiki/Ulm_(Donau)"'
    async with stage.page() as page:
        assert wanted in await set_(page, "See https://en.wikipedia.org/wiki/Ulm_(Donau).")
        assert wanted in await set_(page, "(see https://en.wikipedia.org/wiki/Ulm_(Donau))")
        assert wanted in await set_(page, "[Ulm](https://en.wikipedia.org/wiki/Ulm_(Donau))")


async def test_formulas_are_found_and_prices_and_code_are_none(stage):
    async with stage.page() as page:
        for text, sources in [
            (r"\(E=mc^2\) and \[a\,b\]", [r"\(E=mc^2\)", r"\[a\,b\]"]),
            ("$$x$$ and $a_1*b_1*c$", ["$$x$$", "$a_1*b_1*c$"]),
            (r"So \[a \\[2pt] b\] and \(c", [r"\[a \\[2pt] b\]"]),
            ("The $n$th of $x$.", ["$n$", "$x$"]),
            ("$5 and $6, US$7 to $8-$9", []),
            ("\\$x and \\$y", []),
            ("`$x$` and\n\n```\n$$x$$\n```\n\n    $y$", []),
            ("$a\n\nb$", []),
            ("$$\na\n- b\n+ c\n$$", ["$$\na\n- b\n+ c\n$$"]),
            ("So\n\\[\nx = 1.\n\\]\nthen", ["\\[\nx = 1.\n\\]"]),
            ("- so $$x$$\n- and\n  $$\n  y\n  $$", ["$$x$$", "$$\ny\n$$"]),
            ("\\[ a\n- b", ["\\[ a\n- b"]),  # not ended yet
        ]:  # fmt: skip
            found = await page.tab.evaluate(
                """async (text) => {
                  const { fill } = await import("./page/markdown.js");
                  const made = document.createElement("div");
                  fill(made, text);
                  return [...made.querySelectorAll(".gw-tex")].map((part) => part.textContent);
                }""",
                text,
            )
            assert found == sources
        assert r"\(E=mc" in await set_(page, r"It is \(E=mc")  # the end is still to come


async def test_formulas_are_drawn_once_the_answer_is_whole(stage):
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")
    may_end = asyncio.Event()
    stage.copilot.to["Energy?"] = [r"It is \(E=mc^2\), not \(\foo{x}\).", may_end, "\n\n$$\\frac{a}{b}$$ done"]
    async with stage.page() as page:
        await page.ask("Energy?", wait=False)
        await expect(page.answer_text.locator(".gw-tex").first).to_have_text(r"\(E=mc^2\)")
        may_end.set()
        await expect(page.answer_text.locator("math")).to_have_count(2)
        await expect(page.answer_text.locator(".gw-tex")).to_have_text([r"\(\foo{x}\)"])
        shape = await page.tab.evaluate("document.querySelector('.gw-answer math msup').getBoundingClientRect().height")
        assert shape > 5

        await page.reload()
        await expect(page.answer_text.locator("math mfrac")).to_have_count(1)
        assert await page.violations() == []
        await page.picture("formulas")


async def test_nothing_acts_through_a_formula(stage):
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")
    stage.copilot.to["Attack"] = [r"\(\text{<img src=x onerror=window.hit=1>}\) $\href{javascript:window.hit=1}{x}$"]
    async with stage.page() as page:
        await page.ask("Attack")
        await expect(page.answer_text.locator("math")).to_have_count(2)
        assert await page.answer_text.locator("img, a, [href], [onerror]").count() == 0
        assert await page.tab.evaluate("window.hit") is None


@pytest.mark.parametrize("part", ["$a", "\\(", "\\[", "$$ a", "**a ", "*a ", "![a](", "[a](((", "https://((("])
async def test_what_never_closes_is_set_in_time(stage, part):
    async with stage.page() as page:
        took = await page.tab.evaluate(
            """async (text) => {
              const { fill } = await import("./page/markdown.js");
              const begun = performance.now();
              fill(document.createElement("div"), text);
              return performance.now() - begun;
            }""",
            part * 3000,
        )
        assert took < 3000
