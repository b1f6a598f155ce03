from collections.abc import Iterator

import pytest

from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator


@pytest.fixture
def copilot() -> Iterator[CopilotSimulator]:
    with CopilotSimulator() as simulator:
        yield simulator


@pytest.fixture
def openai() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def ollama() -> Iterator[OllamaSimulator]:
    with OllamaSimulator() as simulator:
        yield simulator
