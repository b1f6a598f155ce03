"""The whole ladder against simulated providers on real sockets, with the limits scaled down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway_core import Gateway, Settings
from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator
from gateway_core.testing.simulators.__main__ import environment

from .canaries import LogFile

SCALED = {
    "connect_timeout": 0.5,
    "first_token_timeout": 0.4,
    "stall_timeout": 0.4,
    "thinking_timeout": 3.0,
    "local_first_token_timeout": 5.0,
    "ai_gateway_store": "memory",
    "copilot_max_rpm": 0,
    "copilot_max_in_flight": 0,
}


@dataclass
class Providers:
    """Three providers that follow a script."""

    copilot: CopilotSimulator
    cloud: OpenAISimulator
    ollama: OllamaSimulator

    @property
    def settings(self) -> dict[str, Any]:
        return {name.lower(): value for name, value in environment(self.copilot, self.cloud, self.ollama).items()}


@pytest.fixture(scope="session")
def simulators() -> Iterator[Providers]:
    with CopilotSimulator() as copilot, OpenAISimulator() as cloud, OllamaSimulator() as ollama:
        yield Providers(copilot, cloud, ollama)


@pytest.fixture
def providers(simulators: Providers) -> Providers:
    for simulator in (simulators.copilot, simulators.cloud, simulators.ollama):
        simulator.start()
        simulator.reset()
    return simulators


Build = Callable[..., Gateway]


@pytest.fixture
async def gateway(providers: Providers) -> AsyncIterator[Build]:
    """Builds gateways on the three providers; settings by name override the scaled ones."""
    async with AsyncExitStack() as stack:

        def build(**changes: Any) -> Gateway:
            made = Gateway.from_settings(Settings(**{**SCALED, **providers.settings, **changes}))
            stack.push_async_callback(made.aclose)
            return made

        yield build


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    with LogFile(tmp_path / "debug.log") as file:
        yield file
