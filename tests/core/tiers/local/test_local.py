"""The local rungs as the settings describe them."""

import pytest

from gateway_core.settings import Settings
from gateway_core.tiers.local import build_local

from .conftest import CLOCK


def rungs(http, tmp_path, **settings):
    chosen = Settings(ai_gateway_state_dir=tmp_path / "state", **settings)
    return build_local(chosen, CLOCK, http, lambda prompt: [])


async def test_they_come_in_the_promised_order(http, tmp_path):
    found = rungs(http, tmp_path)

    assert [r.mode for r in found] == ["ollama", "openai_compatible", "embedded", "extractive"]
    assert {(r.backend, r.identity) for r in found} == {("local", None)}
    assert not (tmp_path / "state").exists()


async def test_a_model_file_of_one_s_own_is_asked_first(http, tmp_path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF")

    first = rungs(http, tmp_path, local_model=str(file))[0]

    assert (first.mode, (await first.info()).model) == ("embedded", "mine")


@pytest.mark.parametrize(
    ("url", "allowed", "leaves"),
    [
        ("http://127.0.0.1:11434", False, False),
        ("http://192.168.7.7:11434", False, True),
        ("http://192.168.7.7:11434", True, False),
        ("http://workstation:11434", True, False),
        ("http://8.8.8.8:11434", True, True),
    ],
)
async def test_another_machine_counts_as_this_laptop_only_when_allowed(http, tmp_path, url, allowed, leaves):
    ollama, other, *_ = rungs(http, tmp_path, ollama_base_url=url, local_base_url=f"{url}/v1", local_network=allowed)

    assert (ollama.leaves_laptop, other.leaves_laptop) == (leaves, leaves)
