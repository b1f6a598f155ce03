"""Which installed model answers, how large a window it gets, and what to install when there is none.

Pure, apart from reading how much memory there is. The catalogue beside this file is data with a date: model names
change every few months, so what is installed goes before what is listed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ..types import Reason

GB = 1024**3
SHARE_OF_MEMORY = 0.55  # of what is free: the window and the answer need room too

_NOT_FOR_CHAT = re.compile(
    r"embed|rerank|whisper|minilm|\bbge\b|^bge-|clip|\btts\b|guard|ocr|diffusion|moderation", re.IGNORECASE
)
_SPECIALIST = re.compile(
    r"cod(e|er|ing)\b|coder|math|sql|medgemma|translat|llava|moondream|-base\b|-text\b", re.IGNORECASE
)
_FOR_EMBEDDING = re.compile(r"embed|minilm|\bbge\b|^bge-", re.IGNORECASE)
_EMBEDDING_FAMILIES = frozenset({"bert", "nomic-bert", "nomic-bert-moe", "clip"})


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that a local server offers. `is_remote`: the server says that it runs elsewhere."""

    name: str
    size: int = 0
    family: str = ""
    capabilities: tuple[str, ...] = ()
    digest: str = ""
    is_remote: bool = False

    @classmethod
    def from_tag(cls, entry: Mapping[str, Any]) -> InstalledModel | None:
        """An entry of `/api/tags`; `None` if it has no name."""
        name = entry.get("name") or entry.get("model")
        if not isinstance(name, str) or not name:
            return None
        details = entry.get("details")
        size = entry.get("size")
        return cls(
            name,
            size if isinstance(size, int) else 0,
            str(details.get("family") or "") if isinstance(details, Mapping) else "",
            tuple(map(str, entry.get("capabilities") or ())),
            str(entry.get("digest") or ""),
            bool(entry.get("remote_host") or entry.get("remote_model")),
        )

    @property
    def is_cloud(self) -> bool:
        """It only looks local and would send prompts away."""
        return self.is_remote or named_like_cloud(self.name)

    @property
    def can_chat(self) -> bool:
        if self.capabilities:
            return "completion" in self.capabilities
        return self.family not in _EMBEDDING_FAMILIES and not _NOT_FOR_CHAT.search(self.name)

    @property
    def can_embed(self) -> bool:
        if self.capabilities:
            return "embedding" in self.capabilities
        return self.family in _EMBEDDING_FAMILIES - {"clip"} or bool(_FOR_EMBEDDING.search(self.name))


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers, or why there is none. `notes` say what the user did not expect."""

    model: InstalledModel | None
    notes: tuple[str, ...] = ()
    reason: Reason | None = None
    detail: str = ""
    cure: str = ""


def named_like_cloud(name: str) -> bool:
    """`x:cloud` and `x:120b-cloud` run on somebody else's computer."""
    return name.lower().endswith((":cloud", "-cloud"))


def are_of_a_gateway(names: Iterable[str]) -> bool:
    """A gateway such as this one lists its tiers as models: asking it would lead round in a circle."""
    return {"auto", "copilot", "cloud", "local"} <= {name.partition(":")[0] for name in names}


def choose(
    installed: Sequence[InstalledModel],
    *,
    wanted: str | None = None,
    configured: str | None = None,
    unfit: Collection[str] = (),
    free_memory: int | None = None,
    total_memory: int | None = None,
) -> Choice:
    """`wanted` by this request, else `configured`, else the best installed; never one that leaves the laptop.

    `unfit` have just shown that they cannot run here.
    """
    notes: list[str] = []
    for name in filter(None, (wanted, configured)):
        model = _named(installed, name)
        if named_like_cloud(name) or (model and model.is_cloud):
            return refused_as_cloud(name)
        if model and model.name not in unfit:
            return Choice(model, tuple(f"{note}; {model.name} answers instead" for note in notes))
        notes.append(f"{name} cannot run here" if model else f"{name} is not installed")
    usable = [m for m in installed if m.can_chat and not m.is_cloud and m.name not in unfit]
    if not usable:
        return _none_left(installed, configured or wanted, total_memory)
    best = max(usable, key=lambda model: _rank(model, free_memory))
    return Choice(best, tuple(f"{note}; {best.name} answers instead" for note in notes))


