"""The places a prompt can be answered, in the order they are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..clock import Clock
    from ..settings import Settings
    from ..types import Prompt
    from .base import Tier
    from .extractive import Quote
    from .http import Http


def build_rungs(
    settings: Settings, clock: Clock, http: Http, pick: Callable[[Prompt], Sequence[Quote]]
) -> tuple[Tier, ...]:
    """Copilot, the cloud, and the ways of this laptop. Nothing is contacted; `pick` finds passages to quote."""
    from .cloud import build_cloud
    from .copilot import build_copilot
    from .local import build_local

    return (
        build_copilot(settings, clock, http),
        build_cloud(settings, clock, http),
        *build_local(settings, clock, http, pick),
    )
