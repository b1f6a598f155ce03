"""Formulas in TeX become elements of a short list, or stay what was written."""

from __future__ import annotations

import time

import pytest

from webui.formulas import MOST_CHARS, MOST_DEPTH, tree

from .serving import calling

pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")


def flat(drawn):
    """Its elements and texts, in order."""
    name, _, inner = drawn
    return [name, inner] if isinstance(inner, str) else [name, *(part for child in inner for part in flat(child))]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        pytest.param("E=mc^2", ["E", "=", "m", "msup", "c", "2"], id="powers"),
        pytest.param(r"\frac{-b\pm\sqrt{b^2}}{2a}", ["mfrac", "−", "b", "±", "msqrt"], id="fractions and roots"),
        pytest.param(r"\sum_{i=1}^n i", ["munderover", "∑", "i", "=", "1", "n"], id="limits above and below a sum"),
        pytest.param(r"\lim_{x\to 0} x", ["munder", "lim", "x", "→", "0"], id="limits below a word"),
        pytest.param(r"\begin{pmatrix}a&b\\c&d\end{pmatrix}", ["(", "mtable", "mtr", "mtd", "a"], id="matrices"),
        pytest.param(r"\begin{aligned}a&=b\\c&=d\end{aligned}", ["mtable", "mtr", "a", "=", "b"], id="aligned lines"),
        pytest.param(r"\alpha\,\Gamma \in \mathbb{R}", ["α", "mspace", "Γ", "∈", "ℝ"], id="Greek"),
        pytest.param(r"\text{if } x", ["mtext", "if\u00a0", "x"], id="words"),
        pytest.param(r"\bigl\{ x \bigr\}", ["{", "x", "}"], id="braces"),
    ],
)
def test_a_formula_is_drawn(source, parts):
    found = iter(flat(tree(source, True)))

    assert [part for part in parts if part not in found] == []


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("", id="nothing"),
        pytest.param(r"\frac{1}{", id="without an end"),
        pytest.param(r"\foo{x}", id="an unknown command"),
        pytest.param(r"\begin{foo} a & b \end{foo}", id="an unknown environment"),
        pytest.param("x^2^3", id="two powers"),
        pytest.param("x" * (MOST_CHARS + 1), id="too long"),
        pytest.param("{" * (MOST_DEPTH + 1) + "x" + "}" * (MOST_DEPTH + 1), id="too deep"),
        pytest.param(r"\sqrt " * 300 + "x", id="deep without braces"),
        pytest.param("^" * MOST_CHARS, id="powers of nothing"),
    ],
)
def test_what_cannot_be_drawn_is_left_as_it_was_written(source):
    assert tree(source, True) is None


@pytest.mark.parametrize("source", [r"\left(" * 300, "x_1^2+" * 330, "\\" * 2000, "x" + "'" * 1900, "a&" * 900])
def test_no_formula_takes_long(source):
    begun = time.process_time()
    tree(source, False)

    assert time.process_time() - begun < 2


def test_nothing_but_the_form_of_a_formula_gets_through():
    drawn = tree(
        r"\href{javascript:alert(1)}{x} \color{red} \style{position:fixed}{y} \hspace{9999em} \class{a}{z} "
        r"\text{<script>alert(1)</script>}",
        False,
    )

    assert "href" not in str(drawn)
    assert "position" not in str(drawn)
    assert "9999em" not in str(drawn)
    assert "red" not in str(drawn)
    assert flat(drawn)[-1] == "<script>alert(1)</script>"  # as text


async def test_formulas_are_asked_for_together():
    async with calling() as client:
        reply = await client.post("/math", json={"formulas": [["x", False], ["\\foo", True]]})
        too_many = await client.post("/math", json={"formulas": [["x", False]] * 201})

    assert reply.json() == [["math", {"display": "inline"}, [["mrow", {}, [["mi", {}, "x"]]]]], None]
    assert too_many.status_code == 422
