"""Which installed model answers."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.tiers.local_models import (
    GB,
    InstalledModel,
    advised_model,
    catalogue,
    choose,
    free_memory,
    smaller,
    total_memory,
    window,
)
from gateway_core.types import Reason

PULL = "ollama pull qwen3.5:4b  (3.4 GB)"


def installed(*names: str, size: float = 2.0, **fields) -> list[InstalledModel]:
    return [InstalledModel(name, int(size * GB), **fields) for name in names]


def chosen(models, **wishes) -> str | None:
    model = choose(models, **wishes).model
    return model.name if model else None


@pytest.mark.parametrize(
    ("names", "best"),
    [
        pytest.param(["llama3:8b", "qwen3.5:4b"], "qwen3.5:4b", id="the younger family"),
        pytest.param(["qwen2.5-coder:7b", "qwen2.5:7b"], "qwen2.5:7b", id="no specialist"),
        pytest.param(["nomic-embed-text:latest", "phi3:mini"], "phi3:mini", id="no embedding model"),
        pytest.param(["hf.co/someone/Qwen3-1.7B-GGUF:Q8_0", "llama3.2:3b"], "hf.co/someone/Qwen3-1.7B-GGUF:Q8_0",
                     id="the family behind a repository's name"),
        pytest.param(["brand-new:7b", "mistral:7b"], "brand-new:7b", id="an unknown name is more likely new than old"),
        pytest.param(["qwen3.5:cloud", "llama2:7b"], "llama2:7b", id="no cloud model, however good"),
        pytest.param(["gpt-oss:120b-cloud", "llama2:7b"], "llama2:7b", id="nor one with a size in its tag"),
    ],
)  # fmt: skip
def test_the_best_installed_model_is(names, best):
    assert chosen(installed(*names)) == best


def test_a_model_too_large_for_the_free_memory_gives_way():
    models = [*installed("qwen3.5:9b", size=6.6), *installed("qwen2.5:3b", size=1.9)]

    assert chosen(models, free_memory=16 * GB) == "qwen3.5:9b"
    assert chosen(models, free_memory=6 * GB) == "qwen2.5:3b"


def test_when_none_fits_the_smallest_is_tried():
    models = [*installed("qwen3.5:9b", size=6.6), *installed("qwen2.5:3b", size=1.9)]

    assert chosen(models, free_memory=1 * GB) == "qwen2.5:3b"


def test_the_server_s_word_on_what_a_model_can_do_goes_before_its_name():
    models = [
        *installed("embedding-talker", capabilities=("completion",)),
        *installed("plain", capabilities=("vision",)),
    ]

    assert chosen(models) == "embedding-talker"


@pytest.mark.parametrize("spelt", ["llama3", "LLAMA3:latest", "llama3:latest"])
def test_a_configured_model_is_found_however_it_is_spelt(spelt):
    assert choose(installed("llama3:latest", "qwen3.5:4b"), configured=spelt).model.name == "llama3:latest"


def test_the_request_s_wish_goes_before_the_setting():
    models = installed("a:latest", "b:latest")

    assert chosen(models, wanted="a", configured="b") == "a:latest"
    assert choose(models, wanted="x", configured="b").notes == ("x is not installed; b:latest answers instead",)


def test_a_substitute_is_named():
    choice = choose(installed("qwen3.5:4b"), configured="llama3")

    assert choice.notes == ("llama3 is not installed; qwen3.5:4b answers instead",)


@pytest.mark.parametrize(
    ("models", "wishes", "reason", "cure"),
    [
        pytest.param([], {}, Reason.MODEL_MISSING, PULL, id="nothing at all"),
        pytest.param([], {"configured": "llama3"}, Reason.MODEL_MISSING, "ollama pull llama3", id="nothing as set"),
        pytest.param(installed("x:cloud"), {}, Reason.CLOUD_MODEL, PULL, id="only clouds"),
        pytest.param(installed("a"), {"configured": "x:cloud"}, Reason.CLOUD_MODEL,
                     "Choose a model that is installed here.", id="a cloud by setting"),
        pytest.param(installed("a"), {"unfit": {"a"}}, Reason.MODEL_MISSING, PULL,
                     id="none that can run"),
    ],
)  # fmt: skip
def test_without_a_model_there_is_a_reason_and_a_cure(models, wishes, reason, cure):
    choice = choose(models, total_memory=16 * GB, **wishes)

    assert (choice.model, choice.reason, choice.cure) == (None, reason, cure)


models = st.lists(
    st.builds(
        InstalledModel,
        st.sampled_from(["llama3:8b", "qwen3.5:4b", "x:cloud", "y:70b-cloud", "nomic-embed-text", "new:1b"]),
        st.integers(0, 80 * GB),
        is_remote=st.booleans(),
    ),
    unique_by=lambda m: m.name,
)


@given(models, st.none() | st.sampled_from(["llama3:8b", "x:cloud", "absent"]), st.none() | st.integers(0, 64 * GB))
def test_no_wish_and_no_shortage_ever_leads_to_a_cloud_model(installed, wanted, free):
    choice = choose(installed, wanted=wanted, free_memory=free)

    assert choice.model is None or not (choice.model.is_cloud or "cloud" in choice.model.name)
    assert (choice.model is None) == (choice.reason is not None)


def test_is_there_a_smaller_one():
    models = [*installed("big", size=8), *installed("small", size=2), *installed("tiny:cloud", size=0)]

    assert smaller(models, "big", {"big"})
    assert not smaller(models, "big", {"big", "small"})
    assert not smaller(models, "small", {"small"})


@pytest.mark.parametrize(("gigabytes", "name"), [(4, "0.8b"), (8, "2b"), (16, "4b"), (32, "9b")])
def test_advice_goes_by_memory(gigabytes, name):
    assert advised_model(gigabytes * GB)[0] == f"qwen3.5:{name}"


@pytest.mark.parametrize(
    ("trained_for", "memory", "tokens"),
    [(None, None, 8192), (131072, 16 * GB, 8192), (2048, 16 * GB, 2048), (131072, 64 * GB, 16384)],
)
def test_the_window_goes_by_model_and_memory(trained_for, memory, tokens):
    assert window(trained_for, memory) == tokens


def test_the_catalogue_says_when_it_was_checked():
    assert date.fromisoformat(catalogue()["checked_on"])


def test_this_laptop_s_memory_is_known_or_not_but_never_wrong():
    total, free = total_memory(), free_memory()

    assert total is None or total > GB / 8
    assert free is None or total is None or 0 < free <= total
