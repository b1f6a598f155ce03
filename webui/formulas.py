"""Formulas that a model wrote in TeX, as MathML for the page.

What leaves here is not markup but JSON: `[element, attributes, children or text]`, of a short list of elements and
attributes, which the page makes one by one. A formula that is too long, too deep, or holds a command that is not known
is `None`: the page shows what was written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from html import unescape
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

MOST_AT_ONCE = 200
MOST_CHARS = 2000
MOST_ELEMENTS = 4000
MOST_DEPTH = 60  # of braces, and of elements: both the converter and a browser's layout follow them recursively

Tree: TypeAlias = list[Any]

_LENGTH = re.compile(r"[+-]?\d{0,2}(\.\d{1,3})?(em|ex|pt|px)")
_WORD = re.compile(r"[a-z]+")
_ATTRIBUTES = {
    "accent": _WORD, "columnalign": _WORD, "columnspacing": re.compile(r"0em( 2em)?"), "depth": _LENGTH,
    "displaystyle": _WORD, "fence": _WORD, "form": _WORD, "height": _LENGTH, "linethickness": re.compile(r"0"),
    "lspace": _LENGTH, "mathvariant": re.compile(r"normal"), "maxsize": _LENGTH, "minsize": _LENGTH,
    "movablelimits": _WORD, "rspace": _LENGTH, "scriptlevel": re.compile(r"[0-3]"), "stretchy": _WORD,
    "width": _LENGTH,
}  # fmt: skip
_NAMES = """
math mfrac mi mn mo mover mpadded mphantom mroot mrow mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder
munderover
"""
_ELEMENTS = frozenset(_NAMES.split())
_LEAVES = frozenset({"mi", "mn", "mo", "mtext"})

# What the converter does not know, in words it knows.
_SAME = (
    (re.compile(r"\\(begin|end)\s*\{(?:align|aligned|split|gathered|gather\*?|eqnarray\*?)\}"), r"\\\1{align*}"),
    (re.compile(r"\\(begin|end)\s*\{dcases\}"), r"\\\1{cases}"),
    (re.compile(r"\\(?:begin|end)\s*\{(?:equation|displaymath|math)\*?\}"), " "),
    (re.compile(r"\\(?:nonumber|notag)\b|\\label\s*\{[^{}]*\}"), " "),
    (re.compile(r"\\(arg|deg|dim|hom|ker|lg|sgn)(?![a-zA-Z])"), r"\\operatorname{\1}"),
    (re.compile(r"\\(?:bm|pmb)(?![a-zA-Z])"), r"\\mathbf"),
)
_UNDERNEATH = frozenset({"lim", "max", "min", "sup", "inf", "argmax", "argmin", "limsup", "liminf", *"⋃⋂⨁⨂⋁⋀"})
_UNDER = {"msub": "munder", "msubsup": "munderover"}
_ESCAPED = {"\\{": "{", "\\}": "}", "\\|": "‖"}


class _Unknown(Exception):
    """It cannot be shown as it was meant."""


def trees(formulas: Sequence[tuple[str, bool]]) -> list[Tree | None]:
    """Of each `(TeX without its dollars, stands alone)`."""
    return [tree(source, alone) for source, alone in formulas]


@lru_cache(maxsize=512)
def tree(source: str, alone: bool) -> Tree | None:
    """`None`: show the source. Takes some 25 ms at most."""
    if len(source) > MOST_CHARS or _depth(source) > MOST_DEPTH:
        return None
    for found, same in _SAME:
        source = found.sub(same, source)
    try:
        # Beside the page's start: most conversations hold no formula.
        from latex2mathml.converter import convert_to_element

        made = convert_to_element(source, display="block" if alone else "inline")
        return _Writer(alone).written(made)
    except Exception:  # noqa: BLE001 - a parser of others over a model's text: it raises what it likes
        return None


def _depth(source: str) -> int:
    """How deep its groups stand in each other, and its indices upon indices."""
    deepest = depth = run = 0
    for opened, closed, index in re.findall(r"(\{|\\left\b|\\begin\b)|(\}|\\right\b|\\end\b)|([_^])", source):
        depth += bool(opened) - bool(closed)
        run = run + 1 if index else run
        deepest = max(deepest, depth)
    return deepest if run <= 400 else MOST_DEPTH + 1


class _Writer:
    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._count = 0

    def written(self, element: Element, depth: int = 0) -> Tree:
        self._count += 1
        name = element.tag
        is_end_of_line = "linebreak" in element.attrib  # which only tables have here
        if name not in _ELEMENTS or is_end_of_line or depth > MOST_DEPTH or self._count > MOST_ELEMENTS:
            raise _Unknown(name)
        attributes = {
            key: value
            for key, value in element.attrib.items()
            if (allowed := _ATTRIBUTES.get(key)) and allowed.fullmatch(value)
        }
        if name == "math":
            attributes = {"display": "block" if self._alone else "inline"}
        if name in _LEAVES:
            return self._leaf(name, attributes, unescape(element.text or ""))
        children = [self.written(child, depth + 1) for child in element]
        if self._alone and name in _UNDER and children[0][2] in _UNDERNEATH:
            name = _UNDER[name]
        return [name, attributes, children]

    def _leaf(self, name: str, attributes: dict[str, str], text: str) -> Tree:
        text = _ESCAPED.get(text, text)
        if name != "mtext" and (text == "&" or (text.startswith("\\") and len(text) > 1)):
            raise _Unknown(text)
        if name == "mi" and len(text) == 1 and unicodedata.category(text) in ("Sm", "Pe", "Ps"):
            name = "mo"  # else it has no room around it
        return [name, attributes, text]
