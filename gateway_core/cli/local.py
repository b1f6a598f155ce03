"""`ai-gateway local`: what could answer on this laptop, and which found server the user says yes to."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Sequence

from .. import __version__
from ..clock import SystemClock
from ..errors import TierFailed, Unauthorized
from ..local_engine.model_file import models_in
from ..settings import Settings, is_loopback
from ..tiers import local_models, local_servers
from ..tiers.http import Http
from ..tiers.local import MODELS
from ..tiers.ollama import OllamaTier
from .arguments import PROGRAM
from .exits import ANSWERED, NOT_ANSWERED, USAGE
from .terminal import Terminal, in_one_line

LOOK_WITHIN = 3.0
MOST_NAMED = 5
Port = tuple[int, str, str]


def run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    if options.action in ("install", "remove"):
        from . import local_install

        return local_install.run(options, settings, terminal)
    if options.action == "forget":
        return _forget(options.url, settings, terminal)
    return asyncio.run(_list(settings, terminal) if options.action == "list" else _use(options.url, settings, terminal))


async def _list(settings: Settings, terminal: Terminal) -> int:
    for line in await lines_of(settings):
        terminal.write(f"{line}\n")
    return ANSWERED


async def lines_of(settings: Settings, ports: Sequence[Port] = local_servers.KNOWN_PORTS) -> list[str]:
    """Ollama and its models, the servers found at these ports, the model files, and what suits this laptop."""
    http = Http(SystemClock(), user_agent=f"ai-gateway/{__version__}")
    try:
        servers = await local_servers.find_servers(http, settings.ai_gateway_port, ports)
        lines = await _ollama_lines(settings, http)
    finally:
        await http.aclose()
    lines += _server_lines(settings, servers)
    folder = settings.ai_gateway_state_dir / MODELS
    files = models_in(folder)
    lines.append(f"model files in {folder}" if files else f"no model file (.gguf) in {folder}")
    lines += [] if files else [f"  to fetch a small one: {PROGRAM} local install"]
    lines += [f"  {path.name}, {path.stat().st_size / 1e9:.1f} GB" for path in files]
    return [*lines, _advice()]


def _server_lines(settings: Settings, servers: Sequence[local_servers.FoundServer]) -> list[str]:
    chosen = local_servers.confirmed(settings.ai_gateway_state_dir)
    lines = ["other servers on this laptop" if servers or chosen else "no other server answers on this laptop"]
    if settings.local_base_url:
        lines.append(f"  LOCAL_BASE_URL is set to {settings.local_base_url}: it is used, and no found one beside it")
    for server in servers:
        models = ", ".join(server.models[:MOST_NAMED]) + (", ..." if len(server.models) > MOST_NAMED else "")
        lines.append(f"  {server.base_url}  {server.name}, with {in_one_line(models)}")
        if server.base_url not in chosen:
            lines.append(f"    not used → {PROGRAM} local use {server.base_url}")
    for url in chosen:
        if url not in {server.base_url for server in servers}:
            lines.append(f"  {url}  you said yes to it, but it does not answer")
            lines.append(f"    → start it, or {PROGRAM} local forget {url}")
        else:
            lines.append(f"  {url}  is used; to take that back: {PROGRAM} local forget {url}")
    return lines


async def _ollama_lines(settings: Settings, http: Http) -> list[str]:
    info = await OllamaTier(http, SystemClock(), base_url=settings.ollama_base_url).info()
    version = info.details.get("version")
    if version is None:
        return [*info.notes, *([f"  → {info.cure}"] if info.cure else [])]
    lines = [f"Ollama {version} at {info.endpoint}" + ("" if info.models else ", no model that can chat")]
    lines += [f"  {name}{', the one that answers' if name == info.model else ''}" for name in info.models]
    return lines + [f"  {note}" for note in info.notes]


def _advice() -> str:
    memory = local_models.total_memory()
    model, gigabytes = local_models.advised_model(memory)
    having = f"with {memory / local_models.GB:.0f} GB of memory" if memory else "where the memory is not known"
    return f"advice {having}: ollama pull {model}  ({gigabytes} GB)"


async def _use(url: str, settings: Settings, terminal: Terminal) -> int:
    if not is_loopback(url):
        terminal.tell(f"{PROGRAM}: only a server on this laptop can be confirmed; for another one set LOCAL_BASE_URL")
        return USAGE
    http = Http(SystemClock(), user_agent=f"ai-gateway/{__version__}")
    try:
        async with asyncio.timeout(LOOK_WITHIN):
            listing = await local_servers.list_models(http.client(), url.rstrip("/"))
    except Unauthorized:
        terminal.tell(f"{PROGRAM}: {url} wants a key; set LOCAL_BASE_URL and LOCAL_API_KEY instead")
        return NOT_ANSWERED
    except TierFailed as failure:
        terminal.tell(f"{PROGRAM}: {url}: {failure.detail}; start the server, then say it again")
        return NOT_ANSWERED
    except TimeoutError:
        terminal.tell(f"{PROGRAM}: {url} does not answer; start the server, then say it again")
        return NOT_ANSWERED
    finally:
        await http.aclose()
    if listing is None or local_models.are_of_a_gateway(listing.names):
        told = "is a gateway such as this one" if listing else "lists no models; most such addresses end in /v1"
        terminal.tell(f"{PROGRAM}: {url} {told}")
        return NOT_ANSWERED
    local_servers.confirm(settings.ai_gateway_state_dir, url)
    models = ", ".join(listing.names[:MOST_NAMED]) or "no model yet"
    terminal.write(f"{url.rstrip('/')} is used from now on ({models})\n")
    return ANSWERED


def _forget(url: str, settings: Settings, terminal: Terminal) -> int:
    state_dir = settings.ai_gateway_state_dir
    if url.rstrip("/") not in local_servers.confirmed(state_dir):
        terminal.write(f"{url} was not in use\n")
        return ANSWERED
    local_servers.revoke(state_dir, url)
    terminal.write(f"{url} is no longer used\n")
    return ANSWERED
