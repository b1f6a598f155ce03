"""`ai-gateway doctor --live`: one tiny question on each path that could answer, and a transcript without secrets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from ..errors import AllTiersFailed, AnswerInterrupted, PromptRefused
from ..gateway import Gateway
from ..secrets import redact
from ..settings import Settings
from ..standing import Status
from ..tiers.copilot.models import CHAT, RESPONSES, Endpoints
from .apart import gateway_of
from .exits import ANSWERED, NOT_ANSWERED
from .terminal import Terminal, in_one_line

QUESTION = "Reply with the single word: pong"
MOST_TOKENS = 64  # some models think before their one word
LONGEST_VALUE = 120
# Shown with their values; of all others only the name is shown.
PLAIN_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "content-type", "copilot-integration-id", "date", "editor-version",
        "editor-plugin-version", "openai-intent", "retry-after", "server", "transfer-encoding", "user-agent",
        "x-github-api-version", "x-github-request-id", "x-initiator", "x-quota-snapshot-premium_interactions",
        "x-ratelimit-exceeded", "x-request-id",
    }
)  # fmt: skip


@dataclass
class Transcript:
    """What went over the wire: lines, addresses and plain headers; no token, no body."""

    lines: list[str] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)

    async def asked(self, request: httpx.Request) -> None:
        self._note(f"> {request.method} {request.url.copy_with(query=None)}", request.headers)

    async def answered(self, response: httpx.Response) -> None:
        took = time.monotonic() - self._begun
        self._note(f"< {response.status_code} after {took:.2f} s", response.headers)

    def _note(self, line: str, headers: httpx.Headers) -> None:
        self.lines.append(redact(line))
        hidden = [name for name in headers if name not in PLAIN_HEADERS]
        for name in headers:
            if name in PLAIN_HEADERS:
                self.lines.append(f"{line[0]}   {name}: {redact(headers[name])[:LONGEST_VALUE]}")
        if hidden:
            self.lines.append(f"{line[0]}   not shown: {', '.join(sorted(hidden))}")


async def live(settings: Settings, terminal: Terminal) -> int:
    """Ask, path by path. Exit code 0 when all that are set up have answered."""
    async with gateway_of(settings) as (gateway, _):
        paths = list(_paths(await gateway.status()))
    if not paths:
        terminal.write("live: nothing is set up that could be asked\n")
        return NOT_ANSWERED
    answered = [await _ask(settings, terminal, *path) for path in paths]
    terminal.write(f"live: {sum(answered)} of {len(paths)} paths answered\n")
    return ANSWERED if all(answered) else NOT_ANSWERED


def _paths(status: Status) -> Iterator[tuple[str, str | None, str]]:
    """Backend, model and name of each path. Copilot has two, each served by models of its own."""
    asked = set()
    for tier in status.tiers:
        if not tier.available or tier.mode == "extractive" or tier.backend in asked:
            continue
        asked.add(tier.backend)
        by_path = {Endpoints().of(model, None): model for model in reversed(tier.info.models)}
        if tier.backend != "copilot" or not by_path:
            yield tier.backend, None, tier.mode
            continue
        for path in (RESPONSES, CHAT):
            if path in by_path:
                yield tier.backend, by_path[path], f"copilot {path}"


async def _ask(settings: Settings, terminal: Terminal, backend: str, model: str | None, name: str) -> bool:
    transcript = Transcript()
    terminal.write(f"live: {name}{f', {model}' if model else ''}\n")
    async with gateway_of(settings, transcript) as (gateway, _):
        said, has_answered = await _said(gateway, backend, model)
    for line in (*transcript.lines, said):
        terminal.write(f"  {in_one_line(line) if line is said else line}\n")
    return has_answered


async def _said(gateway: Gateway, backend: str, model: str | None) -> tuple[str, bool]:
    try:
        answer = await gateway.ask(QUESTION, tier=backend, model=model, max_tokens=MOST_TOKENS)
    except (AllTiersFailed, AnswerInterrupted, PromptRefused) as failure:
        return f"= {redact(str(failure))}", False
    usage = answer.usage
    cost = f", {usage.credits:g} credits" if usage.credits is not None else ""
    return (
        f"= {answer.text[:80]!r} by {answer.model or answer.mode} in {answer.total_ms:.0f} ms"
        f" ({usage.input_tokens} tokens in, {usage.output_tokens} out{cost}; {answer.finish_reason})",
        True,
    )
