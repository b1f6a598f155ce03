"""One live gateway for all client tests of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .running import Child, running
from .table import Client
from .world import World, living


@pytest.fixture(scope="session")
def living_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with living(tmp_path_factory.mktemp("clients")) as world:
        yield world


@pytest.fixture
def world(living_world: World) -> World:
    living_world.meet()
    return living_world


@pytest.fixture(scope="session")
def children(living_world: World) -> Iterator[Callable[[Client], Child]]:
    """A client's script, started once: importing some of these packages takes seconds."""
    started: dict[str, Child] = {}
    with ExitStack() as stack:

        def child_of(client: Client) -> Child:
            if client.script not in started or started[client.script].has_ended:
                started[client.script] = stack.enter_context(running(client.environment, client.script, living_world))
            return started[client.script]

        yield child_of
