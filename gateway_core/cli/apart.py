"""A gateway that looks without being noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .. import __version__
from ..clock import SystemClock
from ..compose import Composer
from ..connectivity import ConnectivityGate
from ..gateway import Gateway
from ..settings import Settings
from ..tiers import build_rungs
from ..tiers.http import Http, Watch


@asynccontextmanager
async def gateway_of(settings: Settings, watch: Watch | None = None) -> AsyncIterator[tuple[Gateway, Http]]:
    """A gateway with circuits of its own: what was left alone by others is looked at, and what fails here is not
    charged to them."""
    clock, composer = SystemClock(), Composer()
    network = ConnectivityGate(clock)
    http = Http(
        clock,
        user_agent=f"ai-gateway/{__version__}",
        connect_timeout=settings.connect_timeout,
        blocked=network.blocked,
        watch=watch,
    )
    rungs = build_rungs(settings, clock, http, composer.quotes)
    async with Gateway(rungs, settings=settings, clock=clock, http=http, network=network, composer=composer) as gateway:
        yield gateway, http
