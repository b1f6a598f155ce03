from __future__ import annotations

from collections.abc import Iterator

import pytest

from .release import Mirror, mirror


@pytest.fixture
def release() -> Iterator[Mirror]:
    with mirror() as held:
        yield held
