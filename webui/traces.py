"""What this laptop keeps of its user, for the page to list, and its erasing."""

from __future__ import annotations

from typing import Any

from gateway_core import Gateway
from gateway_core.erasure import KEPT, STORES, holdings

_KEPT_WORDS = {"models": "model files that were fetched", "providers.toml": "your own table of clouds, providers.toml"}


class Traces:
    """Reads the state folder each time; keeps nothing."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def told(self) -> dict[str, Any]:
        """What erasing would take, with sizes, and what it would leave."""
        folder = self._gateway.settings.ai_gateway_state_dir
        goes = [{"name": h.store.name, "holds": h.store.holds, "bytes": h.bytes} for h in holdings(folder)]
        stays = [store.holds for store in STORES if not store.is_content]
        return {"goes": goes, "stays": [*stays, *(_KEPT_WORDS.get(name, name) for name in KEPT)]}

    async def erase(self) -> dict[str, Any]:
        """What could not be removed, by name and reason."""
        erased = await self._gateway.erase()
        return {"left": [f"{path.name}: {why}" for path, why in erased.left]}
