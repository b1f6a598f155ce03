"""The third tier: every way of answering on this laptop, in the order in which they are asked."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ..clock import Clock
from ..secrets import Secret
from ..settings import Settings, is_loopback
from .base import Tier
from .embedded import EmbeddedTier
from .extractive import ExtractiveTier, Pick
from .http import Http
from .local_openai import LocalOpenAITier
from .ollama import OllamaTier

MODELS = "models"


def build_local(settings: Settings, clock: Clock, http: Http, pick: Pick) -> tuple[Tier, ...]:
    """Ollama, another local server, the embedded engine, and the quoting of passages. Asks and reads nothing yet."""
    model, file = _model_of(settings.local_model)
    ollama = OllamaTier(
        http,
        clock,
        base_url=settings.ollama_base_url,
        model=model,
        leaves_laptop=leaves_laptop(settings.ollama_base_url, allowed=settings.local_network),
    )
    other = LocalOpenAITier(
        http,
        clock,
        base_url=settings.local_base_url,
        model=model,
        key=Secret.of(settings.local_api_key),
        state_dir=settings.ai_gateway_state_dir,
        leaves_laptop=leaves_laptop(settings.local_base_url, allowed=settings.local_network),
    )
    embedded = EmbeddedTier(http, models_dir=settings.ai_gateway_state_dir / MODELS, model_file=file, model=model)
    extractive = ExtractiveTier(pick)
    if file is not None:  # whoever names a file wants that file
        return embedded, ollama, other, extractive
    return ollama, other, embedded, extractive


def leaves_laptop(url: str | None, *, allowed: bool) -> bool:
    """Does a prompt to `url` count as leaving? `allowed`: the user lets the local network count as this laptop."""
    if url is None or is_loopback(url):
        return False
    if not allowed:
        return True
    try:
        return ip_address(urlsplit(url).hostname or "").is_global
    except ValueError:
        return False  # a name of the user's own choosing


def _model_of(name: str | None) -> tuple[str | None, Path | None]:
    """`LOCAL_MODEL` is a model's name, or the path of a GGUF file."""
    if name and name.lower().endswith(".gguf"):
        return None, Path(name).expanduser()
    return name, None
