"""Servers to attack, shared by the tests of a worker: one open, one with a token, one with the page."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator

from ..journeys.canaries import ANSWER, CLOUD, COPILOT, DOOR, LOCAL
from ..journeys.conftest import SCALED, Providers
from .live import TOKEN, Live, live, until


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


@pytest.fixture(scope="session")
def page_server(simulators: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """With the chat page, marked keys, a home that others may look into, and files open to everybody by default."""
    home = Path(tempfile.mkdtemp(prefix="ai-gateway-page-"))
    home.chmod(0o755)
    marked = {
        "github_copilot_token": COPILOT,
        "openai_api_key": CLOUD,
        "local_base_url": "http://127.0.0.1:9/v1",
        "local_api_key": LOCAL,
        "ai_gateway_token": DOOR,
        "ai_gateway_store": "sqlite",
        "log_level": "DEBUG",
    }
    try:
        with live(home, settings(simulators, **marked), "--host", "127.0.0.1", prepare=lambda: os.umask(0)) as server:
            until(lambda: "is loading" not in httpx.get(f"{server.url}/ui/", headers=server.headers).text, 90)
            yield server
    finally:
        shutil.rmtree(home)


@pytest.fixture
def page(page_server: Live, providers: Providers) -> Live:
    """The server with the page, before providers whose answers are marked."""
    providers.cloud.configure("api_keys", [CLOUD])
    for simulator in (providers.copilot, providers.cloud, providers.ollama):
        simulator.configure("answer", ANSWER)
    return page_server
