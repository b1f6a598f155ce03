"""The first tier: GitHub Copilot, by the user's own token."""

from .tier import CopilotTier, build_copilot

__all__ = ["CopilotTier", "build_copilot"]
