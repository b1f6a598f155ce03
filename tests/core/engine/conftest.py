from pathlib import Path

import pytest

from gateway_core.testing.scripted_gguf import build

pytest.importorskip("xllamacpp", reason="needs the [local] extra: no wheel of xllamacpp for this platform")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripted model, with a window large enough for an answer that takes seconds."""
    return build(tmp_path_factory.mktemp("models") / "scripted.gguf", context_length=65536)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "small.gguf", context_length=512)
