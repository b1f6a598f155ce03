"""A conversation as a file to keep: Markdown, JSON, or a notebook.

Whoever opens it renders it: no image in an answer, a question or the name of a file is fetched then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from gateway_core.markdown import growing, harmless

from .chats import Chat
from .story import seam_in_words

_TICKS = re.compile(r"`+")


def as_markdown(chat: Chat) -> str:
    parts = [f"# {harmless(chat.title)}"]
    for turn in chat.turns:
        # An open code block would take the next turn for code, and what that one holds as code for text.
        parts.append(("## Question\n\n" if turn["role"] == "user" else "## Answer\n\n") + growing(turn["text"]))
        if turn["role"] == "user":
            continue
        about = turn.get("about") or {}
        if told := _line_about(about):
            parts.append(f"*{told}*")
        parts += [_source(source) for source in about.get("sources") or [] if source.get("cited")]
    return "\n\n".join(parts) + "\n"


def as_json(chat: Chat) -> str:
    kept = {"title": chat.title, "created": chat.created, "turns": chat.turns, "documents": chat.documents}
    return json.dumps(kept, ensure_ascii=False, indent=1) + "\n"


def as_notebook(chat: Chat) -> str:
    """Questions become `%%ai` cells that can be run again; the answers stand below them as text."""
    cells: list[dict[str, Any]] = [_cell("markdown", f"# {harmless(chat.title)}")]
    cells.append(_cell("code", "%load_ext notebook_ext"))
    for turn in chat.turns:
        if turn["role"] == "user":
            cells.append(_cell("code", "%%ai --raw -c chat\n" + turn["text"]))
        else:
            told = _line_about(turn.get("about") or {})
            cells.append(_cell("markdown", growing(turn["text"]) + (f"\n\n*{told}*" if told else "")))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


EXPORTS: dict[str, tuple[Callable[[Chat], str], str]] = {
    "md": (as_markdown, "text/markdown; charset=utf-8"),
    "json": (as_json, "application/json"),
    "ipynb": (as_notebook, "application/x-ipynb+json"),
}


def file_name(chat: Chat, ending: str) -> str:
    """Plain letters only, so that it is the same on every system."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", chat.title).strip("-").lower() or "chat"
    return f"{plain[:50]}.{ending}"


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


def _line_about(about: dict[str, Any]) -> str:
    who = " · ".join(str(about[key]) for key in ("backend", "model") if about.get(key))
    why = "; ".join(filter(None, (*map(seam_in_words, about.get("seams") or ()), about.get("why"))))
    return harmless(who + (f" · {why}" if why else ""))


def _source(source: dict[str, Any]) -> str:
    longest = max((len(run) for run in _TICKS.findall(source["text"])), default=0)
    fence = "`" * max(3, longest + 1)
    place = f", {source['place']}" if source.get("place") else ""
    return f"[{source['n']}] {harmless(source['document'] + place)}\n\n{fence}text\n{source['text']}\n{fence}"
