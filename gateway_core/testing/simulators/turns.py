"""What the providers take as a conversation: which parts a turn may hold, and which results belong to which calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHAT_PARTS: Mapping[str, frozenset[str]] = {
    "user": frozenset({"text", "image_url", "input_audio", "file"}),
    "assistant": frozenset({"text", "refusal"}),
    "system": frozenset({"text"}),
    "developer": frozenset({"text"}),
    "tool": frozenset({"text"}),
    "function": frozenset(),
}
_INPUT = frozenset({"input_text", "input_image", "input_file"})
ITEM_PARTS: Mapping[str, frozenset[str]] = {
    "user": _INPUT,
    "system": _INPUT,
    "developer": _INPUT,
    "assistant": frozenset({"output_text", "refusal"}),
}


class WrongTurn(Exception):
    """The provider refuses the conversation; `param` is the place."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


def check_chat(messages: Any) -> None:
    """Chat completions: raises `WrongTurn`. What is no list of objects is left to whoever reads it."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return
    open_calls: set[Any] = set()
    for number, message in enumerate(messages):
        here, role = f"messages.[{number}]", message.get("role")
        if role not in CHAT_PARTS:
            raise WrongTurn(f"Invalid value: '{role}'. Supported values are: {_listed(CHAT_PARTS)}.", f"{here}.role")
        _check_parts(message.get("content"), CHAT_PARTS[role], here)
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                told = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise WrongTurn(f"Invalid parameter: {told}", f"{here}.role")
            open_calls.discard(message["tool_call_id"])
            continue
        _none_is_open(open_calls, here)
        calls = message.get("tool_calls") or []
        open_calls = {call.get("id") for call in calls}
        if len(open_calls) < len(calls) or not all(open_calls):
            raise WrongTurn("Duplicate or missing id of a tool call.", f"{here}.tool_calls")
        if message.get("content") is None and not calls:
            raise WrongTurn("Invalid value for 'content': expected a string, got null.", f"{here}.content")
    _none_is_open(open_calls, "messages")


def check_items(items: Any) -> None:
    """Responses: raises `WrongTurn`."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return
    called, answered = set[Any](), set[Any]()
    for number, item in enumerate(items):
        here = f"input[{number}]"
        match item.get("type", "message"):
            case "function_call":
                called.add(item.get("call_id"))
            case "function_call_output":
                if item.get("call_id") not in called:
                    told = f"No tool call found for function call output with call_id {item.get('call_id')}."
                    raise WrongTurn(told, "input")
                answered.add(item["call_id"])
                _check_parts(item.get("output"), _INPUT, here, "output")
            case "message":
                role = item.get("role")
                if role not in ITEM_PARTS:
                    told = f"Invalid value: '{role}'. Supported values are: {_listed(ITEM_PARTS)}."
                    raise WrongTurn(told, f"{here}.role")
                _check_parts(item.get("content"), ITEM_PARTS[role], here)
    if called - answered:
        raise WrongTurn(f"No tool output found for function call {min(map(str, called - answered))}.", "input")


def _check_parts(content: Any, taken: frozenset[str], here: str, field: str = "content") -> None:
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in taken:
            told = f"Invalid value: '{kind}'. Supported values are: {_listed(taken)}."
            raise WrongTurn(told, f"{here}.{field}[{number}].type")
        if kind == "image_url" and not isinstance(part.get("image_url"), dict):
            raise WrongTurn("Invalid type for 'image_url': expected an object.", f"{here}.{field}[{number}].image_url")


def _none_is_open(calls: set[Any], here: str) -> None:
    if calls:
        told = "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        raise WrongTurn(f"{told} 'tool_call_id'. Not answered: {', '.join(sorted(map(str, calls)))}", here)


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
