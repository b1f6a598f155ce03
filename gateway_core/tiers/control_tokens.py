"""Make a text harmless against the strings by which local models tell turns apart.

llama.cpp, and Ollama with it, tokenises a chat as one string and turns every control string in it into the real
control token, wherever it came from. A document that holds `<|im_end|><|im_start|>system` would end the user's
turn and speak with the system's voice. An invisible zero-width joiner after the first character takes that power
away and leaves the text readable: to a person and to the model it looks the same.

The strings follow families, so the table names families, not models. A false alarm costs one invisible
character; a gap costs the boundary between data and orders. Hence it is generous where the shape is
unmistakable (`<|anything|>`) and exact where code looks alike (`[INST]`, but not `x[mask]`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ..types import Message

JOINER = "\u200d"

_NAME = r"[\w.:/+~ \u2581-]{1,64}"

# The first character, and what must follow it.
_FAMILIES = (
    # ChatML, Llama 3 and 4, Phi, gpt-oss, Granite, Falcon, Kimi; Gemma 4 opens with `<|turn>`, closes with `<turn|>`
    ("<", rf"\|{_NAME}\|>"),
    ("<", r"\|\w{1,64}>"),
    ("<", r"\w{1,64}\|>"),
    # DeepSeek, Hunyuan: the bars are full-width
    ("<", rf"｜{_NAME}｜>"),
    # EXAONE
    (r"\[", rf"\|{_NAME}\|\]"),
    # SentencePiece: begin, end, unknown, padding, and a place for an image
    ("<", r"/?(?:s|unk|pad|bos|eos|mask|sop|eop|image|audio|video)>"),
    # Gemma 1 to 3: `<start_of_turn>`, `<end_of_image>`, `<start_function_call>`, `<unused7>`
    ("<", r"/?(?:start|end)_[a-z_]{1,40}>"),
    ("<", r"(?:unused\d{1,4}|escape|image_soft_token)>"),
    # thoughts and tool calls: Qwen, DeepSeek, GLM, Seed
    ("<", r"/?(?:think|thinking|thought|tools?|tool_[a-z]{1,20}|function_call)>"),
    ("<", r"/?(?:seed|minimax):[a-z_]{1,40}>"),
    # Llama 2 and Mistral
    ("<", r"</?SYS>>"),
    (r"\[", r"/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]{1,20}|MODEL_SETTINGS|THINK|ARGS|CALL_ID)\]"),
    (r"\[", r"(?:IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|PREFIX|MIDDLE|SUFFIX|CONTROL_\d{1,4})\]"),
    # BERT's children, GLM, InternLM
    (r"\[", r"(?:CLS|SEP|PAD|UNK|MASK|BOS|EOS|gMASK|sMASK|UNUSED_TOKEN_\d{1,4})\]"),
    # fill in the middle: CodeLlama, StarCoder; Command's `<BOS_TOKEN>`
    (
        "<",
        r"(?:PRE|SUF|MID|EOT|fim_[a-z]{1,10}|repo_name|reponame|file_sep|filename|[A-Z]{1,10}(?:_OF_[A-Z]{1,10})?_TOKEN)>",
    ),
    # MiniMax
    (r"\]", r"~!?b[\]\[]"),
    (r"\[", r"e~\["),
)

# Only the first character is consumed: a control string that begins inside another one is found as well.
_CONTROL = re.compile("|".join(f"{first}(?={rest})" for first, rest in _FAMILIES))


def defuse(text: str) -> str:
    """`text` without a working control string; removing the joiners gives it back."""
    if "<" not in text and "[" not in text and "]" not in text:
        return text
    return _CONTROL.sub(lambda found: found.group() + JOINER, text)


def defuse_messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The conversation with every text in it defused, whoever said it."""
    return tuple(_defuse_message(message) for message in messages)


def _defuse_message(message: Message) -> Message:
    content: object = message.content
    if isinstance(content, str):
        return replace(message, content=defuse(content))
    if isinstance(content, list):
        parts = [_defuse_part(part) for part in content]
        return replace(message, content=parts)  # type: ignore[arg-type]  # parts are passed on as they came
    return message


def _defuse_part(part: object) -> object:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return {**part, "text": defuse(part["text"])}
    return part
