from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway_core.clock import SystemClock
from gateway_core.local_engine.process import EngineConfig, EngineProcess
from gateway_core.secrets import Secret
from gateway_core.testing.scripted_gguf import build
from gateway_core.tiers.embedded import EmbeddedTier
from gateway_core.tiers.http import Http
from gateway_core.tiers.local_openai import LocalOpenAITier

pytest.importorskip("xllamacpp", reason="needs the [local] extra: no wheel of xllamacpp for this platform")

CLOCK = SystemClock()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripted model, with a window large enough for an answer that takes seconds."""
    return build(tmp_path_factory.mktemp("models") / "scripted.gguf", context_length=65536)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a window of 512 tokens."""
    return build(tmp_path_factory.mktemp("models") / "small.gguf", context_length=512)


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(CLOCK, proxies={})
    yield http
    await http.aclose()


@pytest.fixture
async def embedded(http: Http) -> AsyncIterator[Callable[[Path], EmbeddedTier]]:
    made: list[EmbeddedTier] = []

    def make(model: Path) -> EmbeddedTier:
        made.append(EmbeddedTier(http, model_file=model, threads=1, total_memory=lambda: 64 * 1024**3))
        return made[-1]

    yield make
    for tier in made:
        await tier.aclose()


@pytest.fixture(scope="session")
def servers(model: Path, small_model: Path):
    """Two engines that every test leaves as it found them, by the name of their window."""
    engines = {
        "large": EngineProcess(EngineConfig(model, context=32768, threads=1)),
        "small": EngineProcess(EngineConfig(small_model, context=512, threads=1)),
    }
    yield engines
    for engine in engines.values():
        engine.stop()


@pytest.fixture
def other(http: Http, servers) -> Callable[..., object]:
    """The same engine as a server of the user's own."""

    async def make(window: str = "large", **options) -> LocalOpenAITier:
        running = await servers[window].running()
        options.setdefault("key", Secret(running.api_key))
        return LocalOpenAITier(http, CLOCK, base_url=f"{running.address}/v1", **options)

    return make
