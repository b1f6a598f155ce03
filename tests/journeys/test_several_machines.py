"""Two machines, each with a gateway and a state folder of its own, share their circuits in a real Redis server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway_core import BlockingGateway, Settings, SettingsInvalid
from gateway_core.testing.simulators import DEFAULT_ANSWER
from tests.core.circuit.redis_server import RedisServer

from .conftest import SCALED, Providers, serving
from .test_rest import ask
from .test_rest_faults import LIMITS

PASSWORD = "CANARY-password-of-the-store"


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:  # a socket's path must be short
        yield server


async def test_f84_machines_share_circuits_and_a_dead_server_costs_no_answer(
    providers: Providers, tmp_path: Path, redis_server: RedisServer
):
    shared = {**LIMITS, "AI_GATEWAY_STORE": redis_server.address, "FAILURE_THRESHOLD": "1"}
    homes = [tmp_path / name for name in ("one", "other")]
    for home in homes:
        home.mkdir()
    with serving(providers, homes[0], **shared) as (one, _), serving(providers, homes[1], **shared) as (other, _):
        async with (
            httpx.AsyncClient(base_url=one, timeout=30, trust_env=False) as here,
            httpx.AsyncClient(base_url=other, timeout=30, trust_env=False) as there,
        ):
            assert (await ask(there)).json()["backend"] == "copilot"
            providers.copilot.script("status_500")
            assert (await ask(here)).json()["backend"] == "cloud"
            calls = len(providers.copilot.paid_calls)
            assert (await ask(there)).json() == {"response": DEFAULT_ANSWER, "backend": "cloud", "state": "open"}
            assert len(providers.copilot.paid_calls) == calls

            await there.post("/admin/reset")
            assert (await ask(here)).json()["backend"] == "copilot"
            assert (await here.get("/status")).json()["store"] == "redis"

            redis_server.freeze()  # as if the network had swallowed it
            begun = time.monotonic()
            reply = (await ask(here)).json()
            took = time.monotonic() - begun
            status = (await here.get("/status")).json()
            redis_server.thaw()
            assert (reply["response"], reply["backend"]) == (DEFAULT_ANSWER, "copilot")
            assert took < 9 * 0.1, "a moment for the store, the rest for the answer"
            assert any("Circuits are kept in memory" in note for note in status["notes"])

            redis_server.stop()
            assert (await ask(there)).json()["backend"] == "copilot"


def test_f84_the_core_goes_on_when_the_server_was_never_there(providers: Providers, tmp_path: Path):
    address = f"redis://:{PASSWORD}@127.0.0.1:9/0"
    settings = Settings(
        **{**SCALED, **providers.settings, "ai_gateway_state_dir": tmp_path / "state", "ai_gateway_store": address}
    )
    assert PASSWORD not in repr(settings)
    with BlockingGateway.from_settings(settings) as gateway:
        assert gateway.ask("Tell me.").text == DEFAULT_ANSWER
        told = str(gateway.status().as_dict())
    assert "the server at 127.0.0.1:9 cannot be reached; start it, or look at AI_GATEWAY_STORE" in told
    assert PASSWORD not in told


@pytest.mark.parametrize(
    "store", ["redis", "redis://", "redis://host:port", "http://127.0.0.1", "mysql://x", "unix://"]
)
def test_what_is_no_store_is_refused_with_what_is_allowed(store: str):
    with pytest.raises(SettingsInvalid, match=r"^AI_GATEWAY_STORE: must be sqlite, memory, or an address such as"):
        Settings.load(ai_gateway_store=store)
