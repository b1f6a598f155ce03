"""`ai-gateway erase`: shows what would go, asks, and takes it away."""

from __future__ import annotations

from argparse import Namespace

from ..erasure import Holding, erase, holdings
from ..settings import Settings
from .arguments import PROGRAM
from .exits import ANSWERED, FAULT, USAGE
from .terminal import Terminal


def run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    state_dir = settings.ai_gateway_state_dir
    found = holdings(state_dir, everything=options.all)
    if not found:
        terminal.write(f"nothing to erase in {state_dir}\n")
        return ANSWERED
    terminal.tell(f"in {state_dir}:", *(f"  {_line(holding)}" for holding in found))
    if not options.yes:
        if not terminal.can_ask:
            terminal.tell(f"{PROGRAM}: nobody can be asked here; --yes erases without asking")
            return USAGE
        if not terminal.ask("Erase this? [y/N] "):
            terminal.tell("nothing was erased")
            return FAULT
    done = erase(state_dir, everything=options.all)
    for path, why in done.left:
        terminal.tell(f"{PROGRAM}: {path} could not be removed: {why}")
    terminal.write(f"erased: {', '.join(holding.store.name for holding in done.gone) or 'nothing'}\n")
    terminal.tell("a gateway that is running holds what is in its memory until it is stopped")
    return FAULT if done.left else ANSWERED


def _line(holding: Holding) -> str:
    return f"{holding.store.name:<20} {holding.store.holds} ({_amount(holding.bytes)})"


def _amount(size: int) -> str:
    for limit, unit, name in ((10_000, 1, "bytes"), (10_000_000, 1000, "kB")):
        if size < limit:
            return f"{size // unit} {name}"
    return f"{size // 1_000_000} MB"
