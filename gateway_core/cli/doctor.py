"""`ai-gateway doctor`: what is there, what is not, and the cure, for each thing that a request depends on."""

from __future__ import annotations

import asyncio
import os
import stat
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..clock import SystemClock
from ..erasure import KEPT, STORES
from ..errors import TierFailed
from ..settings import Settings, is_loopback
from ..standing import TierStatus
from ..tiers.copilot.tokens import TokenSources
from ..tiers.http import Http, open_stream
from .apart import gateway_of
from .exits import ANSWERED, NOT_ANSWERED
from .terminal import Terminal, in_one_line

LOOK_WITHIN = 5.0
SKEW_THAT_MATTERS = 60.0  # seconds by which the calendar may be wrong before dates of resets and certificates suffer
EXTRACTIVE = "extractive"  # needs nothing but documents
STATE_CURE = "set AI_GATEWAY_STATE_DIR to a folder of your own"
STATES = {"online": "online: there is a network; whether it leads out shows below"}
GOOD, BAD, PLAIN = "ok", "!!", "  "


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `cure` makes it a complaint."""

    what: str
    told: str
    cure: str = ""
    is_good: bool = True

    @property
    def lines(self) -> list[str]:
        mark = BAD if self.cure else GOOD if self.is_good else PLAIN
        lines = [f"{mark} {self.what}: {in_one_line(self.told)}"]
        return [*lines, f"   → {in_one_line(self.cure)}"] if self.cure else lines


def run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    return asyncio.run(_run(options, settings, terminal))


async def _run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    def show(title: str, findings: list[Finding]) -> None:
        terminal.write(f"{title}\n")
        for finding in findings:
            for line in finding.lines:
                terminal.write(f"  {line}\n")

    if settings.left_out:
        show("settings", [Finding(oddity.where, oddity.told, oddity.cure) for oddity in settings.left_out])
    show("files", await asyncio.to_thread(files_of, settings.ai_gateway_state_dir))
    show("tokens for Copilot", await tokens_of(settings))
    async with gateway_of(settings) as (gateway, http):
        status = await gateway.status()
        lit = {tier.backend for tier in status.tiers if tier.available}
        models = [tier for tier in status.tiers if tier.mode != EXTRACTIVE]
        show("tiers", [row for tier in models for row in of_tier(tier, is_needed=tier.backend not in lit)])
        state = STATES.get(status.connectivity, status.connectivity)
        show("network", [Finding("state", state, is_good=False), *await ways_of(status.tiers, settings, http)])
        is_served = any(tier.available for tier in models)
    if options.live:
        from .live import live

        return await live(settings, terminal)
    return ANSWERED if is_served else NOT_ANSWERED


# Files


def files_of(state_dir: Path) -> list[Finding]:
    if state_dir.exists() and not state_dir.is_dir():
        return [Finding("state folder", f"{state_dir} is a file, not a folder", STATE_CURE)]
    if not state_dir.is_dir():
        return [Finding("state folder", f"{state_dir} is not there yet; it is made at the first need", is_good=False)]
    found = [_rights_of("state folder", state_dir, f"chmod 700 {state_dir}")]
    if not os.access(state_dir, os.W_OK | os.X_OK):
        found = [Finding("state folder", f"{state_dir} cannot be written to", f"make it writable, or {STATE_CURE}")]
    known = {store.name for store in STORES} | set(KEPT)
    for path in sorted(state_dir.iterdir()):
        if path.name in known and path.name not in KEPT:
            found.append(_rights_of(path.name, path, f"chmod go= {path}"))
    return found


def _rights_of(what: str, path: Path, cure: str) -> Finding:
    if os.name != "posix":
        return Finding(what, str(path))
    status = path.lstat()
    if status.st_uid != os.geteuid():
        return Finding(what, f"{path} belongs to another user", "set AI_GATEWAY_STATE_DIR to a folder of your own")
    is_open = bool(stat.S_IMODE(status.st_mode) & 0o077)
    told = f"{path} ({stat.filemode(status.st_mode)})" + (", others may read it" if is_open else "")
    return Finding(what, told, cure if is_open else "")


# Tokens


async def tokens_of(settings: Settings) -> list[Finding]:
    """Each source in the order of use. The first whole one is used; a token is shown by its kind and its end."""
    found, used = list[Finding](), False
    for name, token, fault in await TokenSources(settings, SystemClock()).survey():
        if token is None:
            found.append(Finding(name, "none", is_good=False))
        elif fault:
            found.append(Finding(name, f"{token.secret.hint} cannot be used: {fault}", is_good=False))
        else:
            where = f" from {token.source}" if token.source not in (name, "gh") else ""
            found.append(Finding(name, f"{token.secret.hint}{where}{' (used)' if not used else ''}", is_good=not used))
            used = True
    return found


# Tiers


def of_tier(tier: TierStatus, *, is_needed: bool = True) -> list[Finding]:
    """`is_needed`: nobody else answers for this backend, so what is missing is worth a complaint."""
    name = tier.backend if tier.mode == tier.backend else f"{tier.backend} {tier.mode}"
    info = tier.info
    places = [part for part in (info.model, info.endpoint) if part]
    if tier.available:
        found = [Finding(name, f"ready {' '.join(places)}")]
    else:
        where = f" ({', '.join(places)})" if places else ""
        found = [Finding(name, f"{tier.why_not}{where}", tier.cure if is_needed else "", is_good=False)]
    if info.models:
        found.append(Finding(f"{name} models", ", ".join(info.models), is_good=False))
    if details := _shown(info.details):
        found.append(Finding(f"{name} details", details, is_good=False))
    return found + [Finding(name, note, is_good=False) for note in info.notes]


def _shown(details: Mapping[str, Any]) -> str:
    told = {key: value for key, value in details.items() if value and key not in ("source", "token")}
    return ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in told.items())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_plain(part)}" if key != "model" else str(part) for key, part in value.items())
    return "; ".join(_plain(part) for part in value) if isinstance(value, list | tuple) else str(value)


# The way there, and the clock


async def ways_of(tiers: tuple[TierStatus, ...], settings: Settings, http: Http) -> list[Finding]:
    """Whether each distant host answers, by which proxy, and what time it is there. No token is sent."""
    hosts = [tier.info.endpoint for tier in tiers if tier.info.endpoint]
    if not settings.copilot_api_base:
        hosts.insert(0, settings.copilot_github_api)
    if settings.local_only:
        hosts = [host for host in hosts if is_loopback(host)]
    client = http.client()
    found = []
    for url in dict.fromkeys(hosts):
        note = http.proxy_note(url)
        through = f", {note}" if note else ""
        try:
            request = client.build_request("GET", url)
            async with asyncio.timeout(LOOK_WITHIN), open_stream(client, request, tier=url, is_local=True) as reply:
                found.append(Finding(url, f"answers{through}"))
                found += _skew(url, reply.headers.get("date"), http.clock.wall())
        except TierFailed as failure:
            told = failure.detail.removeprefix(f"{urlsplit(url).netloc}: ")
            cure = "" if is_loopback(url) else failure.cure
            found.append(Finding(url, f"{told}{through}", cure or _mend(url)))
        except TimeoutError:
            found.append(Finding(url, f"no answer within {LOOK_WITHIN:g} s{through}", _mend(url)))
    return found


def _mend(url: str) -> str:
    return "start what should listen there" if is_loopback(url) else "check the network"


def _skew(url: str, date: str | None, wall: float) -> list[Finding]:
    try:
        skew = wall - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return []
    if abs(skew) < SKEW_THAT_MATTERS:
        return []
    told = f"this laptop is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {url}"
    return [Finding("clock", told, "let the system set the time by itself")]
