"""One server and one browser for all tests of the page in a process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .browser import Stage, staged


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("page") / "state") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def stage(shared_stage: Stage) -> Stage:
    """Nothing scripted, nothing charged, online, served."""
    if not shared_stage.served.is_running:  # a test that failed while the server was away fails alone
        await shared_stage.served.start()
    await shared_stage.gateway.reset()
    shared_stage.network.connect()
    for tier in (shared_stage.copilot, shared_stage.cloud, shared_stage.local):
        tier.prompts.clear()
        tier.to.clear()
        tier.cancelled = 0
    return shared_stage
