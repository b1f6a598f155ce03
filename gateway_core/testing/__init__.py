"""For tests and drills: a clock to turn by hand, tiers that follow a script, and simulated providers on real ports."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import ManualClock, VirtualLoop, run_virtual
    from .scripted import ScriptedTier

_HOMES = {
    "ManualClock": ".clock",
    "VirtualLoop": ".clock",
    "run_virtual": ".clock",
    "ScriptedTier": ".scripted",
    "CopilotSimulator": ".simulators",
    "OpenAISimulator": ".simulators",
    "OllamaSimulator": ".simulators",
}

__all__ = ["ManualClock", "ScriptedTier", "VirtualLoop", "run_virtual"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
