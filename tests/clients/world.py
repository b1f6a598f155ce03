"""A live `ai-gateway serve` that wants a token, with simulated providers behind it that are told what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator

from ..journeys.conftest import Providers, serving

TOKEN = "token"  # as the recipes of docs/clients.md write it
LIMITS = {
    "CONNECT_TIMEOUT": "3",
    "FIRST_TOKEN_TIMEOUT": "10",
    "STALL_TIMEOUT": "5",
    "FAILURE_THRESHOLD": "1000",  # so that calls that arrive at Copilot are as many as the client's requests
}


@dataclass
class World:
    url: str
    providers: Providers
    home: Path

    def meet(self, copilot: str = "ok", cloud: str = "ok", local: str = "ok") -> None:
        """From now on every call meets this, and nothing of before counts."""
        p = self.providers
        for simulator, fault in ((p.copilot, copilot), (p.cloud, cloud), (p.ollama, local)):
            simulator.reset()
            simulator.token_delay = 0.002  # a stream is then seen to be one
            simulator.script(then=fault)
        reply = httpx.post(f"{self.url}/admin/reset", headers={"x-api-key": TOKEN}, trust_env=False, timeout=30)
        assert reply.status_code == 200, reply.text

    @property
    def requests(self) -> int:
        """How often the gateway was asked since, as every request begins at Copilot."""
        return len(self.providers.copilot.paid_calls)

    @property
    def answered_by_the_cloud(self) -> bool:
        return any(call.outcome == "answered" for call in self.providers.cloud.paid_calls)


@contextmanager
def living(home: Path) -> Iterator[World]:
    with CopilotSimulator() as copilot, OpenAISimulator() as cloud, OllamaSimulator() as ollama:
        providers = Providers(copilot, cloud, ollama)
        with serving(providers, home, AI_GATEWAY_TOKEN=TOKEN, **LIMITS) as (url, _):
            yield World(url, providers, home)
