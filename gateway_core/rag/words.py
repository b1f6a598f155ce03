"""From text to the keys that are matched: which words there are, and which of them are the same word.

Every surface form is analysed once and remembered, so that a megabyte of text costs one look-up a word.

- English (and code) is stemmed; `getUserName` and `get_user_name` also match by their parts.
- Other alphabets and other languages are cut after a few letters: crude, but it needs no dictionary, and in
  inflecting languages it finds what a stemmer finds.
- Scripts written without spaces (Chinese, Japanese, Thai, Khmer ...) and Korean are matched by pairs of letters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from .stem import english_stem

Style = Literal["english", "cut"]

CUT_AT = 6  # letters kept of a word that is not English
_REMEMBERED = 20_000  # surface forms, about 3 MB

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003134f"
)
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff"
_NEEDS_CARE = re.compile(f"[{_UNSPACED}{_MARKS}]")
_SPACED_WORD = re.compile(r"\w+")
_ANY_WORD = re.compile(f"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])[\\w{_MARKS}])+")
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]|_|[A-Za-z]\d")
_ARABIC_PREFIX = re.compile(r"^(?:وال|بال|كال|فال|لل|ال)(?=\w{3})")

_ENGLISH = """
    a about above after again all also am an and any are as at be because been before being between both but by can
    could did do does doing done down during each either else ever few for from further get gets got had has have having
    he her here hers him his how i if in into is it its itself just let like many may me might more most much must my no
    nor not of off on once one only or other our out over own per please same shall she should so some such tell than
    that the their them then there these they this those through to too under until up upon us very was we were what
    when where whether which while who whom whose why will with within without would yes you your"""
_FOREIGN = """
    der die das den dem des ein eine einen einem einer eines und oder ist sind war waren wird werden wurde wurden
    hat haben nicht auch auf aus bei für im in mit nach sich über um von vom zu zum zur als wie wenn was wer wo wann
    warum welche welcher welches welchen wem wen viele viel
    el la los las un una unos unas y o de del al es son era eran fue fueron ha han no se su sus por para con en que
    qué cuál cuáles quién quiénes dónde cuándo cómo cuánto cuántos cuántas cual quien donde cuando como
    le les des une et ou du au aux est sont était étaient dans sur pour par avec ce cette ces qui que quel quelle
    quels quelles où quand comment combien pourquoi il elle
    lo gli uno di da dei della delle che è sono nel nella per con su chi cosa quale quali dove quando come quanto
    o os as um uma e ou do da dos das em no na nos nas ao por para com que qual quais quem onde quando como quanto
    het een en van op te dat voor met zijn wordt wie wat waar wanneer hoe welke waarom
    bir ve ile bu şu için ne kim nerede nasıl hangi kaç mi mı mu mü olan olarak da de neden kimin
    и в во на с со к по о об от до за из у не что как кто где когда какой какая какое какие каком какую чем почему
    сколько это для при был была было были который которая которые
    في من على إلى عن ما ماذا من متى أين كيف كم هل أي هو هي التي الذي كان كانت أن مع لماذا"""
_STOP = frozenset(_ENGLISH.split()) | frozenset(_FOREIGN.split())

_IN_ENGLISH = "the of and to is that for with was this are from by"
_IN_OTHERS = (
    "der die das und ist nicht mit von des el los las que una por del les est dans une pour il di che per con della um "
    "uma não os het een van zijn bir ve için bu olarak och att som är jest nie się til og af det på ei că este"
)
_TELLS_ENGLISH, _TELLS_OTHERS = frozenset(_IN_ENGLISH.split()), frozenset(_IN_OTHERS.split())


def style_of(text: str) -> Style:
    """Whether the Latin words of a text are treated as English, told from the small words in two samples."""
    middle = len(text) // 2
    sample = _SPACED_WORD.findall((text[:3000] + " " + text[middle : middle + 3000]).lower())
    english = sum(word in _TELLS_ENGLISH for word in sample)
    foreign = sum(word in _TELLS_OTHERS for word in sample)
    return "cut" if foreign > english else "english"


def words(text: str) -> list[str]:
    """The words of a text as they are written; a run of letters without spaces is one word."""
    if text.isascii() or not _NEEDS_CARE.search(text):
        return _SPACED_WORD.findall(text)
    return _ANY_WORD.findall(text)


class Stems(dict[str, str]):
    """Surface form to its keys, joined by spaces; forms not seen before are analysed on the way."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.style = style

    def __missing__(self, word: str) -> str:
        if len(self) > _REMEMBERED:
            self.clear()
        keys = _keys(word, self.style)
        if len(word) <= 40:
            self[word] = keys
        return keys


_STEMS: dict[Style, Stems] = {"english": Stems("english"), "cut": Stems("cut")}


def stems(style: Style) -> Stems:
    return _STEMS[style]


def keys_of(text: str, style: Style) -> list[str]:
    """The keys of a text in their order."""
    return " ".join(map(_STEMS[style].__getitem__, words(text))).split()


def content_words(question: str) -> list[str]:
    """The words of a question that say what it is about; all of them when nothing else is left."""
    every = words(question)
    telling = [w for w in every if w.lower() not in _STOP]
    return telling or every


def _keys(word: str, style: Style) -> str:
    if word.isascii() and word.isalpha() and (word.islower() or word.istitle()):
        return english_stem(word.lower()) if style == "english" else word.lower()[:CUT_AT]
    if _UNSPACED_RUN.match(word):
        return pairs(word)
    if _CAMEL.search(word):
        parts = _PARTS.findall(word)
        if len(parts) > 1:
            return " ".join(_key(part, style) for part in [*parts, word.replace("_", "")])
        word = parts[0] if parts else word.replace("_", "")
    return _key(word, style)


def _key(word: str, style: Style) -> str:
    word = word.lower()
    if word.isascii():
        return english_stem(word) if style == "english" else word[:CUT_AT]
    word = fold(word)
    if word.isascii():
        return english_stem(word) if style == "english" else word[:CUT_AT]
    return _ARABIC_PREFIX.sub("", word)[:CUT_AT]


def pairs(run: str) -> str:
    """`中华人民` becomes `中华 华人 人民`; a single letter stays alone."""
    return " ".join(map("".join, pairwise(run))) if len(run) > 1 else run


@lru_cache(maxsize=10_000)
def fold(word: str) -> str:
    """The word without accents and other marks over its letters, and in its compatible form."""
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()
