from collections.abc import AsyncIterator, Callable

import pytest

from gateway_core.clock import SystemClock
from gateway_core.deadline import Deadline
from gateway_core.testing.simulators import OllamaSimulator
from gateway_core.tiers.base import Call
from gateway_core.tiers.http import Http
from gateway_core.tiers.ollama import OllamaTier
from gateway_core.types import Chunk, Message, Prompt

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def _ollama():
    with OllamaSimulator() as simulator:
        yield simulator


@pytest.fixture
def ollama(_ollama: OllamaSimulator) -> OllamaSimulator:
    _ollama.start()
    _ollama.reset()
    return _ollama


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(CLOCK, proxies={})
    yield http
    await http.aclose()


@pytest.fixture
def make_tier(http: Http, ollama: OllamaSimulator) -> Callable[..., OllamaTier]:
    def make(**options) -> OllamaTier:
        memory = {"total_memory": lambda: 16 * 1024**3, "free_memory": lambda: 8 * 1024**3}
        return OllamaTier(http, CLOCK, base_url=options.pop("base_url", ollama.url), **(memory | options))

    return make


def call() -> Call:
    return Call(Deadline.after(60, CLOCK), 5.0, lambda: None)


def ask(text: str = "Tell me about the lighthouse.", *before: tuple[str, str], **fields) -> Prompt:
    return Prompt((*(Message(role, said) for role, said in before), Message("user", text)), question=text, **fields)


async def answer_of(tier, prompt: Prompt | None = None, seen: list[Chunk] | None = None):
    """Text, and the chunks it came in; `seen` keeps them when it breaks off."""
    chunks = [] if seen is None else seen
    async for chunk in tier.stream(prompt or ask(), call()):
        chunks.append(chunk)
    return "".join(chunk.text for chunk in chunks), chunks
