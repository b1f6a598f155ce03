"""The command line: `ai-gateway ask | serve | status | reset`."""

from .command import main

__all__ = ["main"]
