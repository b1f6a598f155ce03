"""One text out of two writers: what the second one repeats or announces is not shown again. Pure.

A tier that takes the text so far as its own carries on exactly, and nothing here is asked. Another is told to go on
from the last character; it may all the same repeat the last words, begin the whole text again, or say "Sure, here is
the rest:" first. Text is held back only while it may still be one of these.

A text may also repeat by itself: rows of a table, a refrain, lines of code. Two things tell these from a writer who
reads the end again: how much it is (few words, or all there is), and whether the end has been going round already.
Where both are as likely, the text stays: a repetition that is seen harms less than a loss that is not.
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
_MOST_WORDS = 12
_MOST_CHARS = 200
_FEWEST_WORDS = 2
_FEWEST_CHARS = 4
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = re.compile(rf"[0-9A-Za-z_]|[^\x00-\x7f\s{_UNSPACED}]")  # of a script that sets its words apart
_WORD = re.compile(rf"[{_UNSPACED}]|(?:{_LETTER.pattern})+")
_BETWEEN_BLANKS = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def to_go_on(prompt: Prompt, shown: str, can_prefill: bool) -> Prompt:
    """The conversation and the text so far, in the form the next tier can carry on."""
    so_far = Message("assistant", shown)
    return prompt.with_messages(so_far) if can_prefill else prompt.with_messages(so_far, Message("user", GO_ON))


class Seam:
    """Takes the text of a writer who was told to go on, as it comes, and gives what may be shown after `shown`."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._held: str | None = ""
        self.left_out: tuple[str, ...] = ()  # what the writer did: "began by ..."

    def feed(self, text: str) -> str:
        if self._held is None:
            return text
        self._held += text
        return self._settle(is_all=False)

    def end(self) -> str:
        """No more text will come: what of the held text is new."""
        return "" if self._held is None else self._settle(is_all=True)

    def _settle(self, *, is_all: bool) -> str:
        found = _new_text(self._shown, self._held or "", is_all=is_all)
        if found is None:
            return ""
        self._held = None
        text, self.left_out = found
        return text


def _new_text(shown: str, text: str, *, is_all: bool) -> tuple[str, tuple[str, ...]] | None:
    """What of `text` goes on from `shown`, and what was left out; `None`: cannot be told yet."""
    at_sentence_end = shown.rstrip()[-1:] in tuple(".!?:。！？\"'”)") or not shown.strip()
    after = _preamble_end(text, at_sentence_end, is_all)
    if after is None:
        return None
    overlap = _overlap(shown, text, after, is_all)
    if overlap is None:
        return None
    end, told = overlap
    left_out = (("began with an announcement; it is left out",) if after else ()) + ((told,) if told else ())
    if told:
        return text[end:], left_out
    rest = text[after:]
    if re.fullmatch(r"\S ", shown[-2:]) and re.match(r" \S", rest):
        return rest[1:], left_out  # told to begin with a blank, it did so after one
    if after and rest[:1].isalnum() and not shown[-1:].isspace():
        # The blank between the announcement and the text stands where the cut was.
        blanks = text[len(text[:after].rstrip()) : after]
        rest = (blanks if at_sentence_end else " ") + rest
    return rest, left_out


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


def _overlap(shown: str, text: str, start: int, is_all: bool) -> tuple[int, str] | None:
    """Where in `text` a repetition of the end of `shown` ends, and what to tell of it; nothing is told of none."""
    rest = text[start:].lstrip()
    if not is_all and "...".startswith(rest):
        return None
    rest = rest.removeprefix("...").removeprefix("…").lstrip()
    if not is_all and _may_grow(shown.lstrip(), rest):
        return None
    tail = shown.strip()
    blanks = shown[len(shown.rstrip()) :]
    between = blanks + text[start : len(text) - len(text[start:].lstrip())]
    for length in _repeated(tail, rest):
        if length < len(tail) and _LETTER.match(tail[-length - 1]) and _LETTER.match(rest):
            continue  # begins within a word
        before, repeated = tail[:-length], rest[:length]
        told = _told(before, repeated, is_glued=start > 0 or not between)
        is_longer = len(rest) > _MOST_CHARS and rest[: _MOST_CHARS + 1] in tail  # read from further back
        if not told or (before and (is_longer or _is_a_line(before, repeated + between))):
            break  # nor are the shorter ones
        end = len(text) - len(rest) + length
        # Blanks at the end of the shown text are repeated too.
        for _ in blanks:
            if not text[end : end + 1].isspace():
                break
            end += 1
        return end, told
    return start, ""


def _may_grow(shown: str, text: str) -> bool:
    """More of `text` may make it a repetition, or a longer one."""
    if len(text) >= len(shown):
        return not text
    return shown.startswith(text) or (len(text) <= _MOST_CHARS and text in shown)


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


def _told(before: str, repeated: str, *, is_glued: bool) -> str:
    """What to tell of this end of the shown text where it is plausibly read again; empty if it may as well go on.

    `is_glued`: no blank stands in between, so that a text that goes on would run two words into one.
    """
    words = sum(any(map(str.isalnum, word)) for word in _BETWEEN_BLANKS.findall(repeated))
    chars = sum(map(str.isalnum, repeated)) + (is_glued and not before)  # Par, Paris
    is_short = words <= _MOST_WORDS and len(repeated) <= _MOST_CHARS
    is_chance = chars < _FEWEST_CHARS or (words < _FEWEST_WORDS and not is_glued)
    if is_chance or (before and not is_short) or _goes_round(before, repeated):
        return ""
    if not is_short:
        return "began the whole text again; it is shown once"
    if words == 1:
        return "began by repeating a word; it is shown once"
    return f"began by repeating {words} words; they are shown once"


def _is_a_line(before: str, repeated: str) -> bool:
    """Ends where it began in its line, a line or more below: tables, songs and code repeat whole lines."""
    return repeated.rstrip(" \t").endswith("\n" + before.rpartition("\n")[2].rstrip(" \t"))


def _goes_round(before: str, repeated: str) -> bool:
    """All of this end of the shown text lies where words repeat with a period, for at least one and a half of it."""
    ending = _WORD.findall(repeated)
    words = _WORD.findall(before[-2 * _MOST_CHARS :]) + ending
    if len(ending) == 1 and ending[0] in (ending[0] * 2)[1:-1]:
        return True  # haha
    for period in range(1, _MOST_WORDS + 1):
        same = 0
        while same + period < len(words) and words[-1 - same] == words[-1 - same - period]:
            same += 1
        if same * 2 >= period and same + period >= len(ending):
            return True
    return False


def tokens_in(text: str, chunks: int) -> int:
    """Tokens of a text that broke off before its usage came. Providers send about one token a chunk; a provider
    that sends long chunks is taken at four characters a token."""
    return chunks if chunks == 0 or len(text) / chunks <= 16 else max(chunks, len(text) // 4)
