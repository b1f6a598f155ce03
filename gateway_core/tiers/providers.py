"""The table of clouds, as data."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import SettingsInvalid
from ..settings import PROVIDERS_FILE
from .openai_wire import Flavour


@dataclass(frozen=True, slots=True)
class Provider:
    """One cloud. `lists_models`: `GET /models` tells what can be asked."""

    name: str
    base_url: str
    model: str
    auth: str
    lists_models: bool
    id_prefix: str
    price: tuple[float, float] | None
    prices: Mapping[str, tuple[float, float]]
    checked_on: str
    flavour: Flavour

    def price_of(self, model: str | None) -> tuple[float, float] | None:
        """US dollars for a million tokens, read and written; of the table's own model when none is named."""
        if model is None:
            return self.price
        for name in (model, _DATE.sub("", model)):
            if name in self.prices:
                return self.prices[name]
            if name == self.model:
                return self.price
        return None


_DATE = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")  # the day of a model's release, which some add in replies
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "base_url": str,
    "model": str,
    "auth": str,
    "models": bool,
    "max_tokens": str,
    "usage": bool,
    "keep_alive": list,
    "temperature": (int, float),
    "price": list,
    "prices": dict,
    "id_prefix": str,
}


def load_providers(state_dir: Path | None = None) -> dict[str, Provider]:
    """The table that came with us, with the user's own `providers.toml` laid over it."""
    table = tomllib.loads(files(__package__).joinpath("providers.toml").read_text("utf-8"))
    for name, entry in _own(state_dir).items():
        table[name] = {**table.get(name, {}), **entry} if isinstance(entry, dict) else entry
    checked_on = str(table.pop("checked_on", ""))
    return {name: _provider(name, entry, checked_on) for name, entry in table.items()}


def _own(state_dir: Path | None) -> dict[str, Any]:
    if state_dir is None:
        return {}
    path = state_dir / PROVIDERS_FILE
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsInvalid(f"{path}: {exc}; correct it or remove it") from None


def _provider(name: str, entry: Any, checked_on: str) -> Provider:
    if not isinstance(entry, dict):
        raise SettingsInvalid(f"providers.toml: {name} must be a table")
    for key, value in entry.items():
        if key not in _FIELDS or not isinstance(value, _FIELDS[key]):
            raise SettingsInvalid(f"providers.toml: [{name}] {key} is unknown or has a wrong value")
    keep_alive = tuple(str(part) for part in entry.get("keep_alive", ()))
    return Provider(
        name=name,
        base_url=entry.get("base_url", "").rstrip("/"),
        model=entry.get("model", ""),
        auth=entry.get("auth", "bearer"),
        lists_models=entry.get("models", True),
        id_prefix=entry.get("id_prefix", ""),
        price=_price(name, entry["price"]) if "price" in entry else None,
        prices={str(model): _price(name, price) for model, price in entry.get("prices", {}).items()},
        checked_on=checked_on,
        flavour=Flavour(
            max_tokens_field=entry.get("max_tokens", "max_completion_tokens"),
            stream_usage=entry.get("usage", True),
            top_temperature=entry.get("temperature"),
            keep_alive=keep_alive,
        ),
    )


def _price(name: str, told: Any) -> tuple[float, float]:
    if not isinstance(told, list) or len(told) != 2 or not all(type(p) in (int, float) and 0 <= p < 1e6 for p in told):
        raise SettingsInvalid(f"providers.toml: [{name}] a price must be two numbers: US dollars for a million tokens")
    return float(told[0]), float(told[1])
