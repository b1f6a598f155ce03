"""One text out of two writers: what the second one repeats or announces is not shown again. Pure.

The second tier is asked to go on from the last character. It may all the same repeat the last words, begin the
whole answer again, or say "Sure, here is the rest:" first. Text is held back only while it still agrees with what
was shown or may still be such an announcement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..types import Message, Prompt

GO_ON = (
    "Your answer above was cut off in transmission. Continue it from exactly its last character, so that both parts "
    "joined read as one text. Write only the continuation: no introduction, no apology, and nothing of the text above "
    "again. Begin with a space if a new word begins."
)

_OPENER = re.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|all ?right|right|got it|understood|no problem|gladly|"
    r"yes|happy to(?: help)?|(?:i['’]d be|i am|i['’]m) happy to(?: help)?|(?:my )?apologies|sorry(?: about that)?|"
    r"i apologi[sz]e[^.:!\n]{0,60}|thank you|thanks)\b[!,.;:\s–—-]+",
    re.IGNORECASE,
)
_TOLD = (
    r"continu\w*|carry(?:ing)? on|go(?:ing)? on|pick(?:ing)? up|resum\w*|left off|cut off|the rest|remainder|remaining"
)
_SENTENCE = r"[^\n:.!?]{0,120}?\b(?:%s)\b[^\n:.!?]{0,120}?(?P<end>:|\.{1,3}|…|!|\n)\s*"
_ANNOUNCEMENT = re.compile(_SENTENCE % _TOLD, re.IGNORECASE)
# "Here is ..." alone may well be part of an answer; after "Sure," it announces one.
_AFTER_OPENER = re.compile(_SENTENCE % (_TOLD + r"|here(?:['’]s| is| it is| you go)"), re.IGNORECASE)
_STARTS = (
    "sure", "certainly", "of course", "absolutely", "okay", "ok", "all right", "alright", "right", "got it",
    "understood", "no problem", "gladly", "yes", "happy to", "i'd be happy", "i am happy", "i'm happy", "apologies",
    "my apologies", "sorry", "i apolog", "thank", "here is", "here's", "here it is", "continuing", "continuation",
    "continued", "let me", "i will", "i'll", "i'm continuing", "picking up", "resuming", "to continue", "going on",
    "carrying on", "the rest:", "the rest of the answer", "the rest of my answer", "the rest of the response",
    "the rest of the text",
)  # fmt: skip
_LONGEST_PREAMBLE = 240
_STRONG_WORDS = 2
_STRONG_CHARS = 4


def to_go_on(prompt: Prompt, shown: str, can_prefill: bool) -> Prompt:
    """The conversation and the text so far, in the form the next tier can carry on."""
    so_far = Message("assistant", shown)
    return prompt.with_messages(so_far) if can_prefill else prompt.with_messages(so_far, Message("user", GO_ON))


class Seam:
    """Takes the second writer's text as it comes and gives what may be shown after `shown`."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._held: str | None = ""

    def feed(self, text: str) -> str:
        if self._held is None:
            return text
        self._held += text
        new = _new_text(self._shown, self._held, is_all=False)
        if new is None:
            return ""
        self._held = None
        return new

    def end(self) -> str:
        """No more text will come: what of the held text is new."""
        if self._held is None:
            return ""
        held, self._held = self._held, None
        return _new_text(self._shown, held, is_all=True) or ""


def _new_text(shown: str, text: str, *, is_all: bool) -> str | None:
    """What of `text` goes on from `shown`; `None`: cannot be told yet."""
    at_sentence_end = shown.rstrip()[-1:] in tuple(".!?:。！？\"'”)") or not shown.strip()
    after = _preamble_end(text, at_sentence_end, is_all)
    if after is None:
        return None
    overlap = _overlap_end(shown, text, after, is_all)
    if overlap is None:
        return None
    if overlap > after:
        return text[overlap:]
    rest = text[after:]
    if shown[-1:].isspace():
        return rest.lstrip(" ")
    if after and rest[:1].isalnum():
        # The blank between the announcement and the text stands where the cut was.
        blanks = text[len(text[:after].rstrip()) : after]
        return (blanks if at_sentence_end else " ") + rest
    return rest


