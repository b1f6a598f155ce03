"""Other local servers: which ones run on this laptop, and which of them the user has said yes to.

A program that happens to listen on a known port must not be sent prompts: what is found is named and offered, and
used only once confirmed. Looking sends no key and no prompt.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TierFailed, Unauthorized
from ..secrets import Secret, private_folder, read_private, write_private
from ..settings import is_loopback
from . import local_models
from .http import Client, Http, bearer, open_stream
from .local_queue import FRESH

FILE = "local_servers.json"
LOOK_WITHIN = 1.0

# Port, the path before `/models`, and who usually listens there.
KNOWN_PORTS: tuple[tuple[int, str, str], ...] = (
    (1234, "/v1", "LM Studio"),
    (8080, "/v1", "llama-server or LocalAI"),
    (12434, "/engines/v1", "Docker Model Runner"),
    (1337, "/v1", "Jan"),
    (5000, "/v1", "text-generation-webui"),
)


@dataclass(frozen=True, slots=True)
class FoundServer:
    """A server that lists models. `base_url` is what `confirm` takes."""

    base_url: str
    name: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What `/models` told: rows of models that chat here, and whether llama.cpp answered."""

    rows: tuple[dict[str, Any], ...]
    is_llama_cpp: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(row["id"]) for row in self.rows)

    def window(self, model: str) -> int | None:
        """Tokens of context of a model, by the servers' several names for it."""
        row = next((row for row in self.rows if row["id"] == model), {})
        meta = row.get("meta")
        told = (
            meta.get("n_ctx") if isinstance(meta, dict) else None,
            row.get("max_model_len"),
            row.get("loaded_context_length"),
            row.get("max_context_length"),
        )
        return next((size for size in told if isinstance(size, int) and size > 0), None)

    def is_blind(self, model: str) -> bool:
        """The server says that this model cannot look at pictures; most servers say nothing."""
        row = next((row for row in self.rows if row["id"] == model), {})
        architecture = row.get("architecture")
        takes = architecture.get("input_modalities") if isinstance(architecture, dict) else None
        return isinstance(takes, list) and "image" not in takes


async def find_servers(
    http: Http,
    own_port: int,
    ports: Sequence[tuple[int, str, str]] = KNOWN_PORTS,
    *,
    within: float = LOOK_WITHIN,
) -> tuple[FoundServer, ...]:
    """Look at the known ports of 127.0.0.1, all at once; our own port is left out."""
    client = http.client()
    try:
        looks = [_look(client, port, path, name, within) for port, path, name in ports if port != own_port]
        found = await asyncio.gather(*looks)
    finally:
        await client.aclose()
    return tuple(server for server in found if server is not None)


async def _look(client: Client, port: int, path: str, name: str, within: float) -> FoundServer | None:
    base_url = f"http://127.0.0.1:{port}{path}"
    try:
        async with asyncio.timeout(within):
            listing = await list_models(client, base_url)
    except (TierFailed, TimeoutError):
        return None
    if listing is None or not listing.rows or local_models.are_of_a_gateway(listing.names):
        return None
    return FoundServer(base_url, "llama-server" if listing.is_llama_cpp else name, listing.names)


async def list_models(client: Client, base_url: str, key: Secret | None = None) -> Listing | None:
    """`GET /models`; `None` when what answers is not a list of models. Raises when nothing or an error answers."""
    request = client.build_request("GET", f"{base_url}/models", headers={**FRESH, **bearer(key)})
    async with open_stream(client, request, tier="local", is_local=True) as reply:
        if reply.status in (401, 403):
            raise Unauthorized("local", f"the server wants a key ({reply.status})", cure="Set LOCAL_API_KEY.")
        if reply.status != 200:
            return None
        found = await reply.json()
        is_llama_cpp = reply.headers.get("server", "").startswith("llama.cpp")
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        return None
    kept = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]]
    answering = sorted((row for row in kept if _may_answer(row["id"])), key=_is_unloaded)
    return Listing(tuple(answering), is_llama_cpp)


def _is_unloaded(row: dict[str, Any]) -> bool:
    """A server of several models says which ones are in memory; those go first."""
    status = row.get("status")
    return isinstance(status, dict) and status.get("value") != "loaded"


def _may_answer(name: str) -> bool:
    model = local_models.InstalledModel(name)
    return model.can_chat and not model.is_cloud


# What the user said yes to


def confirm(state_dir: Path, base_url: str) -> None:
    """From now on prompts may be sent to this server of this laptop."""
    if not is_loopback(base_url):
        raise ValueError("only a server on this laptop can be confirmed; for another one set LOCAL_BASE_URL")
    _write(state_dir, [base_url.rstrip("/"), *(url for url in confirmed(state_dir) if url != base_url.rstrip("/"))])


def revoke(state_dir: Path, base_url: str) -> None:
    """Take the yes back."""
    _write(state_dir, [url for url in confirmed(state_dir) if url != base_url.rstrip("/")])


def confirmed(state_dir: Path) -> tuple[str, ...]:
    """The servers that the user said yes to, the latest first. A damaged file counts as a no."""
    content = read_private(state_dir / FILE)
    try:
        found = json.loads(content) if content else {}
    except ValueError:
        return ()
    urls = found.get("confirmed") if isinstance(found, dict) else None
    return tuple(url for url in urls if isinstance(url, str) and is_loopback(url)) if isinstance(urls, list) else ()


def _write(state_dir: Path, urls: Sequence[str]) -> None:
    private_folder(state_dir)
    write_private(state_dir / FILE, json.dumps({"confirmed": list(urls)}, indent=1).encode())
