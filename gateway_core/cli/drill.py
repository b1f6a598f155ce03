"""`ai-gateway drill`: see a failover before it is needed. The fault is made up; the answers are real.

As with `ask`, the answer goes to standard output and everything about it to standard error.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from ..blocking import BlockingGateway
from ..drill import Drill
from ..errors import AllTiersFailed, AnswerInterrupted, PromptRefused
from ..routing.turnstile import LEFT_ALONE
from ..settings import Settings
from ..types import Answer, AttemptOutcome, OnInterrupt
from .arguments import DRILL_FAULTS
from .ask import Showing, exit_code
from .exits import ANSWERED, NOT_ANSWERED
from .reading import prompt_from
from .state import tier_lines
from .telling import byline
from .terminal import Terminal

QUESTION = "Why is the sky blue? Answer in three sentences."

Tiers = Sequence[Mapping[str, Any]]


def run(options: Namespace, gateway: BlockingGateway, settings: Settings, terminal: Terminal) -> int:
    # What quotes documents has none to quote here.
    tiers = [tier for tier in gateway.status().as_dict()["tiers"] if tier["mode"] != "extractive"]
    for tier in tiers:  # a drill has circuits of its own: what the real ones remember does not stand in its way
        tier["available"] = tier["available"] or str(tier["why_not"]).startswith(LEFT_ALONE)
    lit = [tier["backend"] for tier in tiers if tier["available"]]
    broken = options.tier or next(iter(lit), None)
    if broken not in lit:
        who = f"{broken} is not lit" if broken and lit else "no tier is lit"
        missing = [tier for tier in tiers if not lit or tier["backend"] == broken]
        terminal.tell(f"DRILL  it needs a tier that can answer, and {who}", *tier_lines(missing))
        return NOT_ANSWERED
    assert broken is not None
    faults = DRILL_FAULTS if options.fault == "all" else (options.fault,)
    try:
        prompt = QUESTION if options.prompt is None else prompt_from(options.prompt, terminal.stdin, is_taken=False)
    except PromptRefused as refused:
        Showing(terminal, is_streamed=True, is_text=True).failed(refused)
        return exit_code(refused)
    codes = []
    for number, fault in enumerate(faults, start=1):
        drill = Drill(broken, fault, begins_there=True)
        count = f" {number} of {len(faults)}" if len(faults) > 1 else ""
        wait = settings.local_first_token_timeout if broken == "local" else settings.first_token_timeout
        patience = f" (given up within {wait:g} s)" if fault == "slow" else ""
        terminal.tell(f"DRILL{count}  {drill.words}{patience}")
        code = _asked(drill, prompt, gateway, settings, terminal, tiers)
        if code not in (ANSWERED, NOT_ANSWERED):  # a refused prompt is refused each time, Ctrl-C means all of them
            return code
        codes.append(code)
    return max(codes)


def _asked(
    drill: Drill, prompt: str, gateway: BlockingGateway, settings: Settings, terminal: Terminal, tiers: Tiers
) -> int:
    showing = Showing(terminal, is_streamed=True, is_text=True)
    try:
        answer = showing.of(gateway.drill(drill, prompt))
    except (PromptRefused, KeyboardInterrupt) as error:
        showing.failed(error)
        return exit_code(error)
    except (AllTiersFailed, AnswerInterrupted) as error:
        showing.failed(error)
        stays_cut = isinstance(error, AnswerInterrupted) and settings.on_interrupt is OnInterrupt.STOP
        terminal.tell(*_not_survived(drill, tiers, stays_cut=stays_cut))
        return exit_code(error)
    terminal.end_line()
    terminal.tell(byline(answer), _survived(drill, answer))
    return ANSWERED


def _survived(drill: Drill, answer: Answer) -> str:
    broke = (AttemptOutcome.FAILED, AttemptOutcome.INTERRUPTED)
    if any(attempt.outcome in broke for attempt in answer.attempts):
        went_on = len(answer.segments) > 1
        return f"survived: {drill.words}, {answer.backend} {'went on' if went_on else 'answered in its place'}"
    if drill.fault == "offline":
        return f"survived: {drill.words}, and {answer.backend} needs none"
    return f"not broken: {answer.backend} ended its answer before it could be"


def _not_survived(drill: Drill, tiers: Tiers, *, stays_cut: bool) -> list[str]:
    """The closing line, and what would let the next one end better."""
    told = f"not survived: {drill.words}"
    if stays_cut:
        return [f"{told}, and ON_INTERRUPT=stop lets nobody go on"]
    first = next(n for n, tier in enumerate(tiers) if tier["backend"] == drill.tier)
    if drill.fault == "offline":
        behind = [tier for tier in tiers if tier["backend"] == "local"]
    else:
        behind = [tier for tier in tiers[first:] if tier["backend"] != drill.tier]
    if any(tier["available"] for tier in behind):
        return [f"{told}, and no other tier could answer"]
    if not behind:
        return [f"{told}, and no tier stands behind it"]
    return [f"{told}, and no other tier is lit:", *(f"  {line}" for line in tier_lines(behind))]
