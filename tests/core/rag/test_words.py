"""Which words are the same word."""

from __future__ import annotations

import pytest

from gateway_core.rag.stem import english_stem
from gateway_core.rag.words import content_words, keys_of, style_of


@pytest.mark.parametrize(
    "family",
    [
        "connect connected connecting connection connections",
        "relate related relating",
        "happy happiness",
        "hop hopping hopped",
        "file filing filed files",
        "agree agreed",
        "depend dependent dependence",
    ],
)
def test_forms_of_an_english_word_share_a_stem(family: str):
    assert len({english_stem(word) for word in family.split()}) == 1


@pytest.mark.parametrize("pair", ["sing sang", "as a", "universe unit"])
def test_different_words_do_not(pair: str):
    one, other = pair.split()

    assert english_stem(one) != english_stem(other)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("getUserName", {"get", "user", "name"}),
        ("HTTPServer", {"http", "server"}),
        ("get_user_name", {"get", "user", "name"}),
        ("COVID19", {"covid", "19"}),
    ],
)
def test_identifiers_match_by_their_parts_and_as_a_whole(word: str, parts: set[str]):
    keys = set(keys_of(word, "english"))

    assert parts < keys
    assert keys_of(word.lower().replace("_", ""), "english")[0] in keys


def test_accents_do_not_part_words():
    assert keys_of("Café Müller", "cut") == keys_of("cafe muller", "cut")


def test_scripts_without_spaces_match_by_pairs():
    assert keys_of("中华人民 ok", "english") == ["中华", "华人", "人民", "ok"]


def test_the_language_is_told_from_the_small_words():
    assert style_of("The house of the man is on the hill and it was built for him.") == "english"
    assert style_of("On 7 December the U.S. declared war on Austria-Hungary; a fact.") == "english"
    assert style_of("Das Haus des Mannes ist auf dem Berg und wurde nicht von ihm gebaut.") == "cut"


def test_a_question_is_about_its_telling_words_or_else_all_of_them():
    assert content_words("What is the boiling point of water?") == ["boiling", "point", "water"]
    assert content_words("who is who") == ["who", "is", "who"]
