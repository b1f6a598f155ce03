"""The whole ladder against simulated providers on real sockets, with the limits scaled down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway_core import Gateway, Settings
from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator
from gateway_core.testing.simulators.__main__ import environment

from .canaries import LogFile

SCALED = {
    "connect_timeout": 0.5,
    "first_token_timeout": 0.4,
    "stall_timeout": 0.4,
    "thinking_timeout": 3.0,
    "local_first_token_timeout": 5.0,
    "ai_gateway_store": "memory",
    "copilot_max_rpm": 0,
    "copilot_max_in_flight": 0,
}


# Copilot's fault, the reason told, and how often its circuit counts it: each row is answered by the cloud.
BEFORE_THE_FIRST_TEXT = [
    pytest.param("reset_after_request", "reset", 1, id="f05"),
    pytest.param("close_before_reply", "protocol", 1, id="f07"),
    pytest.param("hang", "first_token_timeout", 1, id="f04"),
    pytest.param("status_500", "upstream_5xx", 1, id="f08"),
    pytest.param("status_502", "upstream_5xx", 1, id="f09 502"),
    pytest.param("bad_gateway_page", "upstream_5xx", 1, id="f09 a page"),
    pytest.param("status_503", "upstream_5xx", 1, id="f09 503"),
    pytest.param("status_504", "upstream_5xx", 1, id="f09 504"),
    pytest.param("status_503:retry_after=1", "upstream_5xx", 1, id="f10"),
    pytest.param("status_429:retry_after=60", "rate_limited", 0, id="f11"),
    pytest.param("status_429", "rate_limited", 0, id="f12"),
    pytest.param("forbidden_policy", "forbidden", 0, id="f15"),
    pytest.param("copilot_quota_exceeded", "quota_used_up", 0, id="f16"),
    pytest.param("context_too_long", "context_too_long", 0, id="f18"),
    pytest.param("html_200", "portal", 0, id="f21"),
    pytest.param("blocked_by_firewall", "portal", 1, id="f21 a firewall"),
    pytest.param("redirect:http://127.0.0.1:9/elsewhere", "redirected", 0, id="f22"),
    pytest.param("status_511", "portal", 0, id="f23"),
    pytest.param("bad_schema", "bad_payload", 1, id="f24"),
    pytest.param("bad_json", "bad_payload", 1, id="f24 no json"),
    pytest.param("empty_body", "empty_body", 1, id="f25"),
    pytest.param("short_body+whole_reply", "truncated", 1, id="f27"),
    pytest.param("gzip_bomb:50", "bad_payload", 1, id="f28 packed"),
    pytest.param("drip_headers:0.3", "first_token_timeout", 1, id="f29"),
    pytest.param("error_first", "upstream_error", 1, id="f43"),
    pytest.param("role_only_then_drop", "reset", 1, id="f44"),
    pytest.param("gap_sequence:4", "truncated", 1, id="f52"),
]


@dataclass
class Providers:
    """Three providers that follow a script."""

    copilot: CopilotSimulator
    cloud: OpenAISimulator
    ollama: OllamaSimulator

    @property
    def settings(self) -> dict[str, Any]:
        return {name.lower(): value for name, value in environment(self.copilot, self.cloud, self.ollama).items()}


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


Build = Callable[..., Gateway]


@pytest.fixture
async def gateway(providers: Providers) -> AsyncIterator[Build]:
    """Builds gateways on the three providers; settings by name override the scaled ones."""
    async with AsyncExitStack() as stack:

        def build(**changes: Any) -> Gateway:
            made = Gateway.from_settings(Settings(**{**SCALED, **providers.settings, **changes}))
            stack.push_async_callback(made.aclose)
            return made

        yield build


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    with LogFile(tmp_path / "debug.log") as file:
        yield file


@contextmanager
def serving(providers: Providers, home: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server process on a free port, with its own state: its address, and the process."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AI_GATEWAY_STATE_DIR": str(home / "state"),
        "COPILOT_MAX_RPM": "0",
        "COPILOT_MAX_IN_FLIGHT": "0",
        "COPILOT_USE_GH": "0",
        **{name.upper(): str(value) for name, value in providers.settings.items()},
        **environment,
    }
    command = [sys.executable, "-m", "gateway_core", "serve", "--port", "0", "--no-ui"]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True, cwd=home)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise AssertionError("the server did not say where it listens")
        yield found.group(), process
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
