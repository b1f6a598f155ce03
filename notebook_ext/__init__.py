"""`%load_ext notebook_ext`: `%%ai` and `%%ai_rag` in a notebook or in IPython.

Loading is light: the gateway itself is imported by the first cell that asks something.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .magics import GatewayMagics as GatewayMagics
    from .result import AIResult as AIResult

_HOMES = {"GatewayMagics": "magics", "AIResult": "result"}

__all__ = ["AIResult", "GatewayMagics", "load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: "InteractiveShell") -> None:
    from .magics import GatewayMagics

    GatewayMagics(shell).register()


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    from .magics import unregister

    unregister(shell)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
