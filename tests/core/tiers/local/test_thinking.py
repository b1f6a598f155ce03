from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.tiers.thinking import ThinkingFilter


def filtered(*parts: str) -> str:
    thinking = ThinkingFilter()
    return "".join(thinking.feed(part) for part in parts) + thinking.finish()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("<think>Hm.</think>\n\nYes.", "Yes.", id="a thought at the head is dropped"),
        pytest.param("\n<thinking>Hm.</thinking> Yes.", "Yes.", id="white space before it too"),
        pytest.param("[THINK]Hm.[/THINK]Yes.", "Yes.", id="another family's marks"),
        pytest.param("<think></think>Yes.", "Yes.", id="an empty thought"),
        pytest.param("Write <think>x</think> there.", "Write <think>x</think> there.", id="later it is text"),
        pytest.param("<think>never ends", "", id="a thought without an end is no answer"),
        pytest.param("<thi", "<thi", id="an answer that only begins like one"),
        pytest.param("  Yes.", "  Yes.", id="an answer keeps its leading space"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_only_the_answer_comes_through(text, answer):
    assert filtered(text) == answer


@given(
    st.sampled_from(["<think>a</think> b", "<think> </thin </think>\n\n b <think>", " plain", "<thinkk>", "[THINK]x"]),
    st.lists(st.integers(0, 25), max_size=6),
)
def test_the_cuts_between_chunks_change_nothing(text, cuts):
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})

    assert filtered(*(text[a:b] for a, b in pairwise(edges))) == filtered(text)
