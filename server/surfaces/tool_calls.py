"""Tool calls as they travel: in fragments while an answer grows, whole at its end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def joined(fragments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The fragments of one answer as whole calls, in the order they began: the form of chat completions."""
    calls: dict[Any, dict[str, Any]] = {}
    for fragment in fragments:
        place = fragment.get("index", len(calls))
        call = calls.setdefault(place, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        function = fragment.get("function") or {}
        call["id"] = fragment.get("id") or call["id"]
        call["type"] = fragment.get("type") or call["type"]
        call["function"]["name"] = function.get("name") or call["function"]["name"]
        call["function"]["arguments"] += function.get("arguments") or ""
    return list(calls.values())


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments as values; what is no object is kept as text."""
    text = call["function"]["arguments"]
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = text
    return found if isinstance(found, dict) else {"arguments": text}
