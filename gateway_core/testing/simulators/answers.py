"""What the simulated models say. All three say the same, so that an answer spliced from two can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Sixty words, all different: a gap or a repeat shows at once.
DEFAULT_ANSWER = (
    "A small lighthouse stands where three currents meet. Every evening its keeper climbs ninety worn steps, "
    "trims the wick, polishes brass, then writes down what passed: herring boats, one lost balloon, fog from "
    "northern islands. Nobody reads those ledgers, yet she continues, because light must answer darkness, and "
    "notes help strangers find safe harbour after familiar voices have gone quiet."
)

_TOKEN = re.compile(r"\s*\S+(?:\s+$)?")
_ASKS_TO_GO_ON = re.compile(
    r"\b(continu\w+|go on|going on|carry on|carry it on|keep (?:going|writing)|pick up|resume|complete (?:it|the|your)"
    r"|(?:cut|broke|broken|left) off|interrupted|unfinished|incomplete)\b",
    re.IGNORECASE,
)
_ECHO = re.compile(r"\becho:\s*(.+)", re.S)


def tokens_of(text: str) -> list[str]:
    """One token is one word with the white space before it. Joined, they are the text again."""
    return _TOKEN.findall(text) or ([text] if text else [])


def _beginning(whole: str, text: str) -> str:
    """`text`, or `text` without white space at its end, if `whole` begins so."""
    return next((start for start in (text, text.rstrip()) if whole.startswith(start)), "")


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, whatever wire it came over."""

    turns: tuple[tuple[str, str], ...]
    limit: int | None = None
    schema: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def size(self) -> int:
        """Prompt tokens, about."""
        return sum(len(text) // 4 + 1 for _, text in self.turns)

    def said_of(self, whole: str) -> str:
        """How much of the answer `whole` the question already holds and wants carried on.

        That is an assistant turn at the end, or one before "please go on", or a text quoted in such a wish. What is
        not the beginning of `whole` is nobody's unfinished answer.
        """
        match [*self.turns]:
            case [*_, ("assistant", text)]:
                return _beginning(whole, text)
            case [*_, ("assistant", text), (_, wish)] if _ASKS_TO_GO_ON.search(wish):
                return _beginning(whole, text)
            case [*_, (_, wish)] if _ASKS_TO_GO_ON.search(wish):
                pieces = tokens_of(whole)
                starts = ("".join(pieces[:n]) for n in range(len(pieces), 4, -1))
                return next((start for start in starts if start in wish), "")
        return ""

    @property
    def echo(self) -> str:
        """What follows `echo:` in the last user turn."""
        last = next((text for role, text in reversed(self.turns) if role == "user"), "")
        found = _ECHO.search(last)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer before it has a wire format. Faults change plans; the dialects only write them down."""

    model: str
    whole: str
    text: str
    said: str = ""  # how much of `whole` was there already
    limit: int | None = None
    finish: str = "stop"
    pace: float = 0.0
    thinking: float = 0.0  # seconds of the provider's own events without visible text
    thoughts: int = 0  # how many of them; they count as tokens
    comments: float = 0.0  # seconds of keep-alive comments without any event
    quiet: float = 0.0  # seconds of silence after the opening
    tool: tuple[str, str] | None = None
    usage: str = ""  # "", separate, last, every, none
    input_tokens: int = 1
    streamed: bool | None = None  # whatever was asked for
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pieces(self) -> list[str]:
        """The visible tokens: of the text, or of the tool call's arguments."""
        if self.tool:
            return re.findall(r".{1,6}", self.tool[1], re.S)
        return tokens_of(self.text)[: self._room]

    @property
    def _room(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.thoughts)

    @property
    def finish_reason(self) -> str:
        if self.tool:
            return "tool_calls"
        cut = self._room is not None and len(tokens_of(self.text)) > self._room
        return "length" if cut and self.finish == "stop" else self.finish

    @property
    def output_tokens(self) -> int:
        return len(self.pieces) + self.thoughts


def plan(model: str, answer: str, question: Question, pace: float) -> Plan:
    """The answer to `question`: from the start, or from where its partial answer ends."""
    if question.schema is not None:
        answer = as_text(instance_of(question.schema, answer))
    whole = question.echo or answer
    said = question.said_of(whole)
    return Plan(model, whole, whole[len(said) :], said, question.limit, pace=pace, input_tokens=question.size)


def instance_of(schema: Mapping[str, Any], text: str) -> Any:
    """A value that the JSON schema allows; free strings hold words of `text`."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return instance_of(schema[key][0], text)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: instance_of(part, text) for name, part in schema.get("properties", {"answer": {}}).items()}
    if kind == "array":
        return [instance_of(schema.get("items", {}), text)] * max(1, int(schema.get("minItems", 1)))
    simple: Mapping[str, Any] = {"integer": 7, "number": 7.5, "boolean": True, "null": None}
    return simple.get(kind, text)


def as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""
