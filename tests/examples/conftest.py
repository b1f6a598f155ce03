"""A real server process with simulated providers behind it, and each example ready to run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator
from tests.journeys.conftest import Providers, serving

from .clients import LANGUAGES, Client, ready


@pytest.fixture(scope="session")
def simulators() -> Iterator[Providers]:
    with CopilotSimulator() as copilot, OpenAISimulator() as cloud, OllamaSimulator() as ollama:
        yield Providers(copilot, cloud, ollama)


@pytest.fixture
def providers(simulators: Providers) -> Providers:
    for simulator in (simulators.copilot, simulators.cloud, simulators.ollama):
        simulator.reset()
    return simulators


@pytest.fixture(scope="session")
def running(simulators: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(simulators, tmp_path_factory.mktemp("server")) as (url, _):
        yield url


@pytest.fixture
def server(running: str, providers: Providers) -> str:
    """The address of a gateway whose circuits are all closed."""
    assert httpx.post(f"{running}/admin/reset", trust_env=False).json() == {"status": "ok"}
    return running


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a test run."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if folder.name.startswith("popen-") else folder) / "examples"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(params=LANGUAGES)
def client(request: pytest.FixtureRequest, built: Path) -> Client:
    return ready(request.param, built)
