"""The list of models of the account in use: asked once for all who wait, kept an hour, also on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ...clock import Clock
from ...errors import TierBroken, TierFailed
from ...types import Reason
from ..complaints import complaint_of, failure_from
from ..http import Client, open_stream
from .account import CURES
from .flight import Flights
from .in_the_way import in_the_way, is_in_the_way
from .models import Model, ModelFile, Shelf, models_in

LISTED_JUST_NOW = 60.0
LIST_LIMIT = 5.0

# `GET /models` of the account in use: what was replied, unread
Ask = Callable[[], Awaitable[Any]]


class Catalogue:
    """What is known of the models of one account at a time; another account's `key` begins anew."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._clock = clock
        self._file = ModelFile(state_dir, clock)
        self._shelf: Shelf | None = None
        self._key = ""
        self._listings: Flights[Shelf] = Flights()

    @property
    def models(self) -> tuple[Model, ...]:
        """The list as it is known, however old; empty before the first."""
        return self._shelf.models if self._shelf else ()

    def row(self, name: str) -> Model | None:
        return next((model for model in self.models if model.id == name), None)

    async def read(self, key: str, ask: Ask, *, wait: bool) -> tuple[Model, ...]:
        """The list; a stale one is renewed beside the request, a missing one waited for if `wait`.

        Raises `TierFailed` when it is waited for and cannot be had.
        """
        if key != self._key:
            self._shelf, self._key = await self._file.load(key), key
        if self._shelf is None and wait:
            return (await self._listings.join(key, lambda: self._list(key, ask))).models
        if self._shelf is None or not self._shelf.is_fresh(self._clock.wall()):
            self._listings.start(key, lambda: self._list(key, ask))
        return self.models

    async def anew(self, key: str, ask: Ask) -> tuple[Model, ...]:
        """The list, asked for again unless that was done within the last minute."""
        shelf, now = self._shelf if key == self._key else None, self._clock.wall()
        if shelf is None or not 0 <= now - shelf.at < LISTED_JUST_NOW:
            shelf = await self._listings.join(key, lambda: self._list(key, ask))
        return shelf.models

    def forget(self) -> None:
        """The account's login was erased."""
        self._shelf, self._key = None, ""

    async def aclose(self) -> None:
        await self._listings.aclose()

    async def _list(self, key: str, ask: Ask) -> Shelf:
        rows = await ask()
        shelf = Shelf(models_in(rows), self._clock.wall())
        if shelf.models and key == self._key:  # else the account has changed, or is forgotten, meanwhile
            self._shelf = shelf
            await self._file.save(key, rows)
        return shelf


async def list_of_models(client: Client, api: str, headers: Mapping[str, str], tier: str) -> Any:
    """What `GET /models` replies. Raises `TierFailed`, after five seconds at the latest."""
    request = client.build_request("GET", f"{api}/models", headers={**headers, "accept": "application/json"})
    try:
        async with asyncio.timeout(LIST_LIMIT), open_stream(client, request, tier=tier) as reply:
            if reply.status != 200:
                complaint = complaint_of(reply.status, await reply.error_text())
                if is_in_the_way(reply, complaint, api):
                    raise in_the_way(tier, reply.status)
                found = failure_from(tier, complaint, CURES)
                raise found if isinstance(found, TierFailed) else TierBroken(tier, "no list of models")
            return await reply.json()
    except TimeoutError:
        raise TierBroken(tier, "the list of models does not come", reason=Reason.FIRST_TOKEN_TIMEOUT) from None
