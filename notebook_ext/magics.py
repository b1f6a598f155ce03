"""`%%ai`, `%%ai_rag` and `%ai`: a cell's words in, an answer shown and bound."""

from __future__ import annotations

import builtins
import logging
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, no_var_expand

from . import arguments, words
from .arguments import ACTIONS, Chosen, suggestion
from .chats import Chats
from .complete import Completion
from .session import Session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gateway_core import BlockingGateway, Gateway

    from .documents import Found
    from .result import AIResult
    from .session import Asked

LOADED = "_ai_gateway_magics"  # where the shell keeps the magics it has loaded


@magics_class
class GatewayMagics(Magics):
    """`gateway`: whoever is to answer; `None`: what the settings describe, made at the first question."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, gateway: Gateway | BlockingGateway | Asked | None = None) -> None:
        super().__init__(shell)
        self.session = Session(gateway)
        self.chats = Chats()
        self._completion = Completion(self)
        self._told_hidden: set[str] = set()

    def register(self) -> None:
        """Make the magics known to the shell, in place of any that it knew."""
        unregister(self.shell)
        # What the log would tell stands under the answers; without a handler Python prints it into the cell.
        for name in ("ai_gateway", "gateway_core"):
            logging.getLogger(name).addHandler(logging.NullHandler())
        self.shell.register_magics(self)
        self._completion.register()
        setattr(self.shell, LOADED, self)

    def close(self) -> None:
        self._completion.unregister()
        self.session.close()

    # ---- the magics

    @no_var_expand
    @line_cell_magic
    def ai(self, line: str, cell: str | None = None) -> None:
        """Ask the question in the cell, or look after the gateway: %ai help."""
        if cell is None:
            return self._act(line)
        return self._answer("ai", line, cell)

    @no_var_expand
    @cell_magic
    def ai_rag(self, line: str, cell: str) -> None:
        """Answer the question in the cell from documents: %%ai_rag --help."""
        self._answer("ai_rag", line, cell)

    def _answer(self, magic: str, line: str, cell: str) -> None:
        with _plainly_told():
            chosen = arguments.parse(magic, line)
            if chosen is None:
                self._show_help(magic)
                return
            question, notes = self._question(cell, chosen)
            options = {**self.session.options(), **chosen.options}
            found = self._documents(chosen, question, options)
            if chosen.chat:
                options["messages"] = self._earlier(chosen, notes)
            self._ask(chosen, question, options, found, notes)

    # ---- from a cell to a question

    def _question(self, cell: str, chosen: Chosen) -> tuple[str, list[str]]:
        question, notes = cell.strip("\n"), list[str]()
        if not chosen.raw:
            from .interpolate import LONGEST_VALUE, fill

            filled = fill(question, self.shell.user_ns)
            if filled.secret:
                raise UsageError(
                    f"{{{filled.secret[0]}}} holds a credential and was not sent; take it out, or use --raw to send "
                    "the braces as they are"
                )
            notes += [f"{{{name}}} was cut at {LONGEST_VALUE:,} characters: %%ai_rag -d reads all of it"
                      for name in filled.cut]  # fmt: skip
            question = filled.text
        if not question.strip():
            raise UsageError("the cell is empty: write the question below the first line")
        return question, notes

    def _documents(self, chosen: Chosen, question: str, options: dict[str, Any]) -> Found | None:
        if not chosen.documents:
            return None
        from .documents import Library

        found = Library(self.shell.user_ns, self.shell.ev, self.shell.user_ns_hidden).read(chosen.documents, question)
        options["documents"] = found.documents
        options.setdefault(
            "max_context_chars", self.session.choices.max_context_chars or self.session.settings.max_context_chars
        )
        return found

    def _earlier(self, chosen: Chosen, notes: list[str]) -> list[Any]:
        assert chosen.chat
        if chosen.new:
            self.chats.forget(chosen.chat)
        messages, left_out = self.chats.messages(chosen.chat)
        if left_out:
            notes.append(f"the conversation is long: its {left_out} oldest questions were not sent along")
        return messages

    # ---- asking

    def _ask(
        self, chosen: Chosen, question: str, options: dict[str, Any], found: Found | None, notes: list[str]
    ) -> None:
        from .asking import Asking
        from .screen import screen_for

        screen = screen_for(self.shell, chosen.stream or self.session.stream, self.session.footer)
        told = (*self._hides(chosen.name), *notes, *(found.notes if found else ()))
        asking = Asking(question, found.documents if found else (), told, screen)
        try:
            asking.run(self.session.asked, options)
        finally:
            if asking.result is not None:
                self._keep(chosen, question, asking.result)

    def _hides(self, name: str | None) -> list[str]:
        """Told once for each name: a result may be bound to it, but it was Python's own."""
        if name is None or name in self._told_hidden or name in self.shell.user_ns or not hasattr(builtins, name):
            return []
        self._told_hidden.add(name)
        return [f"{name} is now the answer and hides Python's own {name}; `del {name}` brings that back"]

    def _keep(self, chosen: Chosen, question: str, result: AIResult) -> None:
        bound = {"_ai": result} | ({chosen.name: result} if chosen.name else {})
        self.shell.push(bound, interactive=False)  # type: ignore[no-untyped-call]
        if chosen.name:
            self.shell.user_ns_hidden.pop(chosen.name, None)
        if chosen.chat and result.text:
            self.chats.remember(chosen.chat, question, result.text)

    # ---- %ai status and its like

    def _act(self, line: str) -> None:
        from . import actions

        with _plainly_told():
            action, *rest = words.split(line) or ["help"]
            if action in ("-h", "--help"):
                action = "help"
            if action not in ACTIONS:
                raise UsageError(
                    f"%ai: no action {action}{suggestion(action, tuple(ACTIONS))}; a question belongs in a %%ai cell "
                    f"(actions: {', '.join(ACTIONS)})"
                )
            actions.run(action, rest, self)

    def _show_help(self, magic: str) -> None:
        from . import actions

        actions.show(self.shell, arguments.usage(magic))


for _magic, _name in ((GatewayMagics.ai, "ai"), (GatewayMagics.ai_rag, "ai_rag")):
    _magic.__doc__ = f"{_magic.__doc__}\n\n{arguments.usage(_name)}"  # what `%%ai?` shows


def unregister(shell: InteractiveShell) -> None:
    """Take the magics out of the shell again."""
    loaded = getattr(shell, LOADED, None)
    if loaded is None:
        return
    loaded.close()
    known = shell.magics_manager.magics
    for kind, name in (("line", "ai"), ("cell", "ai"), ("cell", "ai_rag")):
        known[kind].pop(name, None)
    delattr(shell, LOADED)


class _plainly_told:
    """Expected errors reach the cell without a traceback: they stop Run All, and say what to do in a few lines."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, value: BaseException | None, trace: Any) -> None:
        if isinstance(value, UsageError) or value is None:
            return
        from .errors import told_plainly
        from .files import Refused

        if isinstance(value, Refused):  # IPython knows its own class only
            raise UsageError(str(value)) from None

        told_plainly(value)
