"""Model names, as clients of other APIs write them: `auto`, a tier, or `tier/model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway_core import Gateway

from ..intake import shown

AUTO = "auto"
BACKENDS = ("copilot", "cloud", "local")
NAMES = (AUTO, *BACKENDS)
LATEST = ":latest"  # the tag that Ollama gives a name without one


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tier and model a name means. A name that is not ours means `auto`, and is told in `notes`."""

    name: str
    tier: str | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        return {"tier": self.tier, "model": self.model}


def wanted(name: str | None) -> Wanted:
    plain = (name or AUTO).removesuffix(LATEST)
    if plain == AUTO:
        return Wanted(name or AUTO)
    tier, _, model = plain.partition("/")
    if tier in BACKENDS:
        return Wanted(plain, tier, model or None)
    return Wanted(plain, notes=(f"the model {shown(plain)} is not known here; auto was asked",))


async def is_offered(name: str, gateway: Gateway) -> bool:
    """Whether a name means something now, with Ollama's tag or without."""
    return name in NAMES or name.removesuffix(LATEST) in {n.removesuffix(LATEST) for n in await offered(gateway)}


async def offered(gateway: Gateway) -> list[str]:
    """Every name that means something now: the fixed ones, and each tier's live models."""
    names = list(NAMES)
    for tier in (await gateway.status()).tiers:
        models = tier.info.models or ((tier.info.model,) if tier.info.model else ())
        names += [f"{tier.backend}/{model}" for model in models]
    return list(dict.fromkeys(names))
