import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.tiers.token_estimate import estimated_tokens, fitting_chars, overflow, tokens_per_char
from gateway_core.types import Message, Prompt


def prompt(text: str, **fields) -> Prompt:
    return Prompt((Message("user", text),), **fields)


@pytest.mark.parametrize(
    ("text", "chars_per_token"), [("plain words", 3), ("中文", 1.5), ("текст", 2), ("😀", 1.5), ("", 3)]
)
def test_a_script_has_its_price(text, chars_per_token):
    assert 1 / tokens_per_char(text.replace(" ", "x")) == pytest.approx(chars_per_token)


@given(st.sampled_from(["a", "中", "ж", "a中ж "]), st.integers(256, 32768), st.none() | st.integers(1, 40000))
def test_what_fits_is_estimated_to_fit_with_room_for_an_answer(letter, window, max_tokens):
    asked = prompt(letter * 30000, max_tokens=max_tokens)

    fitting = prompt(letter * (fitting_chars(asked, window) // len(letter)), max_tokens=max_tokens)

    room = min(max_tokens or 1024, window // 2)
    assert estimated_tokens(fitting) <= max(window - room, 80) + 1


def test_an_overflow_goes_by_the_server_s_own_count():
    words = "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it"

    assert overflow("local", words, prompt("x" * 10_000), None).limit_chars == int(10_000 * 3072 / 5000 * 0.95)


@given(st.integers(1, 50_000), st.integers(1, 9000), st.integers(1, 9000), st.none() | st.integers(1, 9000))
def test_after_an_overflow_less_is_sent_than_before(chars, read, size, window):
    words = f"request ({read} tokens) exceeds the available context size ({size} tokens)"

    assert overflow("local", words, prompt("x" * chars), window).limit_chars < chars
