"""The command line as a table. Imports argparse and nothing more: `--help` must not wait for the gateway."""

from __future__ import annotations

import argparse
import os

from .. import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROGRAM = "ai-gateway"

DESCRIPTION = (
    "Ask GitHub Copilot, else a cloud LLM, else a model on this laptop. The answer comes from the first that can."
)

ENDING = """\
exit codes
  0    answered
  1    the answer could not be written, or an error of our own
  2    wrong usage or a wrong setting
  3    no tier could answer, or the answer broke off (what came stands on standard output)
  130  stopped by Ctrl-C (what came stands on standard output)

Settings come from the environment and a .env file in the working directory.
"""

ASK_ENDING = """\
examples
  ai-gateway ask "What is a monad?"
  ai-gateway ask "What about refunds?" -d policy.txt -d faq.md
  git diff | ai-gateway ask "Review this change." -d -
  ai-gateway ask --json "Name three rivers."

Into a pipe the answer is written once it is whole. Who answered, and why, goes to standard error.
"""

DRILL_FAULTS = ("down", "slow", "cut", "rate_limited", "offline")
DRILL_ENDING = """\
faults
  down          nobody answers
  slow          no answer begins (it waits for FIRST_TOKEN_TIMEOUT)
  cut           the answer breaks off after some words
  rate_limited  too many requests
  offline       no way out of this laptop: every tier that needs one is cut off
  all           one after the other

The fault is made up. The tiers that take over, and with cut the broken one, are really asked, which may cost tokens.
No circuit hears of it, and `explain` does not list it.
"""

LOGIN_ENDING = """\
three ways to Copilot
  gh auth login                     GitHub's own command; its login is used as it is
  ai-gateway login --with-token     a fine-grained token with the permission "Copilot Requests"
  ai-gateway login                  a code in the browser; COPILOT_CLIENT_ID names the OAuth app
"""


class Help(argparse.RawDescriptionHelpFormatter):
    """argparse's own, minus the import of shutil for the width of the terminal."""

    def __init__(self, prog: str, **options: object) -> None:
        options = {"max_help_position": 28, "width": _columns(), **options}
        super().__init__(prog, **options)  # type: ignore[arg-type]


def _columns() -> int:
    told = os.environ.get("COLUMNS", "")
    if told.isdigit() and int(told) > 0:
        return int(told) - 2
    try:
        return max(40, os.get_terminal_size().columns - 2)
    except (OSError, ValueError):
        return 98


def parser() -> argparse.ArgumentParser:
    """The whole table. `options.command` names the module of this package that does the work."""
    main = argparse.ArgumentParser(
        PROGRAM, description=DESCRIPTION, epilog=ENDING, formatter_class=Help, allow_abbrev=False
    )
    main.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, summary: str, ending: str | None = None) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=summary, description=f"{summary}.", epilog=ending, formatter_class=Help, allow_abbrev=False
        )

    _ask(command("ask", "ask, and write the answer to standard output", ASK_ENDING))
    serve = command("serve", "serve the REST API and the chat page on this laptop")
    serve.add_argument("--host", help="address to listen on (AI_GATEWAY_HOST, else 127.0.0.1)")
    serve.add_argument("--port", type=_port, help="port to listen on (AI_GATEWAY_PORT, else 8000); 0: any free one")
    serve.add_argument("--no-ui", dest="ui", action="store_false", help="the API alone, without the chat page")
    status = command("status", "show who would be asked, and what each other tier lacks")
    status.add_argument("--json", action="store_true", help="what GET /status replies")
    explain = command("explain", "show how a request was decided: who was asked, why not, how long, at what cost")
    explain.add_argument(
        "id", nargs="?", metavar="ID", help="as `ask --json` and the other replies name it; else the last"
    )
    explain.add_argument("--json", action="store_true", help="every fact that is kept of it")
    command("reset", "close every circuit and forget every wait")
    _drill(command("drill", "break a tier on purpose, for one question, and see who takes over", DRILL_ENDING))
    login = command("login", "log in to GitHub Copilot, or check the login that is there", LOGIN_ENDING)
    login.add_argument("--with-token", action="store_true", help="keep the token that standard input holds")
    login.add_argument("--no-browser", dest="browser", action="store_false", help="show the address, do not open it")
    command("logout", "forget the saved login")
    doctor = command("doctor", "look at tokens, hosts, models, proxy, clock and files, and say what to mend")
    doctor.add_argument("--live", action="store_true", help="ask a tiny question on each path, and show what was said")
    _local(command("local", "models and servers on this laptop"))
    erase = command("erase", "delete conversations, indexes and logins from this laptop")
    erase.add_argument("--all", action="store_true", help="also circuits, lists of models and confirmed servers")
    erase.add_argument("--yes", action="store_true", help="do not ask")
    return main


