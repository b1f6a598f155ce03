"""`-d EXPR`: what a user wants answered from.

In this order: a variable of that name, a pattern of variable names, a file or pattern of files, an expression over
the notebook's variables. Expressions are the user's own code in the user's own kernel; a prompt is never evaluated.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import glob
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import Refused, load
from .secrets import is_secret_name
from .variables import documents_of

if TYPE_CHECKING:
    from gateway_core import Document, Source

MOST_FILES = 1_000
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_NAME_PATTERN = re.compile(r"[\w*?\[\]!-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The documents, and what the user should know of them (rows left out, names passed over)."""

    documents: tuple[Document, ...]
    notes: tuple[str, ...]


class Library:
    """Finds documents among the variables of a notebook and the files around it.

    `evaluate` runs an expression in the notebook. `hidden` are names that are IPython's own.
    """

    def __init__(
        self, names: Mapping[str, Any], evaluate: Callable[[str], Any], hidden: Mapping[str, Any] | None = None
    ) -> None:
        self._names = names
        self._evaluate = evaluate
        self._hidden = hidden or {}

    def visible(self) -> list[str]:
        """The user's own variables, as completion and suggestions offer them."""
        return [name for name in self._names if not name.startswith("_") and name not in self._hidden]

    def read(self, expressions: Sequence[str], question: str) -> Found:
        """Raises `Refused` with one line that names the fault and, for a typo, the nearest variable."""
        documents: list[Document] = []
        notes: list[str] = []
        for expression in expressions:
            documents += self._documents(expression, question, notes)
        with_text = [document for document in documents if document.text.strip()]
        if not with_text:
            raise Refused(f"there is no text in {', '.join(expressions)}")
        found = _apart(with_text)
        for document in found:  # in the gateway's own words, so that it is told once
            notes += [f"{document.name}: {warning}" for warning in document.warnings]
        return Found(tuple(found), tuple(dict.fromkeys(notes)))

    def _documents(self, expression: str, question: str, notes: list[str]) -> list[Document]:
        if _IDENTIFIER.fullmatch(expression) and expression in self._names:
            return self._variable(expression, question)
        has_pattern = any(mark in expression for mark in "*?[")
        if has_pattern and _NAME_PATTERN.fullmatch(expression):
            matching = [name for name in self.visible() if fnmatch.fnmatchcase(name, expression)]
            if matching:
                return self._variables(matching, question, notes)
        if re.match(r"https?://", expression):
            raise Refused(f"{expression.partition('?')[0]} is not fetched: download it and name the file")
        paths = _files(expression, has_pattern)
        if paths:
            return self._files(paths, notes, is_pattern=has_pattern)
        return self._expression(expression, question)

    def _variable(self, name: str, question: str) -> list[Document]:
        if is_secret_name(name):
            raise Refused(
                f"{name} looks like a secret by its name and is not sent; copy it to another name if it is none"
            )
        return documents_of(name, self._names[name], question, load)

    def _variables(self, names: Sequence[str], question: str, notes: list[str]) -> list[Document]:
        """Of a pattern, what is no document is passed over; if nothing is left, the first reason is told."""
        documents: list[Document] = []
        refused: list[str] = []
        for name in names:
            try:
                documents += self._variable(name, question)
            except Refused as exc:
                refused.append(str(exc))
        if not documents:
            raise Refused(refused[0])
        notes += [f"passed over: {reason}" for reason in refused]
        return documents

    def _files(self, paths: Sequence[Path], notes: list[str], is_pattern: bool) -> list[Document]:
        if len(paths) > MOST_FILES:
            raise Refused(f"the pattern matches {len(paths):,} files; at most {MOST_FILES:,} are read")
        documents: list[Document] = []
        refused: list[str] = []
        for path in paths:
            try:
                documents += load(path)
            except Refused as exc:
                refused.append(str(exc))
        if not documents:
            raise Refused(refused[0])
        notes += [f"passed over: {reason}" for reason in refused]
        return documents

    def _expression(self, expression: str, question: str) -> list[Document]:
        first = _IDENTIFIER.match(expression)
        if first is None and expression[:1] not in "([{\"'":
            raise Refused(f"{expression} is no variable, no file and no expression")
        if first is not None and first[0] not in self._names and not _is_builtin(first[0]):
            raise Refused(self._unknown(expression, first[0]))
        if _named_secrets(expression):
            raise Refused(f"{expression} looks like a secret by its name and is not sent")
        try:
            value = self._evaluate(expression)
        except Exception as exc:  # noqa: BLE001 - the user's own expression may raise anything: it becomes one line
            told = " ".join(str(exc).split())[:160]
            raise Refused(f"{expression}: {type(exc).__name__}{': ' if told else ''}{told}") from None
        return documents_of(expression, value, question, load)

    def _unknown(self, expression: str, name: str) -> str:
        near = difflib.get_close_matches(name, self.visible(), 1, 0.6)
        if near:
            return f"{expression}: no variable or file of that name; did you mean {near[0]}?"
        files = difflib.get_close_matches(expression, [path.name for path in Path().iterdir()], 1, 0.7)
        return f"{expression}: no variable or file of that name" + (f"; did you mean {files[0]}?" if files else "")


def with_places(sources: Sequence[Source], documents: Sequence[Document]) -> tuple[Source, ...]:
    """Each source with the place its passage covers: `row 40`, or `row 40 to row 52`."""
    by_name = {document.name: document for document in documents}
    placed = []
    for source in sources:
        document = by_name.get(source.document)
        has_places = document is not None and bool(document.places)
        first = document.place_of(source.start) if document and has_places else source.place
        last = document.place_of(max(source.start, source.end - 1)) if document and has_places else None
        place = first if last in (None, first) else f"{first} to {last}"
        placed.append(dataclasses.replace(source, place=place))
    return tuple(placed)


def _files(expression: str, has_pattern: bool) -> list[Path]:
    path = Path(expression).expanduser()
    try:
        if path.exists():
            return [path]
    except OSError:  # a name too long to be a file's
        return []
    if not has_pattern:
        return []
    found = (Path(name) for name in glob.iglob(str(path), recursive=True))
    return sorted(name for name in found if name.is_file() and not any(p.startswith(".") for p in name.parts[:-1]))


def _is_builtin(name: str) -> bool:
    import builtins

    return hasattr(builtins, name) or name in ("lambda", "not", "await")


def _named_secrets(expression: str) -> bool:
    """`cfg.api_key`, `env["TOKEN"]`: the last step of a look-up names a secret."""
    last = re.search(r"(?:\.|\[[\"'])([^\W\d]\w*)(?:[\"']\])?$", expression)
    return last is not None and is_secret_name(last[1])


def _apart(documents: Sequence[Document]) -> list[Document]:
    """Documents of the same name are told apart by a number, so that a citation leads to one of them."""
    seen: dict[str, int] = {}
    apart = []
    for document in documents:
        seen[document.name] = seen.get(document.name, 0) + 1
        number = seen[document.name]
        apart.append(document if number == 1 else dataclasses.replace(document, name=f"{document.name} ({number})"))
    return apart
