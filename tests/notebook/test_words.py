"""A magic's line is split without losing a quote."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from notebook_ext import arguments
from notebook_ext.words import open_word, quoted, split


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("answer -d df", ["answer", "-d", "df"]),
        ('-d d["k"]', ["-d", 'd["k"]']),
        ('-d df[df["city"] == "Oslo"]', ["-d", 'df[df["city"] == "Oslo"]']),
        ("-d 'docs/**/*.md'", ["-d", "docs/**/*.md"]),
        ('-d "df[df.x > 3]"', ["-d", "df[df.x > 3]"]),
        ("-d f('a b', [1, 2])", ["-d", "f('a b', [1, 2])"]),
        ("""--system 'It\\'s "fine"'""", ["--system", """It's "fine\""""]),
        ('-d C:\\data\\notes.txt -d "C:\\my data\\"', ["-d", "C:\\data\\notes.txt", "-d", "C:\\my data\\"]),
        ("-d 'a'+'b'", ["-d", "'a'+'b'"]),
        ("''", [""]),
    ],
)
def test_words(line, words):
    assert split(line) == words


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_quoted_words_come_back(words):
    words = [word.rstrip("\\") for word in words]

    assert split(" ".join(map(quoted, words))) == words


@given(st.text(max_size=60))
def test_any_line_is_split_or_is_a_usage_error(line):
    try:
        words = split(line)
    except UsageError:
        return
    assert all(isinstance(word, str) for word in words)


@given(st.text(alphabet=st.sampled_from("-dcai 'x\"[](){}=\\\n"), max_size=40), st.sampled_from(["ai", "ai_rag"]))
def test_any_line_is_parsed_or_is_a_usage_error(line, magic):
    with contextlib.suppress(UsageError):
        arguments.parse(magic, line)


@given(st.text(max_size=60))
def test_the_open_word_is_the_end_of_the_line(line):
    at, word = open_word(line)

    assert line[at:].endswith(word)
