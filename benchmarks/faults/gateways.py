"""The gateways under test: real processes on loopback, simulated providers behind them, nothing beyond."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import httpx

from benchmarks.processes import address_in, answers, client_of, free_port, output_of, started, when_ready
from gateway_core.testing.simulators import CopilotSimulator, OllamaSimulator, OpenAISimulator
from gateway_core.testing.simulators.__main__ import environment

from . import calling
from .rules import FAULTS, HEALTHY, REFUSED, Fault, Outcome, Seen

SILENCE = 3  # seconds after which each gateway gives up a tier that says nothing
THRESHOLD = 3  # failures in a row after which each is told to leave a tier alone
RECOVERY = 300  # seconds for which
KEY = "sk-simulated"

Provider = CopilotSimulator | OpenAISimulator | OllamaSimulator


class Gateway(ABC):
    """One gateway that runs. `ways`: how it can be asked, by the name of the column."""

    name: ClassVar[str]
    version: str
    ways: ClassVar[tuple[str, ...]]
    primary: Provider
    others: Mapping[str, Provider]
    client: httpx.AsyncClient

    @abstractmethod
    async def ask(self, fault: Fault, way: str) -> Seen: ...

    async def forget(self) -> None:
        """Begin anew, as if no tier had ever failed."""
        return

    def can_meet(self, fault: Fault, way: str) -> bool:
        return True

    async def meet(self, fault: Fault, way: str, times: int) -> Outcome:
        """Several requests in a row while the first tier has this fault and the others are well."""
        await self.forget()
        for provider in (self.primary, *self.others.values()):
            provider.start()
            provider.reset()
        if fault.script == REFUSED:
            self.primary.stop()
        else:
            self.primary.script(then=fault.script)
        try:
            seen = [await self._once(fault, way) for _ in range(times)]
            return Outcome(seen, len(self.primary.paid_calls))
        finally:
            self.primary.start()

    async def _once(self, fault: Fault, way: str) -> Seen:
        before = {name: len(provider.paid_calls) for name, provider in self.others.items()}
        seen = await self.ask(fault, way)
        asked = [name for name, provider in self.others.items() if len(provider.paid_calls) > before[name]]
        return seen if seen.by else replace(seen, by=tuple(asked) or ("first",))


class Ours(Gateway):
    """`/ai/query`, streamed and in one piece, and the OpenAI-shaped door, which cannot show a seam."""

    name = "AI Gateway"
    ways = ("stream", "one piece", "/v1 stream")

    async def ask(self, fault: Fault, way: str) -> Seen:
        if way == "/v1 stream":
            return await calling.openai(self.client, stream=True, model="auto")
        return await calling.native(self.client, stream=way == "stream")

    async def forget(self) -> None:
        (await self.client.post("/admin/reset")).raise_for_status()


class Peer(Gateway):
    """Speaks OpenAI on both sides; the first and the next tier are two simulated OpenAIs."""

    ways = ("stream", "one piece")
    primary: OpenAISimulator
    others: Mapping[str, OpenAISimulator]

    def can_meet(self, fault: Fault, way: str) -> bool:
        return way == "stream" or not fault.streams_only


class LiteLLM(Peer):
    """A model group for each fault and way, so that none inherits another's cool-down."""

    name = "LiteLLM"

    async def ask(self, fault: Fault, way: str) -> Seen:
        headers = {"authorization": f"Bearer {KEY}"}
        return await calling.openai(self.client, stream=way == "stream", model=_group(fault, way), headers=headers)


class Portkey(Peer):
    """Takes its configuration with each request; the free gateway keeps no circuit to reset."""

    name = "Portkey"

    async def ask(self, fault: Fault, way: str) -> Seen:
        targets = [
            {"provider": "openai", "api_key": KEY, "custom_host": at.base_url, "request_timeout": SILENCE * 1000}
            for at in (self.primary, self.others["next"])
        ]
        headers = {"x-portkey-config": json.dumps({"strategy": {"mode": "fallback"}, "targets": targets})}
        return await calling.openai(self.client, stream=way == "stream", model="gpt-4o-mini", headers=headers)


def _group(fault: Fault, way: str) -> str:
    return f"{fault.key}-{way.replace(' ', '-')}"


# --- processes ------------------------------------------------------------------------------------------------------


