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


WORDS = st.lists(st.from_regex(r"[a-z]{3,9}", fullmatch=True), min_size=12, max_size=30, unique=True)


@given(WORDS, st.integers(4, 8), st.integers(0, 4), st.integers(1, 9))
def test_any_repetition_of_whole_words_leaves_no_gap_and_no_repeat(words, cut, repeated, size):
    shown = " ".join(words[:cut])
    second = " " + " ".join(words[cut - repeated :]) if repeated != 1 else " " + " ".join(words[cut:])
    pieces = [second[i : i + size] for i in range(0, len(second), size)]
    assert joined(shown, *pieces).split() == words


@given(st.text("ab", max_size=12), st.text("ab", max_size=12))
def test_every_beginning_that_the_shown_text_ends_with_is_found(shown, text):
    lengths = range(min(len(shown), len(text)), 0, -1)
    assert list(_repeated(shown, text)) == [n for n in lengths if shown.endswith(text[:n])]


@pytest.mark.parametrize("second", ["Q" + "alpha beta " * 90_000, "a" * 500_000 + "c", "Continu" + "a" * 1_000_000])
def test_a_million_characters_at_once_are_joined_in_a_moment(second):
    begun = time.process_time()
    joined("a" * 500_000 + "b", second)
    assert time.process_time() - begun < 3


def test_tokens_of_a_broken_text_are_its_chunks_unless_they_are_long():
    assert tokens_in("one two three", 3) == 3
    assert tokens_in("x" * 400, 2) == 100
    assert tokens_in("", 0) == 0
