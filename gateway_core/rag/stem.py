"""English words to their stems, by the rules of Porter (1980).

`connect`, `connected` and `connections` meet in `connect`. A stem is a key for matching, never shown to anybody.
"""

from __future__ import annotations

import re

_VOWEL = re.compile(r"[aeiou]|(?<=[^aeiou])y")
_MEASURE = re.compile(r"(?:[aeiou]|(?<=[^aeiou])y)(?:[^aeiouy]|(?<![^aeiou])y)")  # where one group meets the next
_SHORT_END = re.compile(r"(?:^|[^aeiou])[^aeiou][aeiouy][^aeiouwxy]$")

# Suffixes by their last but one letter, longest first: (suffix, what takes its place).
_DERIVED = {
    "a": (("ational", "ate"), ("tional", "tion")),
    "c": (("enci", "ence"), ("anci", "ance")),
    "z": (("izer", "ize"),),
    "l": (("ousli", "ous"), ("entli", "ent"), ("alli", "al"), ("bli", "ble"), ("eli", "e")),
    "o": (("ization", "ize"), ("ation", "ate"), ("ator", "ate")),
    "s": (("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("alism", "al")),
    "t": (("biliti", "ble"), ("aliti", "al"), ("iviti", "ive")),
}
_ADJECTIVAL = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_ENDINGS = (
    "ement", "ance", "ence", "able", "ible", "ment",
    "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize",
    "al", "er", "ic", "ou",
)  # fmt: skip

# Most words have none of the suffixes: two letters tell it sooner than eighteen comparisons.
_ADJECTIVAL_ENDS = frozenset(suffix[-2:] for suffix, _ in _ADJECTIVAL)
_ENDING_ENDS = frozenset([*(suffix[-2:] for suffix in _ENDINGS), "on"])


def _measure(stem: str) -> int:
    """How often a vowel group is followed by a consonant group."""
    return len(_MEASURE.findall(stem))


def english_stem(word: str) -> str:
    """The stem of a lower-case word; words of up to two letters and words with digits are their own stem."""
    if len(word) <= 2 or not word.isalpha():
        return word
    word = _without_plural(word)
    if word[-1] in "dg":
        word = _without_past(word)
    if word[-1] == "y" and _VOWEL.search(word, 0, len(word) - 1):
        word = word[:-1] + "i"
    if len(word) > 4:
        if word[-1] in "ilmnrs" and word[-2] in _DERIVED:
            word = _replaced(word, _DERIVED[word[-2]])
        if word[-2:] in _ADJECTIVAL_ENDS:
            word = _replaced(word, _ADJECTIVAL)
        if word[-2:] in _ENDING_ENDS:
            word = _without_ending(word)
    if word[-1] == "e" and len(word) > 3:
        stem = word[:-1]
        measure = _measure(stem)
        if measure > 1 or (measure == 1 and not _SHORT_END.search(stem)):
            word = stem
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


def _without_plural(word: str) -> str:
    if word[-1] != "s" or word.endswith("ss"):
        return word
    if word.endswith("sses") or word.endswith("ies"):
        return word[:-2]
    return word[:-1]


def _without_past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            if not _VOWEL.search(stem):
                return word
            if stem.endswith(("at", "bl", "iz")):
                return stem + "e"
            if len(stem) > 1 and stem[-1] == stem[-2] and stem[-1] not in "aeioulsz":
                return stem[:-1]
            if _measure(stem) == 1 and _SHORT_END.search(stem):
                return stem + "e"
            return stem
    return word


def _replaced(word: str, suffixes: tuple[tuple[str, str], ...]) -> str:
    for suffix, instead in suffixes:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            return stem + instead if _measure(stem) else word
    return word


def _without_ending(word: str) -> str:
    if word.endswith(("sion", "tion")):
        return word[:-3] if _measure(word[:-3]) > 1 else word
    for suffix in _ENDINGS:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            return stem if _measure(stem) > 1 else word
    return word
