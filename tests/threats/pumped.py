"""Every pattern of ours against texts made to slow it down: `python -m tests.threats.pumped MODULE ...`

Each pattern is taken apart: whatever may repeat in it is repeated, alone and behind what leads up to it, without the
end that would let it match. One line a pattern: CPU seconds of its worst text and of one four times as long, the
pattern's name, how that text begins.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pkgutil import walk_packages
from re import _parser  # type: ignore[attr-defined]  # taking patterns apart is what it is for
from types import ModuleType
from typing import Any

LENGTH = 20_000
DEAREST = 8
SLOW = 2.0  # CPU seconds: then it is no use to wait
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_ENDS = ("", "\0", "\n", "!x", "  a")
_USUAL = (
    "a",
    "A",
    "1",
    " ",
    "\n",
    "\t",
    "!",
    "!\n",
    "a ",
    "a,",
    "<",
    "<!--",
    "<<",
    "[",
    "![",
    '"',
    "`",
    "_",
    ".",
    "\\",
)
_CLASSES = {  # a member of each, and how it is spelt
    "CATEGORY_DIGIT": ("1", r"\d"),
    "CATEGORY_NOT_DIGIT": ("a", r"\D"),
    "CATEGORY_SPACE": (" ", r"\s"),
    "CATEGORY_NOT_SPACE": ("a", r"\S"),
    "CATEGORY_WORD": ("a", r"\w"),
    "CATEGORY_NOT_WORD": ("!", r"\W"),
}


def modules(names: list[str]) -> Iterator[ModuleType]:
    for name in names:
        module = import_module(name)
        yield module
        if hasattr(module, "__path__"):
            for found in walk_packages(module.__path__, f"{name}."):
                if not found.name.endswith("__main__"):
                    yield import_module(found.name)


def patterns(module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any]]]:
    for name, value in vars(module).items():
        for at, pattern in enumerate(_patterns_in(value)):
            yield f"{module.__name__}.{name}[{at}]", pattern


def _patterns_in(value: object) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, (tuple, list, set, frozenset)):
        for part in value:
            yield from _patterns_in(part)
    elif isinstance(value, dict):
        yield from _patterns_in(list(value.values()))


def texts(pattern: re.Pattern[Any]) -> Iterator[Callable[[int], str]]:
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    pumps = {(before, body) for before, body in _pumps(_parser.parse(source, flags), "") if body}
    leads = {before for before, _ in pumps if before}
    pumps |= {("", unit) for unit in _USUAL}
    pumps |= {("", lead) for lead in leads} | {(lead, unit) for lead in leads for unit in (" ", "a", "\n", "!")}
    pumps |= {("", before + body) for before, body in pumps} | {("", before + body * 9) for before, body in pumps}
    for before, body in sorted(pumps):
        for end in _ENDS:
            yield partial(_text, before, body, end)


def _text(before: str, body: str, end: str, length: int) -> str:
    return before + body * (length // len(body)) + end


def _pumps(parsed: Any, before: str) -> Iterator[tuple[str, str]]:
    """What may repeat in a pattern, each with a text that leads up to it."""
    for kind, argument in parsed:
        name = str(kind)
        if name in _REPEATS:
            yield from _pumps(argument[2], before)
            yield from ((before, sample) for sample in _samples(argument[2]))
        elif name == "SUBPATTERN":
            yield from _pumps(argument[3], before)
        elif name == "ATOMIC_GROUP":
            yield from _pumps(argument, before)
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from _pumps(branch, before)
        elif name in ("ASSERT", "ASSERT_NOT") and argument[0] > 0:
            yield from _pumps(argument[1], before)
        before += _sample(kind, argument)


def _samples(parsed: Any) -> set[str]:
    """A text that matches, for each branch or member of a set that the pattern begins with."""
    whole = "".join(_sample(*part) for part in parsed)
    if len(parsed) != 1:
        return {whole}
    kind, argument = parsed[0]
    if str(kind) == "BRANCH":
        return {"".join(_sample(*part) for part in branch) for branch in argument[1]}
    if str(kind) == "SUBPATTERN":
        return _samples(argument[3])
    if str(kind) == "IN" and str(argument[0][0]) != "NEGATE":
        return {_member([member]) for member in argument}
    return {whole, "a", " "} if str(kind) in ("ANY", "NOT_LITERAL") else {whole}


def _sample(kind: Any, argument: Any) -> str:
    name = str(kind)
    if name == "LITERAL":
        return chr(argument)
    if name == "NOT_LITERAL":
        return "b" if argument == ord("a") else "a"
    if name == "ANY":
        return "a"
    if name == "IN":
        return _member(argument)
    if name in _REPEATS:
        return "".join(_sample(*part) for part in argument[2]) * max(1, min(argument[0], 20))
    if name == "SUBPATTERN":
        return "".join(_sample(*part) for part in argument[3])
    if name == "ATOMIC_GROUP":
        return "".join(_sample(*part) for part in argument)
    if name == "BRANCH":
        return "".join(_sample(*part) for part in argument[1][0])
    return ""


def _member(members: Any) -> str:
    if str(members[0][0]) == "NEGATE":
        denied = re.compile("[" + "".join(_spelt(*member) for member in members[1:]) + "]")
        return next(letter for letter in "a 1!\nA<é\0" if not denied.match(letter))
    kind, argument = members[0]
    if str(kind) == "CATEGORY":
        return _CLASSES[str(argument)][0]
    return chr(argument[0] if str(kind) == "RANGE" else argument)


def _spelt(kind: Any, argument: Any) -> str:
    if str(kind) == "CATEGORY":
        return _CLASSES[str(argument)][1]
    if str(kind) == "RANGE":
        return f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
    return re.escape(chr(argument))


def seconds(pattern: re.Pattern[Any], text: str) -> float:
    """CPU seconds for all its matches in a text, and for one try at its beginning."""
    asked: Any = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
    begun = time.thread_time()
    for _ in pattern.finditer(asked):
        pass
    pattern.fullmatch(asked)
    return time.thread_time() - begun


def worst(pattern: re.Pattern[Any]) -> tuple[float, float, str]:
    """CPU seconds for `LENGTH` and for four times that, of the text that costs most, and how that text begins.

    All texts are tried in short, the dearest of them at full length.
    """
    short = sorted((_limited(pattern, text(LENGTH // 10)), n, text) for n, text in enumerate(texts(pattern)))
    tried = [(_limited(pattern, text(LENGTH)), n, text) for _, n, text in short[-DEAREST:]]
    once, _, dearest = max(tried)
    return once, _limited(pattern, dearest(4 * LENGTH)), dearest(30)


def _limited(pattern: re.Pattern[Any], text: str) -> float:
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)
    try:
        return seconds(pattern, text)
    except TimeoutError:
        return SLOW
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _too_long(*_: object) -> None:
    raise TimeoutError


def main() -> None:
    signal.signal(signal.SIGVTALRM, _too_long)  # `re` looks for signals now and then
    for module in modules(sys.argv[1:]):
        for name, pattern in patterns(module):
            once, fourfold, text = worst(pattern)
            print(f"{once:.3f} {fourfold:.3f} {name} {text[:30]!r}", flush=True)


if __name__ == "__main__":
    main()
