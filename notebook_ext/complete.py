"""Completion of the magics' lines: options, choices, variables, files and conversations, and nothing else.

Asked before every other completer, and in a cell of ours the others are left out: Python's own would offer names that
mean nothing on such a line, after a second of thought.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from . import arguments, words
from .arguments import ACTIONS, CONFIG

if TYPE_CHECKING:
    from .magics import GatewayMagics

FIRST = 10_000  # priority: before Python's own completers
MOST = 200
_MAGIC = re.compile(r"^\s*%{1,2}(ai_rag|ai)(?:\s|$)")
_BRACE = re.compile(r"(?<![\w\\$^{}])\{([^\W\d]\w*)?$")

Offer = tuple[str, str]  # text and kind


class Completion:
    def __init__(self, magics: GatewayMagics) -> None:
        self._magics = magics
        self._matcher: Callable[[CompletionContext], SimpleMatcherResult] | None = None

    def register(self) -> None:
        completer = self._completer()
        if completer is None:
            return

        @context_matcher(priority=FIRST, identifier="ai_gateway")  # type: ignore[untyped-decorator]
        def match(context: CompletionContext) -> SimpleMatcherResult:
            fragment, offers = self.offers(context.full_text, context.cursor_line, context.cursor_position)
            found = [SimpleCompletion(text, type=kind) for text, kind in offers]
            return {"completions": found, "matched_fragment": fragment, "suppress": bool(found), "ordered": True}

        self._matcher = match
        completer.custom_matchers.append(match)

    def unregister(self) -> None:
        completer = self._completer()
        if completer is not None and self._matcher in completer.custom_matchers:
            completer.custom_matchers.remove(self._matcher)

    def offers(self, text: str, line_number: int, column: int) -> tuple[str, list[Offer]]:
        """What is being typed, and what it could become."""
        lines = text.split("\n")
        before = lines[line_number][:column]
        own = _MAGIC.match(before)
        if own:
            fragment, found = self._on_line(own[1], before, own.end(), is_cell="%%" in before[: own.end()])
        elif any(_MAGIC.match(line) for line in lines[:1]) and line_number:
            fragment, found = self._in_cell(before)
        else:
            return "", []
        return fragment, [offer for offer in found if offer[0].startswith(fragment) and offer[0] != fragment][:MOST]

    def _in_cell(self, before: str) -> tuple[str, list[Offer]]:
        brace = _BRACE.search(before)
        if brace is None:
            return "", []
        return brace[1] or "", [(name, "instance") for name in self._variables()]

    def _on_line(self, magic: str, before: str, start: int, is_cell: bool) -> tuple[str, list[Offer]]:
        typed = before[start:]
        at, word = words.open_word(typed)
        fragment = typed[at:]
        earlier = _words(typed[:at])
        if not is_cell and magic == "ai":
            return fragment, self._actions(earlier)
        known = arguments.flags(magic)
        last = earlier[-1] if earlier else ""
        if last in ("-d", "--documents"):
            return fragment, [*self._as_typed(fragment, self._documents(word))]
        if last in ("-c", "--chat"):
            return fragment, [(name, "text") for name in self._magics.chats.names]
        if last in known and known[last][1]:
            return fragment, [(choice, "text") for choice in known[last][1]]
        if word.startswith("-"):
            return fragment, [(flag, "param") for flag in known if flag.startswith("--") or len(word) < 2]
        return fragment, [] if word else [(flag, "param") for flag in known if flag.startswith("--")]

    def _actions(self, earlier: list[str]) -> list[Offer]:
        if not earlier:
            return [(name, "keyword") for name in ACTIONS]
        if earlier[0] == "history":
            return [("--forget", "param"), *((name, "text") for name in self._magics.chats.names)]
        if earlier[0] == "config":
            return [
                (f"{name}={choice}", "text") for name, (_, allowed) in CONFIG.items() for choice in allowed or ("",)
            ]
        return []

    def _documents(self, word: str) -> Iterable[Offer]:
        """Variables that can be read, then files; a folder ends in a slash, to be typed on."""
        if "/" not in word and "\\" not in word:
            yield from ((name, "instance") for name in self._variables() if name.startswith(word))
        folder, _, start = word.replace("\\", "/").rpartition("/")
        try:
            with os.scandir(Path(folder).expanduser() if folder else ".") as entries:
                found = sorted((entry.name, entry.is_dir()) for entry in entries if _fits(entry.name, start))
        except OSError:
            return
        head = folder + "/" if folder or word.startswith("/") else ""
        for name, is_folder in found[:MOST]:
            yield head + name + ("/" if is_folder else ""), "path"

    @staticmethod
    def _as_typed(fragment: str, offers: Iterable[Offer]) -> Iterable[Offer]:
        """In the quotes the user has opened, or in quotes where the offer needs them."""
        opened = fragment[:1] if fragment[:1] in "\"'" else ""
        for text, kind in offers:
            yield (opened + text if opened else words.quoted(text)), kind

    def _variables(self) -> list[str]:
        from types import ModuleType

        shell = self._magics.shell
        return [
            name
            for name, value in shell.user_ns.items()
            if not name.startswith("_") and name not in shell.user_ns_hidden and not isinstance(value, ModuleType)
        ]

    def _completer(self) -> Any:
        completer = getattr(self._magics.shell, "Completer", None)
        return completer if hasattr(completer, "custom_matchers") else None


def _fits(name: str, start: str) -> bool:
    return name.startswith(start) and (start.startswith(".") or not name.startswith("."))


def _words(line: str) -> list[str]:
    from IPython.core.error import UsageError

    try:
        return words.split(line)
    except UsageError:
        return []
