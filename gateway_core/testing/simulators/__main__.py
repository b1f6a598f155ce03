"""The simulators from a terminal: `python -m gateway_core.testing.simulators`."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from . import Call, CopilotSimulator, OllamaSimulator, OpenAISimulator
from .script import LINES

CONTROLS = """\
Decide what the next questions meet, see what came, begin again (on any of the three):
  curl -X POST {url}/_sim/script -d '{{"faults": ["status_500", "cut_after:40"], "then": "ok"}}'
  curl {url}/_sim/calls
  curl -X POST {url}/_sim/reset"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gateway_core.testing.simulators",
        description="GitHub Copilot, OpenAI and Ollama, simulated on loopback ports. No account, no cost.",
    )
    for name in ("copilot", "openai", "ollama"):
        parser.add_argument(f"--{name}-port", type=int, default=0, metavar="N", help="0, the default: a free port")
    parser.add_argument("--token-delay", type=float, default=0.03, metavar="S", help="seconds between words")
    parser.add_argument("--faults", action="store_true", help="list what a script may hold, and leave")
    chosen = parser.parse_args(arguments)
    if chosen.faults:
        print_faults()
        return 0

    def watched(name: str) -> Callable[[Call], None]:
        return lambda call: say(f"{name:<8} {told(call)}")

    pace = chosen.token_delay
    try:
        with (
            CopilotSimulator(chosen.copilot_port, token_delay=pace, watch=watched("copilot")) as copilot,
            OpenAISimulator(chosen.openai_port, token_delay=pace, watch=watched("openai")) as openai,
            OllamaSimulator(chosen.ollama_port, token_delay=pace, watch=watched("ollama")) as ollama,
        ):
            say(f"copilot  {copilot.url}\nopenai   {openai.url}\nollama   {ollama.url}\n")
            say("Let ai-gateway use them:")
            for name, value in environment(copilot, openai, ollama).items():
                say(f"  export {name}={value}")
            say("\n" + CONTROLS.format(url=copilot.url) + "\n\nCtrl-C ends.")
            threading.Event().wait()
    except KeyboardInterrupt:
        return 130
    except OSError as wrong:
        print(f"cannot listen: {wrong}. Choose another port, or 0 for a free one.", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def environment(copilot: CopilotSimulator, openai: OpenAISimulator, ollama: OllamaSimulator) -> dict[str, str]:
    """What to export so that the gateway talks to the simulators."""
    return {
        "COPILOT_GITHUB_API": copilot.url,
        "COPILOT_GITHUB_WEB": copilot.url,
        "GITHUB_COPILOT_TOKEN": copilot.device.token,
        "CLOUD_PROVIDER": "openai",
        "OPENAI_BASE_URL": openai.base_url,
        "OPENAI_API_KEY": "sk-simulated",
        "OLLAMA_BASE_URL": ollama.url,
    }


def told(call: Call) -> str:
    """A call in one line: what was asked, what it met, what became of it."""
    words = f" after {call.tokens_sent} words" if call.paid else ""
    met = f" [{call.fault}]" if call.fault != "ok" else ""
    return f"{call.method} {call.path} {call.status or '-'} {call.outcome}{words}{met}"


def print_faults() -> None:
    say("Faults, with the value they take:")
    for name, line in LINES.items():
        value, colon, rest = line.partition(": ")
        takes = bool(colon) and value.isupper()
        say(f"  {f'{name}:{value}' if takes else name:<28} {rest if takes else line}")
    for simulator in (CopilotSimulator, OpenAISimulator, OllamaSimulator):
        say(f"\nErrors in the words of {simulator.name}:")
        for name, reply in simulator.named_errors.items():
            say(f"  {name:<34} {reply.status} {reply.body[:70].decode()}")
    say("\nSeveral at once: repeat:5+crlf. For a call that costs nothing: status_500@/models")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # whoever read along has seen enough
        sys.exit(main())