@contextmanager
def ours(folder: Path) -> Iterator[Gateway]:
    with CopilotSimulator() as copilot, OpenAISimulator() as cloud, OllamaSimulator() as ollama:
        settings = {
            **environment(copilot, cloud, ollama),
            "AI_GATEWAY_STATE_DIR": str(folder / "state"),
            "FIRST_TOKEN_TIMEOUT": str(SILENCE),
            "STALL_TIMEOUT": str(SILENCE),
            "FAILURE_THRESHOLD": str(THRESHOLD),
            "RECOVERY_TIMEOUT": str(RECOVERY),
            "COPILOT_MAX_RPM": "0",
            "COPILOT_MAX_IN_FLIGHT": "0",
            "COPILOT_USE_GH": "0",
        }
        command = [sys.executable, "-m", "gateway_core", "serve", "--port", "0", "--no-ui"]
        with started(command, folder, settings) as (process, log):
            url = when_ready(process, log, lambda: address_in(log))
            gateway = Ours()
            gateway.version = output_of([sys.executable, "-m", "gateway_core", "--version"]).split()[-1]
            gateway.primary, gateway.others = copilot, {"cloud": cloud, "local": ollama}
            gateway.client = client_of(url)
            yield gateway


@contextmanager
def litellm(folder: Path, python: str) -> Iterator[Gateway]:
    """Its proxy, started from its own environment."""
    with OpenAISimulator() as first, OpenAISimulator() as spare:
        config = folder / "litellm.yaml"
        config.write_text(json.dumps(_litellm_config(first, spare)), encoding="utf-8")  # JSON is YAML
        port = free_port()
        command = [str(Path(python).absolute().with_name("litellm")), "--config", str(config)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        local = ("MODEL_COST_MAP", "BLOG_POSTS", "ANTHROPIC_BETA_HEADERS", "POLICY_TEMPLATES", "AUTOROUTER_PRESETS")
        settings = {f"LITELLM_LOCAL_{name}": "True" for name in local}  # it asks the network for nothing
        with started(command, folder, settings) as (process, log):
            url = f"http://127.0.0.1:{port}"
            when_ready(process, log, lambda: answers(f"{url}/health/liveliness"))
            gateway = LiteLLM()
            program = "import importlib.metadata as m; print(m.version('litellm'))"
            gateway.version = output_of([python, "-c", program])
            gateway.primary, gateway.others, gateway.client = first, {"next": spare}, client_of(url)
            yield gateway


def _litellm_config(first: OpenAISimulator, spare: OpenAISimulator) -> dict[str, object]:
    def at(group: str, simulator: OpenAISimulator) -> dict[str, object]:
        where = {"model": "openai/gpt-4o-mini", "api_base": simulator.base_url, "api_key": KEY}
        limits = {"timeout": SILENCE, "stream_timeout": SILENCE}
        return {"model_name": group, "litellm_params": {**where, **limits}, "model_info": {"id": group}}

    groups = [_group(fault, way) for fault in (HEALTHY, *FAULTS) for way in LiteLLM.ways]
    fallbacks = [{group: ["spare"]} for group in groups]
    return {
        "model_list": [*(at(group, first) for group in groups), at("spare", spare)],
        "router_settings": {
            "num_retries": 0,
            "fallbacks": fallbacks,
            "context_window_fallbacks": fallbacks,
            # One failure more than allowed cools down. (Its default, 3, means "not set" for a single deployment.)
            "allowed_fails": THRESHOLD - 1,
            "cooldown_time": RECOVERY,
        },
        "general_settings": {"master_key": KEY},
    }


@contextmanager
def portkey(folder: Path, script: str) -> Iterator[Gateway]:
    """Its server, `build/start-server.js` of the npm package; made to listen on loopback only."""
    script = str(Path(script).absolute())
    with OpenAISimulator() as first, OpenAISimulator() as spare:
        port = free_port()
        keep_home = (
            "const {Server} = require('net'), listen = Server.prototype.listen;"
            "Server.prototype.listen = function (at, ...more) {"
            " if (typeof at === 'number') at = {port: at}; at.host = '127.0.0.1';"
            " return listen.call(this, at, ...more.filter((m) => typeof m === 'function')) };"
            f"process.argv.splice(1, 0, {json.dumps(script)});"
            f"import({json.dumps(Path(script).as_uri())})"
        )
        command = ["node", "-e", keep_home, "--", f"--port={port}", "--headless"]
        with started(command, folder, {}) as (process, log):
            url = f"http://127.0.0.1:{port}"
            when_ready(process, log, lambda: answers(url))
            gateway = Portkey()
            package = Path(script).parent.parent / "package.json"
            gateway.version = json.loads(package.read_text(encoding="utf-8"))["version"]
            gateway.primary, gateway.others, gateway.client = first, {"next": spare}, client_of(url)
            yield gateway
