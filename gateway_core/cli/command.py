"""The top of the command line: reads the arguments, hands the work on, turns every end into an exit code.

Nothing but the table of arguments is imported before the arguments are known to be right.
"""

from __future__ import annotations

import os
import sys

from .arguments import PROGRAM, parser, refuse
from .exits import ANSWERED, FAULT, STOPPED, USAGE
from .terminal import OutputFailed, ReaderLeft, Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from ..gateway import Gateway
    from ..settings import Settings

# Commands that build what they need themselves, and the modules of this package that run them.
ALONE = {
    "erase": "erase",
    "explain": "explain",
    "login": "login",
    "logout": "login",
    "doctor": "doctor",
    "local": "local",
}


def main(argv: Sequence[str] | None = None, *, build: Callable[[Settings], Gateway] | None = None) -> int:
    """Run one command and return its exit code. `build` makes the gateway; by default the settings say how."""
    terminal = Terminal.of_process()
    try:
        options = _parsed(argv, terminal)
        return options if isinstance(options, int) else _run(options, build, terminal)
    except KeyboardInterrupt:
        return STOPPED
    except ReaderLeft:
        # Whoever reads has enough, as `head` does: no fault.
        terminal.give_up()
        return ANSWERED
    except OutputFailed as exc:
        terminal.give_up()
        terminal.tell(f"{PROGRAM}: the output could not be written: {exc}")
        return FAULT
    except Exception as exc:  # noqa: BLE001 - the very top: a traceback would show prompts and tokens
        terminal.tell(f"{PROGRAM}: an error of our own ({type(exc).__name__}); LOG_LEVEL=DEBUG shows where")
        if os.environ.get("LOG_LEVEL", "").upper() == "DEBUG":
            from ..discretion import places_of

            terminal.tell(*places_of(exc))
        return FAULT


def _parsed(argv: Sequence[str] | None, terminal: Terminal) -> Namespace | int:
    """The arguments, or the exit code when argparse has said all there is to say."""
    table = parser()
    try:
        options, beyond = table.parse_known_args(argv)
        if beyond:
            refuse(table, options, beyond)
    except SystemExit as done:
        terminal.flush()
        return done.code if isinstance(done.code, int) else USAGE
    except BrokenPipeError:  # argparse writes by itself, and at once where PYTHONUNBUFFERED is set
        raise ReaderLeft from None
    if options.command is None:
        table.print_help(sys.stderr)
        return USAGE
    return options


def _run(options: Namespace, build: Callable[[Settings], Gateway] | None, terminal: Terminal) -> int:
    from ..errors import SettingsInvalid
    from ..settings import Settings

    try:
        settings = Settings.load()
        if options.command in ("ask", "drill", "serve"):  # status and doctor show it among the rest
            terminal.tell(*(f"{PROGRAM}: {oddity}" for oddity in settings.left_out_untold()))
        if options.command == "serve":  # which logs in its own way
            from .serve import run

            return run(options, settings, terminal)
        from .logs import logging_to

        with logging_to(terminal, settings):
            if options.command in ALONE:
                from importlib import import_module

                return int(import_module(f".{ALONE[options.command]}", __package__).run(options, settings, terminal))
            return _with_gateway(options, settings, build, terminal)
    except SettingsInvalid as exc:
        terminal.tell(f"{PROGRAM}: {exc}")
        return USAGE


def _with_gateway(
    options: Namespace, settings: Settings, build: Callable[[Settings], Gateway] | None, terminal: Terminal
) -> int:
    from ..blocking import BlockingGateway

    def make() -> Gateway:
        from ..gateway import Gateway

        return (build or Gateway.from_settings)(settings)

    with BlockingGateway(make) as gateway:
        if options.command == "ask":
            from .ask import run as ask

            return ask(options, gateway, terminal)
        if options.command == "drill":
            from .drill import run as drill

            return drill(options, gateway, settings, terminal)
        from .state import reset, status

        return (status if options.command == "status" else reset)(options, gateway, settings, terminal)
