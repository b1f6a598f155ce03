"""Splitting a magic's line into words without losing a quote that belongs to an expression. Pure.

    answer -d df[df["city"] == "Oslo"] -d 'docs/**/*.md'

gives `answer`, `-d`, `df[df["city"] == "Oslo"]`, `-d`, `docs/**/*.md`: blanks inside brackets or quotes do not part
words, and only a pair of quotes around a whole word is taken off.
"""

from __future__ import annotations

from IPython.core.error import UsageError

_QUOTES = "\"'"
_PAIRS = {")": "(", "]": "[", "}": "{"}


def split(line: str) -> list[str]:
    """The words of a line; `UsageError` where a quote or bracket stays open."""
    words: list[str] = []
    at, end = 0, len(line)
    while at < end:
        if line[at].isspace():
            at += 1
            continue
        stop = _word_end(line, at)
        words.append(_unquoted(line[at:stop]))
        at = stop
    return words


def quoted(word: str) -> str:
    """The word as it must be written so that `split` gives it back (but for a backslash at its end)."""
    if word and not any(c.isspace() or c in _QUOTES or c in "([{)]}" for c in word):
        return word
    try:
        if split(word) == [word]:
            return word
    except UsageError:
        pass
    quote = '"' if "'" in word and '"' not in word else "'"
    return quote + word.replace(quote, "\\" + quote) + quote


def open_word(line: str) -> tuple[int, str]:
    """Where the last, perhaps unfinished word of a line begins, and the word without its opening quote."""
    at, end = 0, len(line)
    while at < end:
        if line[at].isspace():
            at += 1
            continue
        try:
            stop = _word_end(line, at)
        except UsageError:
            stop = end
        if stop == end:
            word = line[at:]
            return at, word[1:] if word[0] in _QUOTES else word
        at = stop
    return end, ""


def _word_end(line: str, start: int) -> int:
    brackets: list[tuple[str, int]] = []
    at = start
    while at < len(line):
        character = line[at]
        if character in _QUOTES:
            at = _quote_end(line, at)
            continue
        if character.isspace() and not brackets:
            return at
        if character in _PAIRS.values():
            brackets.append((character, at))
        elif character in _PAIRS:
            if not brackets or brackets[-1][0] != _PAIRS[character]:
                raise UsageError(f"{character} without its {_PAIRS[character]} in: {line[start : at + 1]}")
            brackets.pop()
        at += 1
    if brackets:
        raise UsageError(f"{brackets[-1][0]} is never closed in: {line[start:]}")
    return at


def _quote_end(line: str, start: int) -> int:
    """Behind the closing quote. A backslash hides a quote only if another one closes the word later, so that a
    folder like "C:\\data\\" can be written."""
    quote, hidden, at = line[start], 0, start + 1
    while at < len(line):
        if line[at] == "\\" and at + 1 < len(line) and line[at + 1] == quote:
            hidden = at + 2
            at += 2
            continue
        if line[at] == quote:
            return at + 1
        at += 1
    if hidden:
        return hidden
    raise UsageError(f"a quote is never closed in: {line[start:]}")


def _unquoted(word: str) -> str:
    quote = word[0]
    if quote not in _QUOTES or len(word) < 2 or word[-1] != quote or _quote_end(word, 0) != len(word):
        return word
    return word[1:-1].replace("\\" + quote, quote)
