"""Runs the command line over a ladder of scripted tiers: `python -m tests.core.cli.driver LADDER ARGUMENT...`.

Says at the end, in the file that `DRIVER_REPORT` names, how often each tier was asked and closed early.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from gateway_core import Gateway, Settings
from gateway_core.cli import main
from gateway_core.errors import TierUnreachable
from gateway_core.testing import ScriptedTier

FOREVER = 3600.0


class Told(ScriptedTier):
    """Makes the file that `DRIVER_ASKED` names a moment after it was asked."""

    def stream(self, prompt, call):
        asyncio.get_running_loop().call_later(0.3, Path(os.environ["DRIVER_ASKED"]).touch)
        return super().stream(prompt, call)


LADDERS = {
    "healthy": lambda: [ScriptedTier("copilot", ["The capital ", "is Paris."])],
    "hangs": lambda: [ScriptedTier("copilot", ["The capital ", "is Par", FOREVER])],
    "hangs, told": lambda: [Told("copilot", ["The capital ", "is Par", FOREVER])],
    "silent, told": lambda: [Told("copilot", [FOREVER])],
    "in many scripts": lambda: [ScriptedTier("copilot", ["café 東京"])],
    "down": lambda: [
        ScriptedTier("copilot", [TierUnreachable("copilot", "no route", cure="check the network")]),
        ScriptedTier("local", [TierUnreachable("local", "not running", cure="ollama serve")]),
    ],
    "endless": lambda: [ScriptedTier("copilot", [f"line {n}\n" for n in range(50_000)])],
}

if __name__ == "__main__":
    tiers = LADDERS[sys.argv[1]]()

    def build(settings: Settings) -> Gateway:
        return Gateway(tiers, settings=settings)

    code = main(sys.argv[2:], build=build)
    report = {tier.backend: {"calls": tier.calls, "closed_early": tier.cancelled} for tier in tiers}
    Path(os.environ["DRIVER_REPORT"]).write_text(json.dumps(report))
    sys.exit(code)
