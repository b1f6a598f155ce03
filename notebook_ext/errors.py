"""Errors as a notebook shows them: the class that programs catch, a few lines for people, no traceback."""

from __future__ import annotations

import re

from gateway_core import AllTiersFailed, AnswerInterrupted, GatewayError, PromptRefused

from .asking import Interrupted
from .story import until, why

_FIELD = re.compile(r"`([a-z_]+)`")
_OPTIONS = {"local_only": "local"}


def told_plainly(error: BaseException) -> None:
    """Give an expected error the few lines IPython shows instead of a traceback."""
    if isinstance(error, Interrupted):
        lines = [f"Interrupted: {error}"]
    elif isinstance(error, KeyboardInterrupt):
        lines = ["Interrupted: stopped before anything was asked"]
    elif isinstance(error, GatewayError):
        lines = _lines(error)
    else:
        return
    error.__suppress_context__ = True
    error._render_traceback_ = lambda: lines  # type: ignore[union-attr]


def _lines(error: GatewayError) -> list[str]:
    name = type(error).__name__
    if isinstance(error, AllTiersFailed):
        wait = until(error.retry_after)
        lines = [f"{name}: no tier could answer" + (f"; waiting{wait} may help" if wait else "")]
        return lines + _by_tier(error)
    if isinstance(error, AnswerInterrupted):
        kept = f"the {len(error.partial.text):,} characters that came are in _ai"
        return [f"{name}: the answer broke off and nobody went on; {kept}", *_by_tier(error)]
    lines = [f"{name}: {error}"]
    if isinstance(error, PromptRefused) and error.cure:
        lines.append(f"  {_in_options(error.cure)}")
    return lines


def _in_options(cure: str) -> str:
    """A cure that names fields, in the words of the magics: their options."""
    return _FIELD.sub(lambda found: "--" + _OPTIONS.get(found[1], found[1].replace("_", "-")), cure)


def _by_tier(error: AllTiersFailed | AnswerInterrupted) -> list[str]:
    lines = []
    for attempt in error.attempts:
        cure = f" -> {_in_options(attempt.cure)}" if attempt.cure else ""
        lines.append(f"  {attempt.backend:<8} {attempt.outcome}: {why(attempt)}{cure}")
    return list(dict.fromkeys(lines))
