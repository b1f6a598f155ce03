"""One text out of two writers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.routing.splice import Seam, _repeated, tokens_in


def joined(shown: str, *pieces: str) -> str:
    seam = Seam(shown)
    return shown + "".join(seam.feed(p) for p in pieces) + seam.end()


@pytest.mark.parametrize(
    ("shown", "second", "whole"),
    [
        ("The capital of France is", " Paris.", "The capital of France is Paris."),
        ("The capi", "tal is Paris.", "The capital is Paris."),
        ("The capital of France", "The capital of France is Paris.", "The capital of France is Paris."),
        ("It lies on the river", "the river Seine.", "It lies on the river Seine."),
        ("It lies on the ", " river Seine.", "It lies on the river Seine."),
        ("It lies on the", "Of course! Continuing where I left off: river", "It lies on the river"),
        ("Very", " Very good.", "Very Very good."),
        ("One. Two.", "Here is an example:\n\ncode", "One. Two.Here is an example:\n\ncode"),
        ("Par", "Paris", "Paris"),
        ("It lies on", "Sure, here's the rest: the river", "It lies on the river"),
        ("It lies on", "Sure! Here is the continuation:\n\n the river", "It lies on the river"),
        ("One. Two.", " Certainly it is three.", "One. Two. Certainly it is three."),
        ("One. Two.", " Here is a third: three.", "One. Two. Here is a third: three."),
        ("We keep", " continuing education programs.", "We keep continuing education programs."),
        ("bye", " bye", "bye bye"),
        ("def f(x):\n    return x", " + 1\n", "def f(x):\n    return x + 1\n"),
        ("1 + 1", " + 1 = 3", "1 + 1 + 1 = 3"),
        ("# Terms\n\n", "Continuous integration:\n- builds", "# Terms\n\nContinuous integration:\n- builds"),
        ("1. Stir.\n", "Continue with the remaining sauce:\n2.", "1. Stir.\nContinue with the remaining sauce:\n2."),
        ("Flour.\n", "The rest of the dough:\nsalt", "Flour.\nThe rest of the dough:\nsalt"),
        ("Flour.\n", "Continuing from there:\nsalt", "Flour.\nsalt"),
        ("Flour.\n", "The rest of the answer:\nsalt", "Flour.\nsalt"),
        ("La la la", " la la la.", "La la la la la la."),
        ("x = [0, 0, 0,", " 0, 0, 0]", "x = [0, 0, 0, 0, 0, 0]"),
        ("шумно и очень", " очень весело", "шумно и очень очень весело"),
        ("על נהר הסיין", " הסיין זורם", "על נהר הסיין הסיין זורם"),
        ("| a | b |\n| 10 | 20 |\n", "| 10 | 20 |\n| 10 | 20 |\n", "| a | b |\n" + "| 10 | 20 |\n" * 3),
        ("| a | b |\n| 10 | 20 |", "\n| 10 | 20 |\n", "| a | b |\n" + "| 10 | 20 |\n" * 2),
        ("One line\nOne more line\nOne", " more line\nThe end", "One line\nOne more line\nOne more line\nThe end"),
        ("f():\n    x = 100\n ", "   x = 100\n", "f():\n    x = 100\n    x = 100\n"),
        ("def f():\n", "    return 1", "def f():\n    return 1"),
        ("    if x:\n    ", "    return 1", "    if x:\n        return 1"),
        ("Haha", "haha!", "Hahahaha!"),
        ("It flows. The river ", "river flows.", "It flows. The river river flows."),
    ],
)
def test_what_is_repeated_or_announced_is_not_shown_again(shown, second, whole):
    for size in (1, 3, len(second)):
        pieces = [second[i : i + size] for i in range(0, len(second), size)]
        assert joined(shown, *pieces) == whole


@given(st.text(min_size=1), st.text(), st.integers(1, 7))
def test_nothing_shown_is_ever_taken_back_and_the_rest_is_a_tail(shown, second, size):
    pieces = [second[i : i + size] for i in range(0, len(second), size)]
    whole = joined(shown, *pieces)
    assert whole.startswith(shown)
    assert second.endswith(whole[len(shown) :].lstrip())


def pieces_of(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


# Each begins with other letters than it ends with, so that none goes round in itself.
WORD = st.from_regex(r"[a-m]{2}[n-z]{2,7}", fullmatch=True)
BETWEEN = st.sampled_from([" ", "\n", ", ", ". ", "; "])
FEW = st.lists(st.sampled_from(["the", "quick", "fox", "é", "שלום", "0", "|", "good,"]), min_size=2, max_size=60)


@given(st.lists(WORD, min_size=12, max_size=30, unique=True), st.data(), st.integers(1, 9))
def test_the_last_words_read_again_leave_no_gap_and_no_repeat(words, data, size):
    cut = data.draw(st.integers(1, len(words) - 1))
    repeated = data.draw(st.integers(0, min(8, cut)))
    # A single word after a blank may as well be meant: "very very".
    blank = "" if repeated == 1 else " " if repeated == 0 else data.draw(st.sampled_from(["", " "]))
    shown, second = " ".join(words[:cut]), blank + " ".join(words[cut - repeated :])
    assert joined(shown, *pieces_of(second, size)) == " ".join(words)


@given(st.lists(st.tuples(WORD | st.sampled_from("01|"), BETWEEN), min_size=1, max_size=8), st.data())
def test_where_a_text_goes_round_nothing_of_it_is_lost(unit, data):
    once = "".join(map("".join, unit))
    whole = once * 6
    cut = data.draw(st.integers(2 * len(once), len(whole)))
    size = data.draw(st.integers(1, 9))
    assert joined(whole[:cut], *pieces_of(whole[cut:], size)) == whole


@given(FEW.map(" ".join) | st.lists(WORD, min_size=2).map(" ".join) | st.text("ab \n", min_size=2), st.data())
def test_of_an_exact_continuation_no_more_than_a_few_words_are_ever_lost(whole, data):
    cut = data.draw(st.integers(1, len(whole) - 1))
    seam = Seam(whole[:cut])
    second = "".join(map(seam.feed, pieces_of(whole[cut:], data.draw(st.integers(1, 9))))) + seam.end()
    assert whole.endswith(second)
    lost = whole[cut : len(whole) - len(second)].strip()
    assert (len(lost.split()) <= 12 and len(lost) <= 200) or lost == whole[:cut].strip()
    assert not lost or "repeating" in "".join(seam.left_out) or "whole text again" in "".join(seam.left_out)


MANY = " ".join(f"word{n}" for n in range(90))


@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize(
    ("again", "told"),
    [
        pytest.param(1, ("began by repeating a word; it is shown once",), id="a word"),
        pytest.param(5, ("began by repeating 5 words; they are shown once",), id="five words"),
        pytest.param(12, ("began by repeating 12 words; they are shown once",), id="twelve words"),
        pytest.param(13, (), id="thirteen are more than an oversight"),
        pytest.param(40, (), id="so are forty"),
        pytest.param(90, ("began the whole text again; it is shown once",), id="all"),
    ],
)
def test_what_is_left_out_is_told_and_more_than_a_few_words_only_where_all_is_begun_again(again, told, size):
    seam = Seam(MANY)
    repeated = " ".join(MANY.split()[-again:])
    second = "".join(map(seam.feed, pieces_of(repeated + " and on", size))) + seam.end()
    assert (second, seam.left_out) == (" and on" if told else repeated + " and on", told)


def test_an_announcement_that_is_left_out_is_told():
    seam = Seam("It lies on")
    assert seam.feed("Sure, here's the rest: the river") == " the river"
    assert seam.left_out == ("began with an announcement; it is left out",)


@given(st.text("ab", max_size=12), st.text("ab", max_size=12))
def test_every_beginning_that_the_shown_text_ends_with_is_found(shown, text):
    lengths = range(min(len(shown), len(text)), 0, -1)
    assert list(_repeated(shown, text)) == [n for n in lengths if shown.endswith(text[:n])]


MILLION = "a" * 500_000


@pytest.mark.parametrize("shown", [MILLION + "b", "b" + MILLION, "a " * 250_000])
@pytest.mark.parametrize(
    "second", ["Q" + "alpha beta " * 90_000, MILLION + "c", "Continu" + MILLION * 2, "a " * 250_000]
)
def test_a_million_characters_at_once_are_joined_in_a_moment(shown, second):
    begun = time.process_time()
    joined(shown, second)
    assert time.process_time() - begun < 3


def test_tokens_of_a_broken_text_are_its_chunks_unless_they_are_long():
    assert tokens_in("one two three", 3) == 3
    assert tokens_in("x" * 400, 2) == 100
    assert tokens_in("", 0) == 0
