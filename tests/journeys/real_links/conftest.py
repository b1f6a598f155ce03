from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.missing import needs

from .wires import PROGRAMS, cannot
from .world import World, open_world


@pytest.fixture(scope="session")
def made_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    for program in PROGRAMS:
        needs(program)
    if (why := cannot()) is not None:
        pytest.skip(why)
    with open_world(tmp_path_factory.mktemp("links")) as world:
        yield world


@pytest.fixture
def world(made_world: World) -> World:
    """All well, a new gateway, the default limits."""
    made_world.restore()
    made_world.build()
    return made_world
