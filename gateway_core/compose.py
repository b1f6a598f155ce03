"""From a question, earlier turns and documents to the prompt a tier is asked. Refuses what no tier could read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import PromptRefused
from .types import Answer, Document, Message, Prompt, Reason

LONGEST_PROMPT = 2_000_000  # characters
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Composed:
    """A prompt, and what is done with its answer."""

    prompt: Prompt

    def checked(self, answer: Answer) -> Answer:
        return answer


def compose(
    question: str,
    *,
    documents: Sequence[Document | str] | None = None,
    system: str | None = None,
    messages: Sequence[Message | Mapping[str, Any]] = (),
    max_context_chars: int = 4000,
) -> Composed:
    """Raises `PromptRefused` naming the field."""
    _readable(question, "prompt")
    if not question.strip():
        raise PromptRefused("the prompt is empty", field="prompt", cure="write a question")
    turns = [*_system(system), *_earlier(messages)]
    return Composed(Prompt((*turns, Message("user", question)), question=question))


def _system(system: str | None) -> list[Message]:
    if system is None:
        return []
    return [Message("system", _readable(system, "system"))]


def _earlier(messages: Sequence[Message | Mapping[str, Any]]) -> list[Message]:
    turns = []
    for number, turn in enumerate(messages):
        if not isinstance(turn, Message):
            role, content = turn.get("role"), turn.get("content")
            if role not in ROLES or not isinstance(content, str):
                raise PromptRefused(
                    f"messages[{number}] must have a role ({', '.join(ROLES)}) and a text as content",
                    field=f"messages[{number}]",
                )
            turn = Message(role, content)
        _readable(turn.content, f"messages[{number}]")
        turns.append(turn)
    return turns


def _readable(text: str, field: str) -> str:
    if not isinstance(text, str):
        raise PromptRefused(f"{field} must be a text", field=field)
    if len(text) > LONGEST_PROMPT:
        refused = PromptRefused(
            f"{field} has {len(text):,} characters; at most {LONGEST_PROMPT:,} are read", field=field,
            cure="send long texts as documents",
        )  # fmt: skip
        refused.reason = Reason.TOO_LARGE
        raise refused
    if "\0" in text:
        raise PromptRefused(f"{field} holds a NUL character", field=field, cure="send text, not binary data")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise PromptRefused(
            f"{field} holds half a surrogate pair at character {exc.start}", field=field, cure="send valid Unicode"
        ) from None
    return text
