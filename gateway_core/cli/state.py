"""`ai-gateway status` and `reset`: of the running gateway that `AI_GATEWAY_URL` names, else of the shared store."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from ..blocking import BlockingGateway
from ..settings import Settings
from .arguments import PROGRAM
from .exits import ANSWERED, NOT_ANSWERED
from .telling import as_json, duration
from .terminal import Terminal, in_one_line


def status(options: Namespace, gateway: BlockingGateway, settings: Settings, terminal: Terminal) -> int:
    if settings.ai_gateway_url is None:
        told = gateway.status().as_dict()
    else:
        from .remote import GatewayUnreachable, call

        try:
            told = call(settings, "GET", "/status")
        except GatewayUnreachable as exc:
            terminal.tell(f"{PROGRAM}: {exc}")
            return NOT_ANSWERED
    if options.json:
        terminal.write_exactly(as_json(told))
    else:
        for line in status_lines(told):
            terminal.write(line + "\n")
    return ANSWERED


def reset(options: Namespace, gateway: BlockingGateway, settings: Settings, terminal: Terminal) -> int:
    if settings.ai_gateway_url is None:
        gateway.reset()
        for note in gateway.status().notes:
            terminal.tell(in_one_line(note))
        if settings.ai_gateway_store == "memory":
            terminal.tell(
                "AI_GATEWAY_STORE=memory: a running gateway keeps circuits of its own; set AI_GATEWAY_URL to reset it"
            )
    else:
        from .remote import GatewayUnreachable, call

        try:
            call(settings, "POST", "/admin/reset")
        except GatewayUnreachable as exc:
            terminal.tell(f"{PROGRAM}: {exc}")
            return NOT_ANSWERED
    terminal.write("every circuit is closed\n")
    return ANSWERED


def status_lines(told: Mapping[str, Any]) -> list[str]:
    """The reply of `GET /status`, for people. A line per tier, its cure below it, then the rest."""
    tiers = told.get("tiers") or []
    lines = tier_lines(tiers) or ["no tier is set up"]
    lines.append(
        f"network {told.get('connectivity', 'unknown')}; circuits in {told.get('store', 'unknown')};"
        f" version {told.get('version', 'unknown')}"
    )
    return lines + [in_one_line(str(note)) for note in told.get("notes") or []]


def tier_lines(tiers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per tier, its cure and its notes below it."""
    backends = [tier.get("backend") for tier in tiers]
    names = [
        f"{tier['backend']} {tier['mode']}" if backends.count(tier.get("backend")) > 1 else str(tier.get("backend"))
        for tier in tiers
    ]
    width = max(map(len, names), default=0)
    lines = []
    for name, tier in zip(names, tiers, strict=True):
        lines.append(f"{name:<{width}}  {_tier(tier)}")
        if tier.get("cure") and not tier.get("available"):
            lines.append(f"{'':<{width}}  → {in_one_line(str(tier['cure']))}")
        notes = [note for note in tier.get("notes") or [] if note != tier.get("why_not")]
        lines += [f"{'':<{width}}  {in_one_line(str(note))}" for note in notes]
    return lines


def _tier(tier: Mapping[str, Any]) -> str:
    place = "  ".join(str(tier[key]) for key in ("model", "endpoint") if tier.get(key))
    if tier.get("available"):
        return f"ready  {place}".rstrip()
    circuit = tier.get("circuit") or {}
    why = in_one_line(str(tier.get("why_not") or "left out"))
    reopens = circuit.get("reopens_in")
    return f"not asked: {why}" + (f" (again in {duration(reopens)})" if reopens else "")
