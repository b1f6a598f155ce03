"""The chat page: `build_page(gateway)` gives the application that the server shows at `/ui`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .page import build_page

__all__ = ["build_page"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .page import build_page

    return build_page