def refuse(table: argparse.ArgumentParser, options: argparse.Namespace, beyond: list[str]) -> NoReturn:
    """Say in the words of the command itself what it does not take, and end."""
    from difflib import get_close_matches  # only here: it takes milliseconds to load

    commands = next(action.choices for action in table._actions if action.dest == "command")
    command: argparse.ArgumentParser = dict(commands or {}).get(options.command, table)
    told = f"unrecognized arguments: {' '.join(beyond)}"
    wrong = [word.partition("=")[0] for word in beyond if word.startswith("--")]
    if not wrong and options.command in ("ask", "drill"):
        told += "; put the question in quotes"
    names = [name for action in command._actions for name in action.option_strings]
    near = [match for word in wrong for match in get_close_matches(word, names, n=1, cutoff=0.75)]
    command.error(told + (f"; did you mean {near[0]}?" if near else ""))


def _local(local: argparse.ArgumentParser) -> None:
    actions = local.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name, help=summary, description=f"{summary}.", formatter_class=Help, allow_abbrev=False
        )

    action("list", "show the servers and models that are here, and which model suits this laptop")
    use = action("use", "say yes to a server that was found: from then on prompts may be sent to it")
    use.add_argument("url", metavar="URL", help="its address, as `local list` shows it")
    forget = action("forget", "take the yes back")
    forget.add_argument("url", metavar="URL")
    install = action("install", "bring a model file for the embedded engine onto this laptop")
    install.add_argument(
        "source", nargs="?", default="qwen3-1.7b", metavar="SOURCE",
        help="qwen3-1.7b (the rule), the https address of a .gguf file, or the path of one",
    )  # fmt: skip
    install.add_argument("--sha256", type=_checksum, metavar="HEX", help="the checksum that the file must have")
    install.add_argument("--yes", action="store_true", help="do not ask")
    remove = action("remove", "delete a model file of the embedded engine")
    remove.add_argument("name", metavar="NAME", help="as `local list` shows it")
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _ask(ask: argparse.ArgumentParser) -> None:
    ask.add_argument("prompt", nargs="?", metavar="PROMPT", help="the question; without it, or as -, standard input")
    ask.add_argument(
        "-d", "--document", dest="documents", action="append", default=[], metavar="FILE",
        help="answer from this file (or folder), citing it; may be given several times; -: standard input",
    )  # fmt: skip
    ask.add_argument("--system", metavar="TEXT", help="instructions that stand before the question")
    ask.add_argument("--tier", choices=("copilot", "cloud", "local"), help="ask this tier and no other")
    ask.add_argument("--model", help="the model to ask for")
    ask.add_argument("--local-only", action="store_true", help="nothing leaves this laptop")
    ask.add_argument(
        "--on-interrupt", choices=("continue", "restart", "stop"),
        help="when an answer breaks off: the next tier goes on, starts anew, or the answer ends there",
    )  # fmt: skip
    ask.add_argument("--max-tokens", type=_count, metavar="N", help="longest answer, in tokens")
    ask.add_argument(
        "--max-context-chars", type=_context, metavar="N", help="how much of the documents is sent: 200 to 2000000"
    )
    ask.add_argument("--deadline", type=_seconds, metavar="SECONDS", help="for all tiers together")
    form = ask.add_mutually_exclusive_group()
    form.add_argument(
        "--stream", action=argparse.BooleanOptionalAction,
        help="write the answer as it grows (in a terminal that is the rule)",
    )  # fmt: skip
    form.add_argument("--json", action="store_true", help="the REST reply with details, or the problem, as JSON")


def _drill(drill: argparse.ArgumentParser) -> None:
    drill.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="the question; as -, standard input; without it, a short one"
    )
    drill.add_argument(
        "--tier", choices=("copilot", "cloud", "local"),
        help="the tier that breaks, else the first that is lit; those before it are left out",
    )  # fmt: skip
    drill.add_argument("--fault", choices=(*DRILL_FAULTS, "all"), default="cut", help="what happens to it (cut)")


def _checksum(text: str) -> str:
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256 checksum (64 hexadecimal digits)")
    return text.lower()


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def _context(text: str) -> int:
    if not text.isdecimal() or not 200 <= int(text) <= 2_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of characters from 200 to 2000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, above 0 and up to 86400")
    return seconds


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return port
