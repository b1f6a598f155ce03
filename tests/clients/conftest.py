"""One live gateway for all client tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .world import World, living


@pytest.fixture(scope="session")
def living_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with living(tmp_path_factory.mktemp("clients")) as world:
        yield world


@pytest.fixture
def world(living_world: World) -> World:
    living_world.meet()
    return living_world
