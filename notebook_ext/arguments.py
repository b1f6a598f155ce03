"""The options of the magics: one table for parsing, `--help`, `?` and completion."""

from __future__ import annotations

import argparse
import difflib
import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from IPython.core.error import UsageError

from . import words

TIERS = ("copilot", "cloud", "local")
POLICIES = ("continue", "restart", "stop")
STREAMS = ("auto", "text", "0")

ACTIONS: Mapping[str, str] = {
    "status": "tiers with their circuits, why one is left alone and until when",
    "reset": "close every circuit and forget every wait",
    "history": "conversations of this notebook: history [CHAT], history --forget CHAT",
    "config": "what is in force; NAME=VALUE changes it for this session",
    "login": "sign in to GitHub Copilot",
    "help": "this text",
}

CONFIG: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "url": ("address of a running gateway; empty: the gateway inside this kernel", ()),
    "stream": ("how a growing answer is shown", STREAMS),
    "footer": ("who answered, under the answer", ("1", "0")),
    "tier": ("ask only this tier", (*TIERS, "")),
    "model": ("ask for this model", ()),
    "local": ("ask only this laptop", ("1", "0")),
    "on_interrupt": ("when an answer breaks off", (*POLICIES, "")),
    "max_context_chars": ("characters of documents sent with a question", ()),
}


class _Help(Exception):
    """`--help` was asked for."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {_told(message, self)}")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise _Help

    def print_help(self, file: Any = None) -> None:
        raise _Help


def _asking(prog: str, about: str) -> _Parser:
    parser = _Parser(prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter,
                     allow_abbrev=False)  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", type=_a_name, help="bind the result to this variable")
    parser.add_argument("-c", "--chat", metavar="CHAT", help="a conversation: earlier turns are sent along")
    parser.add_argument("--new", action="store_true", help="begin the conversation anew")
    parser.add_argument("--tier", choices=TIERS, help="ask only this tier, without failover")
    parser.add_argument("--model", metavar="M", help="ask for this model")
    parser.add_argument("--local", action="store_true", help="ask only this laptop")
    parser.add_argument(
        "--on-interrupt", choices=POLICIES, help="when an answer breaks off: another tier goes on, starts anew, or stop"
    )
    parser.add_argument("--stream", choices=STREAMS, help="auto: grows in place; text: as plain text; 0: when finished")
    parser.add_argument("--system", metavar="TEXT", help="instructions that stand above the question")
    parser.add_argument("--max-tokens", type=_a_count, metavar="N", help="longest answer")
    parser.add_argument("--temperature", type=_a_temperature, metavar="X", help="0 to 2")
    parser.add_argument("--deadline", type=_a_number, metavar="S", help="seconds for all tiers together")
    parser.add_argument("--raw", action="store_true", help="leave {name} in the cell as it is")
    return parser


def _a_name(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be a variable's name; the question belongs in the lines below"
        )
    return text


def _a_count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _a_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return number


def _a_temperature(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 2")
    return number


def _a_context(text: str) -> int:
    if not text.isdecimal() or not 200 <= int(text) <= 2_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of characters from 200 to 2000000")
    return int(text)


AI = _asking(
    "%%ai",
    "Ask the question in the cell: GitHub Copilot, else a cloud, else this laptop.\n"
    "{name} in the cell becomes that variable's value.",
)
AI_RAG = _asking(
    "%%ai_rag",
    "Answer the question in the cell from documents, citing them.\n"
    "EXPR is a variable, a pattern of variable names, a file or pattern of files, or an expression.",
)
AI_RAG.add_argument("-d", "--documents", action="append", metavar="EXPR", help="what to answer from; may be repeated")
AI_RAG.add_argument(
    "--max-context-chars", type=_a_context, metavar="N", help="characters of documents to send, from 200"
)

PARSERS = {"ai": AI, "ai_rag": AI_RAG}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a cell's first line asks for."""

    name: str | None
    chat: str | None
    new: bool
    stream: str | None
    raw: bool
    documents: tuple[str, ...]
    options: Mapping[str, Any]  # for the gateway, only those given


def parse(magic: str, line: str) -> Chosen | None:
    """The choices of a line; `None` when help was asked for. Raises `UsageError`."""
    parser = PARSERS[magic]
    try:
        found = parser.parse_args(words.split(line))
    except _Help:
        return None
    if found.new and not found.chat:
        parser.error("--new begins a conversation anew and needs -c CHAT")
    if found.local and found.tier in ("copilot", "cloud"):
        parser.error(f"--local and --tier {found.tier} contradict each other")
    documents = tuple(getattr(found, "documents", None) or ())
    if magic == "ai_rag" and not documents:
        parser.error("-d EXPR is missing: say what to answer from; without documents use %%ai")
    options = {
        "tier": found.tier,
        "model": found.model,
        "local_only": found.local or None,
        "on_interrupt": found.on_interrupt,
        "system": found.system,
        "max_tokens": found.max_tokens,
        "temperature": found.temperature,
        "deadline_s": found.deadline,
        "max_context_chars": getattr(found, "max_context_chars", None),
    }
    given = {name: value for name, value in options.items() if value is not None}
    return Chosen(found.name, found.chat, found.new, found.stream, found.raw, documents, given)


def flags(magic: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every option of a magic with its help and its choices, for completion."""
    return {
        flag: (action.help or "", tuple(action.choices or ()))
        for action in PARSERS[magic]._actions
        for flag in action.option_strings
    }


def usage(magic: str) -> str:
    return PARSERS[magic].format_help()


def suggestion(word: str, known: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """`; did you mean X?`, or nothing."""
    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _told(message: str, parser: argparse.ArgumentParser) -> str:
    unknown = message.removeprefix("unrecognized arguments: ")
    if unknown == message:
        return message.removeprefix("argument NAME: ")
    first = unknown.split()[0]
    if first.startswith("-"):
        known = [flag for action in parser._actions for flag in action.option_strings]
        return f"unknown option {first}{suggestion(first, known)}"
    return f"{first!r} is one word too many; the question belongs in the lines below"
