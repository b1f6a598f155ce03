"""Servers to attack, shared by the tests of a worker: one open, one with a token, one with the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator

from ..journeys.conftest import SCALED, Providers
from .live import TOKEN, Live, live


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


def settings(providers: Providers, **changes: Any) -> dict[str, Any]:
    """Of a server before the simulated providers, with its limits scaled down."""
    return {**SCALED, **providers.settings, **changes}


@pytest.fixture(scope="session")
def open_server(simulators: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """No token: what a user has who only started it."""
    with live(tmp_path_factory.mktemp("open"), settings(simulators, log_level="DEBUG")) as server:
        yield server


@pytest.fixture(scope="session")
def token_server(simulators: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    chosen = settings(simulators, ai_gateway_token=TOKEN, log_level="DEBUG")
    with live(tmp_path_factory.mktemp("token"), chosen) as server:
        yield server


@pytest.fixture
def server(open_server: Live, providers: Providers) -> Live:
    """The open server, before providers that answer."""
    return open_server


@pytest.fixture
def guarded(token_server: Live, providers: Providers) -> Live:
    """The server with a token."""
    return token_server
