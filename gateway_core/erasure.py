"""What the state folder holds of a user, and how it is taken away.

Every store that writes there has its row in `STORES`. Other names are never touched: a user may have named a folder
that holds files of their own. The companions of a store go with it: SQLite's own files, a copy set aside because it
was damaged, and what a killed process left half written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Store:
    """One name in the state folder. `is_content`: it holds what a user wrote or read, or a login."""

    name: str
    holds: str
    is_content: bool


STORES = (
    Store("conversations", "conversations of the chat page, with their uploads", True),
    Store("indexes.db", "indexes of documents: word stems and places, no text", True),
    Store("embeddings.db", "vectors of passages, if `RAG_EMBEDDINGS` is on", True),
    Store("requests.db", "how the last requests were decided: tiers, reasons and times, no prompt and no answer", True),
    Store("copilot.json", "the login saved by `ai-gateway login`", True),
    Store("circuits.db", "circuits: which tier is left alone, and until when", False),
    Store("budgets.db", "budgets: how many tokens each tier has used, and what they cost, day by day", False),
    Store("copilot_models.json", "lists of Copilot's models", False),
    Store("local_servers.json", "local servers that were confirmed", False),
    Store("access_token", "the access token that a container made at its first start", False),
    Store("salt", "a random number that makes accounts unreadable in the files above", False),
)
# The user's own: put there by hand, or long to fetch again. Never erased.
KEPT = ("models", "providers.toml")


@dataclass(frozen=True, slots=True)
class Holding:
    """One store as it was found on disk."""

    store: Store
    paths: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Erased:
    """`left` could not be removed: path and reason."""

    gone: tuple[Holding, ...]
    left: tuple[tuple[Path, str], ...]


def holdings(state_dir: Path, *, everything: bool = False) -> tuple[Holding, ...]:
    """What `erase` would remove, store by store; nothing for what is not there."""
    found = []
    for store in STORES:
        if store.is_content or everything:
            paths = tuple(_paths_of(state_dir, store.name))
            if paths:
                found.append(Holding(store, paths, sum(map(_size, paths))))
    return tuple(found)


def erase(state_dir: Path, *, everything: bool = False) -> Erased:
    """Remove conversations, indexes and logins; `everything`: circuits and what was learned, too.

    Links are removed, not followed. What a running gateway holds in memory stays there until it ends.
    """
    gone, left = [], list[tuple[Path, str]]()
    for holding in holdings(state_dir, everything=everything):
        before = len(left)
        for path in holding.paths:
            left += _remove(path)
        if len(left) == before:
            gone.append(holding)
    return Erased(tuple(gone), tuple(left))


def _paths_of(state_dir: Path, name: str) -> Iterable[Path]:
    """The store and its companions."""
    try:
        entries = sorted(state_dir.iterdir())
    except OSError:
        return []
    ours = {name, *(f"{name}-{part}" for part in ("wal", "shm", "journal"))}
    return [p for p in entries if p.name in ours or p.name.startswith((f"{name}.damaged-", f".{name}."))]


def _size(path: Path) -> int:
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())
        return path.lstat().st_size
    except OSError:
        return 0


def _remove(path: Path) -> list[tuple[Path, str]]:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as exc:
        return [(Path(exc.filename or path), exc.strerror or type(exc).__name__)]
    return []
