"""Doubles for tests and demonstrations: nothing in here is needed to run the product."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .simulators import CopilotSimulator, OllamaSimulator, OpenAISimulator

_HOMES = {
    "CopilotSimulator": ".simulators",
    "OllamaSimulator": ".simulators",
    "OpenAISimulator": ".simulators",
}

__all__ = ["CopilotSimulator", "OllamaSimulator", "OpenAISimulator"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
