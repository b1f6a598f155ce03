"""The REST front end: `create_app(gateway)` and `serve()`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app
    from .run import serve

__all__ = ["create_app", "serve"]

_HOMES = {"create_app": ".app", "serve": ".run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
