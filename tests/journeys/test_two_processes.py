"""A notebook and a server on one laptop: what one has learned, the other knows at its next request."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from gateway_core import Gateway, Settings

from .conftest import SCALED, Providers

NOTEBOOK = """
from gateway_core import BlockingGateway
with BlockingGateway.from_settings() as gateway:
    for _ in range(3):
        print(gateway.ask("Tell me.").backend)
"""


async def in_the_notebook(environ: dict[str, str]) -> list[str]:
    """Which tiers answered a notebook's three questions."""
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", NOTEBOOK], env=environ, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


async def test_f85_failures_in_a_notebook_open_the_circuit_for_the_server(providers: Providers, empty_home: Path):
    shared = {**SCALED, **providers.settings, "ai_gateway_store": "sqlite"}
    environ = {**os.environ, **{name.upper(): str(value) for name, value in shared.items()}}
    async with Gateway.from_settings(Settings(**shared)) as server:
        assert (await server.ask("Tell me.")).backend == "copilot"
        providers.copilot.script(then="status_500")
        assert await in_the_notebook(environ) == ["cloud"] * 3
        calls = len(providers.copilot.paid_calls)
        answer = await server.ask("Tell me.")
        assert (answer.backend, answer.state) == ("cloud", "open")
        assert (answer.attempts[0].outcome, answer.attempts[0].reason) == ("skipped", "circuit_open")
        assert len(providers.copilot.paid_calls) == calls, "Copilot was not asked once more"
        await server.reset()
        providers.copilot.script()
        assert await in_the_notebook(environ) == ["copilot"] * 3, "a reset by the server holds for the notebook too"