def _preamble_end(text: str, at_sentence_end: bool, is_all: bool) -> int | None:
    body = text.lstrip().lstrip("\"'“")
    lead = len(text) - len(body)
    low = body[:_LONGEST_PREAMBLE].lower().replace("’", "'")
    if not any(low.startswith(s[: len(low)]) for s in _STARTS):
        return 0
    # In the middle of a sentence a continuation is lower case; only an announcement begins with a capital.
    if body[:1].islower():
        return 0
    opener = _OPENER.match(body)
    rest_at = opener.end() if opener else 0
    announcement = (_AFTER_OPENER if opener else _ANNOUNCEMENT).match(body, rest_at)
    if announcement is not None and (opener is not None or announcement["end"] in (":", "\n", "...", "…")):
        if not is_all and announcement.end() == len(body):
            return None  # the blanks that follow belong to it
        return lead + announcement.end()
    is_open = not re.search(r"[.:!\n]", body[rest_at:])
    if not is_all and is_open and len(body) < _LONGEST_PREAMBLE:
        return None
    if opener is not None and not at_sentence_end:
        return lead + opener.end()
    return 0


def _overlap_end(shown: str, text: str, start: int, is_all: bool) -> int | None:
    """Where the longest repetition of the end of `shown` ends in `text`; `start` if there is none."""
    rest = text[start:].lstrip()
    rest = rest.removeprefix("...").removeprefix("…").lstrip()
    if not rest:
        return start if is_all else None
    if not is_all and len(rest) < len(shown) and rest in shown:
        return None
    tail = shown.rstrip()
    first = len(text) - len(rest)
    starts_anew = start > 0 or not text[:1].isspace()
    for length in _repeated(tail, rest):
        if _is_repetition(tail, rest[:length], starts_anew):
            end = first + length
            # Blanks at the end of the shown text are repeated too.
            for _ in shown[len(tail) :]:
                if not text[end : end + 1].isspace():
                    break
                end += 1
            return end
    return start


def _repeated(shown: str, text: str) -> Iterator[int]:
    """The lengths, longest first, of all beginnings of `text` that `shown` ends with, in linear time (Knuth, Morris
    and Pratt): either text may be as long as a provider likes."""
    most = min(len(shown), len(text))
    shorter = [0] * (most + 1)  # the longest end of text[:n] that is also its beginning, but for all of it
    length = 0
    for n in range(1, most):
        while length and text[n] != text[length]:
            length = shorter[length]
        length += text[n] == text[length]
        shorter[n + 1] = length
    length = 0
    for n in range(len(shown) - most, len(shown)):
        while length and shown[n] != text[length]:
            length = shorter[length]
        length += shown[n] == text[length]
    while length:
        yield length
        length = shorter[length]


def _is_repetition(shown: str, repeated: str, starts_anew: bool) -> bool:
    """More than the same letters by chance: whole words, several unless the writer clearly starts anew."""
    if starts_anew and len(repeated) == len(shown):
        return True
    before = shown[: len(shown) - len(repeated)][-1:]
    if before.isascii() and before.isalnum() and repeated[0].isalnum():
        return False
    words = sum(any(c.isalnum() for c in word) for word in repeated.split())
    is_word_written = repeated[0].isascii()
    enough = words >= _STRONG_WORDS or starts_anew or not is_word_written
    return enough and sum(c.isalnum() for c in repeated) >= _STRONG_CHARS


def tokens_in(text: str, chunks: int) -> int:
    """Tokens of a text that broke off before its usage came. Providers send about one token a chunk; a provider
    that sends long chunks is taken at four characters a token."""
    return chunks if chunks == 0 or len(text) / chunks <= 16 else max(chunks, len(text) // 4)
