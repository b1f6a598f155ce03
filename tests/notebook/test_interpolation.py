"""`{name}` becomes a value; everything else stays as it was, and nothing is evaluated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.testing import ScriptedTier
from notebook_ext.interpolate import LONGEST_VALUE, fill

NAMES = {
    "city": "Oslo",
    "n": 3,
    "cfg": SimpleNamespace(model="m1", _hidden="no", rows=[{"id": 7}]),
    "rows": [{"id": 7, "a b": "blank"}],
    "naïve": "yes",
    "_ai": "the last answer",
    "_x": "private",
    "a": "WRONG",
    "x": "WRONG",
    "i": "WRONG",
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Is {city} large?", "Is Oslo large?"),
        ("{city}{n}", "Oslo{n}"),  # directly after a brace
        ("{n} of ({city})", "3 of (Oslo)"),
        ("{cfg.model}, {rows[0]['id']}, {rows[-1][\"a b\"]}, {cfg.rows[0]['id']}", "m1, 7, blank, 7"),
        ("{naïve}", "yes"),
        ("{_ai}", "the last answer"),
        ("{{city}}", "{city}"),
        ("{{ city }}", "{{ city }}"),
        ("{{unbound}}", "{{unbound}}"),
        ("{{{city}}}", "{{{city}}}"),
        ('{"a": {city}}', '{"a": Oslo}'),
    ],
)
def test_what_becomes_a_value(text, filled):
    assert fill(text, NAMES).text == filled


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": {"c": [1, 2]}}',
        r"\frac{a}{x}, \mathbb{x}, x^{i}, x_{i}, ${x}, $\{x\}$",
        "f{x} and \\{x}",
        "{unbound} {cfg.missing} {rows[9]} {rows['no']} {cfg.rows.nope}",
        "{cfg._hidden} {cfg.__class__} {_x} {__name__} {cfg.model.__len__}",
        "{city!r} {city:>10} {n + 1} {city()} {print(1)} {rows[n]} {rows[0:1]} { city }",
        "{} {0} {-1} {city",
        "$HOME ${HOME} %s %(city)s",
        "{lambda: 0} {[x for x in rows]} {city.upper()}",
    ],
)
def test_what_stays(text):
    assert fill(text, NAMES).text == text


def test_a_property_that_fails_leaves_the_text():
    class Moody:
        @property
        def mood(self) -> str:
            raise RuntimeError("not today")

        def __str__(self) -> str:
            raise RuntimeError("never")

    assert fill("{m.mood} {m}", {"m": Moody()}).text == "{m.mood} {m}"


def test_a_long_value_is_cut_and_named():
    filled = fill("Read {book}", {"book": "x" * (LONGEST_VALUE + 1)})

    assert filled.cut == ("book",)
    assert len(filled.text) == LONGEST_VALUE + len("Read ")


def test_values_are_not_filled_again():
    assert fill("{a} {b}", {"a": "{b}", "b": "{a}"}).text == "{b} {a}"


class Bomb:
    """Says so if anything of it is evaluated."""

    touched = False

    def __call__(self) -> str:
        Bomb.touched = True
        return "boom"

    def __getattr__(self, name: str) -> str:
        Bomb.touched = True
        return "boom"


@given(st.text(alphabet=st.sampled_from("{}[]().'\"_ \\$^ab01,:+\n"), max_size=60))
def test_no_text_calls_anything_and_none_fails(text):
    def boom() -> str:
        Bomb.touched = True
        return "boom"

    Bomb.touched = False
    fill(text, {"a": boom, "b": 1})

    assert not Bomb.touched


@given(st.text(max_size=80))
def test_text_without_bound_names_stays(text):
    assert fill(text, {}).text == text


@given(st.text(max_size=40).filter(lambda t: "{" not in t and "}" not in t), st.text(max_size=40))
def test_everything_around_a_placeholder_stays(before, value):
    joined = f"{before} {{v}} after"

    assert fill(joined, {"v": value}).text == f"{before} {value} after"


def test_raw_switches_it_off(notebook, asked):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook["city"] = "Oslo"
    notebook.run("%%ai --raw\nIs {city} large?")

    assert asked(tier) == "Is {city} large?"


def test_ipython_itself_expands_nothing(notebook, asked):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook["city"] = "Oslo"
    notebook.run("%%ai --system 'cost {1+1} $city' \nIs {1+1} or $city large?")

    assert asked(tier) == "cost {1+1} $city\nIs {1+1} or $city large?"
