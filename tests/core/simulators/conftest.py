from collections.abc import Iterator

import pytest

from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator


@pytest.fixture
def copilot() -> Iterator[CopilotSimulator]:
    with CopilotSimulator(grace=0.01) as simulator:
        yield simulator


@pytest.fixture
def openai() -> Iterator[OpenAISimulator]:
    with OpenAISimulator(grace=0.01) as simulator:
        yield simulator


@pytest.fixture
def ollama() -> Iterator[OllamaSimulator]:
    with OllamaSimulator(grace=0.01) as simulator:
        yield simulator
