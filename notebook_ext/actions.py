"""`%ai status`, `reset`, `history`, `config`, `login`, `help`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from gateway_core.markdown import as_text

from . import arguments
from .screen import printable
from .story import WHY, until

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .magics import GatewayMagics

Row = tuple[str, ...]


def run(action: str, rest: Sequence[str], magics: GatewayMagics) -> None:
    _ACTIONS[action](list(rest), magics)


def show(shell: InteractiveShell, text: str, markdown: str | None = None) -> None:
    """Text in a terminal, Markdown in a notebook."""
    if getattr(shell, "kernel", None) is None:
        sys.stdout.write(printable(text) + "\n")
        return
    shell.display_pub.publish({"text/plain": text, **({"text/markdown": markdown} if markdown else {})})


def _status(rest: list[str], magics: GatewayMagics) -> None:
    _nothing_more("status", rest)
    asked = magics.session.asked
    found = asked.status()
    status: Mapping[str, Any] = found if isinstance(found, Mapping) else found.as_dict()
    rows: list[Row] = [("tier", "state", "circuit", "why", "model")]
    rows += [_tier_row(tier) for tier in status.get("tiers", ())]
    told = [f"{status.get('connectivity', 'online')}; circuits kept in {_store(status)}"]
    if magics.session.url:
        told.append(f"asked: {magics.session.url}")
    told += map(str, status.get("notes", ()))
    _show_table(magics.shell, rows, told)


def _tier_row(tier: Mapping[str, Any]) -> Row:
    backend, mode = str(tier.get("backend")), str(tier.get("mode") or "")
    circuit = tier.get("circuit") or {}
    state, wait = str(circuit.get("state", "closed")), until(circuit.get("reopens_in"))
    if tier.get("available"):
        lit = "ready"
    elif state == "open":
        lit = f"left alone{wait}"
    elif state == "half_open":
        lit = "being tried"
    elif mode == "extractive":
        lit = "from documents only"
    else:
        lit = "not available"
    reason = circuit.get("reason") if state != "closed" else None
    why = (
        WHY.get(str(reason), str(reason))
        if reason
        else ("" if tier.get("available") else str(tier.get("why_not") or ""))
    )
    if not tier.get("available") and tier.get("cure"):
        why = f"{why}: {tier['cure']}" if why else str(tier["cure"])
    name = backend if mode in ("", backend) else f"{backend} ({mode})"
    return name, lit, state if tier.get("available") or state != "closed" else "", why, str(tier.get("model") or "")


def _store(status: Mapping[str, Any]) -> str:
    store = str(status.get("store", "memory"))
    return {"memory": "memory", "sqlite": "a file shared by notebook, page and server"}.get(store, store)


def _reset(rest: list[str], magics: GatewayMagics) -> None:
    _nothing_more("reset", rest)
    magics.session.asked.reset()
    show(magics.shell, "every circuit is closed, every wait forgotten")


def _history(rest: list[str], magics: GatewayMagics) -> None:
    chats = magics.chats
    forget = "--forget" in rest
    names = [word for word in rest if word != "--forget"]
    if len(names) > 1 or (forget and not names):
        raise UsageError("%ai history: history [CHAT], or history --forget CHAT")
    if names and names[0] not in chats.names:
        raise UsageError(f"%ai history: no conversation {names[0]}{arguments.suggestion(names[0], chats.names)}")
    if forget:
        chats.forget(names[0])
        show(magics.shell, f"{names[0]} is forgotten")
    elif names:
        turns = chats.turns(names[0])
        text = "\n\n".join(f"You: {question}\nAI: {answer}" for question, answer in turns)
        from gateway_core.markdown import harmless

        shown = "\n\n".join(f"**You:** {as_text(q)}\n\n{harmless(a)}" for q, a in turns)
        show(magics.shell, text, shown)
    elif not chats.names:
        show(magics.shell, "no conversations yet: %%ai -c NAME begins one")
    else:
        rows = [("conversation", "questions", "the last one")]
        for name in chats.names:
            turns = chats.turns(name)
            rows.append((name, str(len(turns)), " ".join(turns[-1][0].split())[:60]))
        _show_table(magics.shell, rows)


def _config(rest: list[str], magics: GatewayMagics) -> None:
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"%ai config: write NAME=VALUE, as {name}=...")
        magics.session.choose(name.lower(), value.strip("\"'"))
    _show_table(magics.shell, [("setting", "value", "what it does"), *magics.session.shown()])


def _login(rest: list[str], magics: GatewayMagics) -> None:
    _nothing_more("login", rest)
    show(
        magics.shell,
        "Sign in from a terminal, once; this notebook uses the login with its next question:\n"
        "  ai-gateway login   (checks the login of gh, or takes a token or a code)\n"
        "  gh auth login      (GitHub's own command)",
    )


def _help(rest: list[str], magics: GatewayMagics) -> None:
    rows = [("%%ai [NAME]", "ask the question in the cell; NAME binds the result, _ai is always the last one"),
            ("%%ai_rag [NAME] -d EXPR", "answer it from variables and files, citing them"),
            *((f"%ai {name}", about) for name, about in arguments.ACTIONS.items()),
            ("%%ai --help", "every option")]  # fmt: skip
    _show_table(magics.shell, [("", ""), *rows])


def _nothing_more(action: str, rest: Sequence[str]) -> None:
    if rest:
        raise UsageError(f"%ai {action} takes no {rest[0]!r}")


def _show_table(shell: InteractiveShell, rows: Sequence[Row], below: Iterable[str] = ()) -> None:
    """The first row is the head."""
    below = list(below)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    body = rows if any(rows[0]) else rows[1:]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in body]
    marked = [[as_text(cell) for cell in row] for row in rows]
    table = [marked[0], ["---"] * len(widths), *marked[1:]]
    markdown = "\n".join(f"| {' | '.join(row)} |" for row in table)
    show(
        shell,
        "\n".join([*lines, *below]),
        "\n\n".join([markdown, *(as_text(line) for line in below)]),
    )


_ACTIONS: Mapping[str, Callable[[list[str], GatewayMagics], None]] = {
    "status": _status,
    "reset": _reset,
    "history": _history,
    "config": _config,
    "login": _login,
    "help": _help,
}
