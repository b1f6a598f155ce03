"""Builds the parts that the settings name."""

from __future__ import annotations

from .gateway import Gateway
from .settings import Settings


def assemble(settings: Settings) -> Gateway:
    return Gateway((), settings=settings)
