"""`ai-gateway serve`: starts the server front end, found by its entry point; the core knows no server."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from ..settings import Settings
from .arguments import PROGRAM
from .exits import USAGE
from .terminal import Terminal

GROUP = "ai_gateway.front_ends"
CURE = "install it: pip install 'ai-failover-gateway[server]'"


def run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    """Serve until stopped. The front end is `serve(*, settings, host, port, ui) -> int`."""
    found = entry_points(group=GROUP, name="server")
    if not found:
        terminal.tell(f"{PROGRAM}: the server is not installed; {CURE}")
        return USAGE
    try:
        serve: Callable[..., Any] = next(iter(found)).load()
    except (ImportError, AttributeError) as exc:
        missing = getattr(exc, "name", None) or exc
        terminal.tell(f"{PROGRAM}: the server cannot start, {missing} is missing; {CURE}")
        return USAGE
    return int(serve(settings=settings, host=options.host, port=options.port, ui=options.ui))
