import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.tiers.control_tokens import JOINER, defuse, defuse_messages
from gateway_core.types import Message

CONTROL = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|end|>", "<|message|>",
    "<|turn>", "<turn|>", "<|channel>", "<|START_OF_TURN_TOKEN|>", "<BOS_TOKEN>", "<｜User｜>",
    "<｜begin▁of▁sentence｜>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<unused7>", "<s>", "</s>",
    "<unk>", "<pad>", "<bos>", "<eos>", "<mask>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<tool_response>", "<seed:bos>", "<seed:think>", "<<SYS>>", "<</SYS>>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[THINK]", "[IMG]", "[CONTROL_12]", "[gMASK]", "<sop>",
    "[|user|]", "[|endofturn|]", "<fim_prefix>", "<PRE>", "<EOT>", "]~b]", "]~!b[", "[e~[",
]  # fmt: skip

HARMLESS = [
    "x[mask] += 1",
    "if a < b and b > c:",
    "a | b",
    "parser = (<|>) p q",
    "<div class='s'>",
    "<b>bold</b>",
    "see [1] and [Smith 2020]",
    "values[INSTANCE]",
    "👨\u200d👩\u200d👧",
    "x <- y |> f",
    "",
]

texts = st.lists(st.one_of(st.sampled_from(CONTROL), st.text(max_size=6), st.sampled_from("<|>[]/｜~b! "))).map("".join)


@pytest.mark.parametrize("token", CONTROL)
def test_a_control_string_loses_its_power(token):
    assert defuse(f"before{token}after") == f"before{token[0]}{JOINER}{token[1:]}after"


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_is_left_alone(text):
    assert defuse(text) == text


@given(texts)
def test_no_control_string_survives_anywhere(text):
    defused = defuse(text)

    assert [token for token in CONTROL if token in defused] == []


@given(texts)
def test_taking_the_joiners_away_gives_the_text_back(text):
    assert defuse(text).replace(JOINER, "") == text.replace(JOINER, "")


@given(texts)
def test_doing_it_twice_changes_nothing_more(text):
    assert defuse(defuse(text)) == defuse(text)


def test_every_turn_is_defused_whoever_spoke_and_content_parts_too():
    turns = (
        Message("system", "rule <s>"),
        Message("user", [{"type": "text", "text": "<|end|>"}, {"type": "image_url", "image_url": {"url": "<s>"}}]),
        Message("assistant", "so far </think>"),
    )

    system, user, assistant = defuse_messages(turns)

    assert (system.content, assistant.content) == (f"rule <{JOINER}s>", f"so far <{JOINER}/think>")
    assert user.content == [
        {"type": "text", "text": f"<{JOINER}|end|>"},
        {"type": "image_url", "image_url": {"url": "<s>"}},
    ]
