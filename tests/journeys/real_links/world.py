"""Providers behind a real cable: over TLS in a namespace of their own, Ollama on the laptop's loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator

from .certificates import Authority, server_context
from .laptop import Laptop
from .name_server import NameServer
from .wires import CLOUD, COPILOT, NAME_SERVER, Wires

PACE = 0.002
RECORDS = {"copilot.example": (COPILOT,), "cloud.example": (CLOUD,)}


class FarCopilot(CopilotSimulator):
    """Called by its name, as GitHub tells it."""

    url = "https://copilot.example"


@dataclass
class World:
    """Everything a test plays with. `laptop` runs the gateway; the default limits hold unless a test builds anew."""

    wires: Wires
    names: NameServer
    authority: Authority
    copilot: FarCopilot
    cloud: OpenAISimulator
    ollama: OllamaSimulator
    laptop: Laptop
    certificate: Path
    tls: Any
    cloud_tls: Any

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "copilot_github_api": "https://copilot.example",
            "copilot_github_web": "https://copilot.example",
            "github_copilot_token": self.copilot.device.token,
            "cloud_provider": "openai",
            "openai_base_url": "https://cloud.example/v1",
            "openai_api_key": "sk-simulated",
            "ollama_base_url": self.ollama.url,
            "copilot_max_rpm": 0,
            "copilot_max_in_flight": 0,
            "ai_gateway_store": "memory",
        }

    def build(self, environ: dict[str, str] | None = None, **changes: Any) -> Laptop:
        trust = {"SSL_CERT_FILE": str(self.authority.bundle), "HTTPS_PROXY": "", "HTTP_PROXY": "", "NO_PROXY": ""}
        self.laptop.build({**self.settings, **changes}, **{**trust, **(environ or {})})
        return self.laptop

    def restore(self) -> None:
        self.wires.restore()
        self.names.silent = False
        self.names.records = dict(RECORDS)
        self.tls.load_cert_chain(self.certificate)
        self.cloud_tls.load_cert_chain(self.certificate)
        for simulator in (self.copilot, self.cloud, self.ollama):
            simulator.start()
            simulator.reset()


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """The namespaces and all that lives in them; gone when the block is left."""
    wires = Wires(f"links{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(wires.destroy)
        wires.build()
        authority = Authority(folder)
        certificate = authority.issue("copilot.example", "cloud.example")
        tls, cloud_tls = server_context(certificate), server_context(certificate)
        with wires.inside(wires.internet):
            names = NameServer(NAME_SERVER)
            stack.callback(names.close)
            copilot = stack.enter_context(FarCopilot(443, host=COPILOT, tls=tls, token_delay=PACE))
            cloud = stack.enter_context(OpenAISimulator(443, host=CLOUD, tls=cloud_tls))
        with wires.inside(wires.laptop):
            ollama = stack.enter_context(OllamaSimulator())
        home = {"HOME": str(folder), "AI_GATEWAY_STATE_DIR": str(folder / "state"), "COPILOT_USE_GH": "0"}
        laptop = Laptop(wires.laptop, home)
        stack.callback(laptop.close)
        yield World(wires, names, authority, copilot, cloud, ollama, laptop, certificate, tls, cloud_tls)
