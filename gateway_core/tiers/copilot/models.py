"""Which models the seat has, and at which path each is served.

About once a month some are retired, so no name is trusted for long: `GET /models` is read (it is free), kept an hour,
also on disk, and used a little stale rather than waited for. Which path serves a model is decided by what was learned
from answers, else by what its row advertises, else by its family.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...clock import Clock
from ...secrets import read_private, write_private

CHAT, RESPONSES = "/chat/completions", "/responses"
PREFERRED = ("gpt-6-luna", "claude-haiku-5.5", "gemini-3.8-flash")
FRESH = 3600.0
FILE = "copilot_models.json"
MOST_ACCOUNTS = 8
_RESPONSES_FAMILY = re.compile(r"^(gpt-[5-9]|mai-)|codex")


@dataclass(frozen=True, slots=True)
class Model:
    id: str
    endpoints: tuple[str, ...] = ()
    is_default: bool = False
    in_picker: bool = True
    prompt_tokens: int | None = None
    efforts: tuple[str, ...] | None = None


def models_in(found: Any) -> tuple[Model, ...]:
    """The models of a `GET /models` reply that this seat may chat with."""
    rows = found.get("data") if isinstance(found, dict) else found
    return tuple(model for row in rows if (model := _model(row))) if isinstance(rows, list) else ()


def _model(row: Any) -> Model | None:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        return None
    can = _dict(row.get("capabilities"))
    policy = _dict(row.get("policy"))
    if can.get("type", "chat") != "chat" or policy.get("state", "enabled") != "enabled":
        return None
    endpoints, efforts = row.get("supported_endpoints"), _dict(can.get("supports")).get("reasoning_effort")
    tokens = _dict(can.get("limits")).get("max_prompt_tokens")
    return Model(
        id=row["id"],
        endpoints=tuple(str(e) for e in endpoints) if isinstance(endpoints, list) else (),
        is_default=row.get("is_chat_default") is True,
        in_picker=row.get("model_picker_enabled") is not False,
        prompt_tokens=tokens if isinstance(tokens, int) and tokens > 0 else None,
        efforts=tuple(str(e) for e in efforts) if isinstance(efforts, list) else None,
    )


def _dict(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def choose(models: Sequence[Model]) -> Model | None:
    """The account's default, else one we know to be light, else the first."""
    by_id = {model.id: model for model in models}
    default = next((model for model in models if model.is_default), None)
    known = next((by_id[name] for name in PREFERRED if name in by_id), None)
    return default or known or next((m for m in models if m.in_picker), None) or next(iter(models), None)


class Endpoints:
    """The path for a model. What a refusal taught wins over what is advertised."""

    def __init__(self) -> None:
        self._learned: dict[str, str] = {}
        self._refused: set[tuple[str, str]] = set()

    def of(self, name: str, model: Model | None) -> str:
        if name in self._learned:
            return self._learned[name]
        advertised = [path for path in (RESPONSES, CHAT) if model and path in model.endpoints]
        by_family = RESPONSES if _RESPONSES_FAMILY.search(name) else CHAT
        return by_family if by_family in advertised or not advertised else advertised[0]

    def refused(self, name: str, path: str) -> bool:
        """Remember the other path; False when that one was refused, too."""
        other = CHAT if path == RESPONSES else RESPONSES
        self._refused.add((name, path))
        if (name, other) in self._refused:
            self._refused -= {(name, path), (name, other)}
            return False
        self._learned[name] = other
        return True

    def worked(self, name: str, path: str) -> None:
        self._learned[name] = path
        self._refused.discard((name, path))


@dataclass(frozen=True, slots=True)
class Shelf:
    """The list as it was read, and when, by the calendar."""

    models: tuple[Model, ...]
    at: float

    def is_fresh(self, wall: float) -> bool:
        return 0 <= wall - self.at < FRESH


class ModelFile:
    """Lists of models on disk, one an account, for the next start."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._path = state_dir / FILE
        self._clock = clock

    async def load(self, account: str) -> Shelf | None:
        return await asyncio.to_thread(self._load, account)

    async def save(self, account: str, rows: Any) -> None:
        await asyncio.to_thread(self._save, account, rows)

    def _load(self, account: str) -> Shelf | None:
        entry = self._entries().get(account)
        if not isinstance(entry, dict) or not isinstance(entry.get("at"), int | float):
            return None
        models = models_in(entry.get("rows"))
        return Shelf(models, float(entry["at"])) if models else None

    def _save(self, account: str, rows: Any) -> None:
        entries = self._entries()
        entries.pop(account, None)
        kept = list(entries.items())[-(MOST_ACCOUNTS - 1) :]
        entries = {**dict(kept), account: {"at": self._clock.wall(), "rows": rows}}
        try:
            write_private(self._path, json.dumps(entries).encode())
        except OSError:
            return  # a full disk costs the next start a look-up, nothing more

    def _entries(self) -> dict[str, Any]:
        raw = read_private(self._path)
        try:
            found = json.loads(raw) if raw else {}
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