def embedding_model(installed: Sequence[InstalledModel], wanted: str | None = None) -> str | None:
    """`wanted` if it is installed here, else the smallest that is made for embeddings; never one that leaves."""
    able = [m for m in installed if m.can_embed and not m.is_cloud]
    if wanted is not None:
        named = _named(able, wanted)
        return named.name if named else None
    return min(able, key=lambda model: (model.size, model.name)).name if able else None


def refused_as_cloud(name: str) -> Choice:
    return Choice(
        None,
        reason=Reason.CLOUD_MODEL,
        detail=f"{name} is a cloud model: it would send the prompt away from this laptop",
        cure="Choose a model that is installed here.",
    )


def smaller(installed: Sequence[InstalledModel], than: str, unfit: Collection[str]) -> bool:
    """Is there another local model that needs clearly less memory?"""
    model = _named(installed, than)
    limit = 0.9 * model.size if model else 0
    return any(m.can_chat and not m.is_cloud and m.name not in unfit and m.size < limit for m in installed)


def advised_model(total_memory: int | None) -> tuple[str, float]:
    """The name of a model for a laptop with so much memory, and the size of its download in GB."""
    memory = total_memory / GB if total_memory else 8.0
    for row in catalogue()["advice"]:
        # Laptops report a little less than is printed on them.
        if row["up_to_gb"] is None or memory <= row["up_to_gb"]:
            return row["model"], row["download_gb"]
    raise LookupError("the catalogue's last row of advice must be open")


def window(context_length: int | None, total_memory: int | None) -> int:
    """Tokens of context for a model: always the same, for another number makes Ollama load the model anew."""
    size = 8192 if total_memory is None or total_memory <= 17 * GB else 16384
    return min(size, context_length) if context_length else size


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(files(__package__).joinpath("local_catalogue.json").read_text("utf-8"))
    return found


def _named(installed: Sequence[InstalledModel], name: str) -> InstalledModel | None:
    spelt = {name.lower(), f"{name.lower()}:latest"}
    return next((m for m in installed if m.name.lower() in spelt), None)


def _rank(model: InstalledModel, free_memory: int | None) -> tuple[bool, float, bool, int, int]:
    fits = free_memory is None or model.size <= SHARE_OF_MEMORY * free_memory
    if not fits:
        return False, -model.size, False, 0, 0
    return True, 0, not _SPECIALIST.search(model.name), _since(model.name), model.size


def _since(name: str) -> int:
    base = name.rpartition("/")[2].lower()
    known = catalogue()["families"]
    family = max((f for f in known if base.startswith(f)), key=len, default=None)
    return int(known[family] if family else catalogue()["unknown_since"])


def _none_left(installed: Sequence[InstalledModel], named: str | None, total_memory: int | None) -> Choice:
    advised, gigabytes = advised_model(total_memory)
    pull = f"ollama pull {named}" if named else f"ollama pull {advised}  ({gigabytes} GB)"
    if any(m.is_cloud for m in installed) and all(m.is_cloud for m in installed if m.can_chat):
        return Choice(
            None,
            reason=Reason.CLOUD_MODEL,
            detail="only cloud models are set up; they would send the prompt away from this laptop",
            cure=pull,
        )
    told = f"the model {named} is not installed" if named else "no model is installed that can chat"
    if any(m.can_chat and not m.is_cloud for m in installed):
        told = "none of the installed models can run here"
        pull = f"ollama pull {advised}  ({gigabytes} GB)"
    return Choice(None, reason=Reason.MODEL_MISSING, detail=told, cure=pull)


# Memory


def total_memory() -> int | None:
    """Bytes of memory of this laptop; `None` where the system does not say."""
    return _memory()[0]


def free_memory() -> int | None:
    """Bytes that a program could have now without pushing others out."""
    return _memory()[1]


def _memory() -> tuple[int | None, int | None]:
    if sys.platform == "linux":
        try:
            with open("/proc/meminfo", encoding="ascii") as table:
                rows = dict(line.split(":", 1) for line in table if ":" in line)
        except OSError:
            return None, None
        total, free = (_kilobytes(rows.get(name)) for name in ("MemTotal", "MemAvailable"))
        return total, free
    if sys.platform == "win32":
        return _windows_memory()
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None, None
    # macOS compresses and gives back: half of it can usually be had.
    return total, total // 2


def _kilobytes(row: str | None) -> int | None:
    return int(row.split()[0]) * 1024 if row else None


def _windows_memory() -> tuple[int | None, int | None]:
    if sys.platform != "win32":
        return None, None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("free", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 5),
        )

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.total, status.free
