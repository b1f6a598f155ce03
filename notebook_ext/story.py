"""Who answered and why, in words for people. Pure, but for the time of day."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gateway_core.markdown import as_html, as_text, harmless, is_prose

if TYPE_CHECKING:
    from gateway_core import Attempt, Segment, Source

    from .result import AIResult

WHY: Mapping[str, str] = {
    "offline": "this laptop is offline",
    "portal": "the network wants a login first",
    "dns": "its name could not be looked up",
    "connect_refused": "nothing listens there",
    "connect_timeout": "no connection in time",
    "tls": "its certificate is not acceptable",
    "proxy": "the proxy did not let us through",
    "reset": "the connection broke",
    "protocol": "its reply was not HTTP",
    "redirected": "it pointed elsewhere",
    "first_token_timeout": "no first word in time",
    "thinking_timeout": "it thought too long",
    "stalled": "it fell silent",
    "deadline": "the time was up",
    "clock_gap": "the laptop slept meanwhile",
    "upstream_5xx": "it had an internal error",
    "upstream_error": "it reported an error",
    "bad_payload": "its reply made no sense",
    "empty_body": "its reply was empty",
    "truncated": "the answer was cut",
    "too_large": "too large",
    "rate_limited": "too many requests",
    "quota_used_up": "credits used up",
    "unauthorized": "the credential was refused",
    "forbidden": "the account may not use it",
    "model_gone": "the model is retired",
    "model_missing": "the model is not installed",
    "wrong_endpoint": "the model wants another endpoint",
    "wrong_host": "the account lives on another host",
    "parameter_refused": "it does not take a parameter",
    "context_too_long": "the prompt is too long for it",
    "prompt_refused": "it refused the content",
    "out_of_memory": "the model does not fit into memory",
    "not_configured": "not set up",
    "circuit_open": "left alone after failures",
    "probe_in_flight": "another request is trying whether it is back",
    "courtesy_limit": "held back so as not to strain the account",
    "budget_spent": "today's budget is spent",
    "local_only": "only this laptop may answer",
    "no_documents": "it only quotes documents",
    "cannot_continue": "it does not go on with another's sentence",
    "unsupported": "it cannot do this",
    "cloud_model": "the model runs elsewhere",
    "busy": "it is busy",
    "not_confirmed": "found, but not approved yet",
    "cancelled": "cancelled",
    "internal": "an error of our own",
}

# Nothing happened: this is how the user has set things up.
_QUIET = frozenset({"not_configured", "local_only", "no_documents", "not_confirmed", "cannot_continue"})
_ENDS = {
    "length": "the answer was cut at the length limit",
    "content_filter": "the provider's content filter ended the answer",
}
LONGEST_QUOTE = 600


def why(attempt: Attempt) -> str:
    told = WHY.get(str(attempt.reason), attempt.detail or str(attempt.reason or attempt.outcome))
    return told + until(attempt.retry_after)


def until(seconds: float | None) -> str:
    """` until 14:05`, ` until 1 Dec`, or nothing."""
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return ""
    moment, now = time.localtime(time.time() + seconds), time.localtime()
    if moment[:3] == now[:3] or seconds < 12 * 3600:
        return time.strftime(" until %H:%M" if seconds > 90 else " until %H:%M:%S", moment)
    return f" until {moment.tm_mday} {time.strftime('%b', moment)}"


def lines_about(result: AIResult) -> list[str]:
    """What a reader should know beyond the text: empty when the first tier simply answered."""
    told = [_failover(result), *_breaks(result)]
    if result.mode == "extractive":
        told.append("no AI model answered: these are quotations")
    told.append(_ENDS.get(result.finish_reason, ""))
    if result.interrupted:
        told.append("interrupted: the text is not whole")
    billed = [a.backend for a in result.attempts if a.may_have_billed and a.outcome in ("failed", "interrupted")]
    if billed:
        told.append(f"{' and '.join(dict.fromkeys(billed))} may have billed for the part that did not arrive")
    invalid = (result.grounding or {}).get("invalid_citations")
    if invalid:
        told.append(f"cites passages that do not exist: {', '.join(map(str, invalid))}")
    return [*(line for line in told if line), *result.notes]


def _failover(result: AIResult) -> str:
    """`copilot: credits used up until 1 Dec; answered by cloud`, for tiers that wrote nothing."""
    missed = {
        a.backend: why(a)
        for a in result.attempts
        if a.outcome in ("failed", "skipped") and str(a.reason) not in _QUIET and a.backend != result.backend
    }
    if not missed or not result.text:
        return ""
    told = "; ".join(f"{backend}: {reason}" for backend, reason in missed.items())
    return f"{told}; answered by {result.backend}"


def _breaks(result: AIResult) -> list[str]:
    cuts = [a for a in result.attempts if a.outcome == "interrupted"]
    lines = []
    for position, cut in enumerate(cuts):
        following = result.segments[position + 1 :] if len(result.segments) > len(cuts) else ()
        wrote = result.segments[position] if len(result.segments) > position and following else None
        if wrote is not None:
            size = wrote.end - wrote.start
            lines.append(
                f"{cut.backend} broke off after {size:,} characters ({why(cut)}); {following[0].backend} went on"
            )
        elif result.interrupted:
            lines.append(f"{cut.backend} broke off ({why(cut)})")
        else:
            lines.append(f"{cut.backend} broke off ({why(cut)}); {result.backend} began anew")
    return lines


def with_seams(text: str, segments: Sequence[Segment]) -> str:
    """The text with a small mark where another tier goes on; none inside code or formulas."""
    for segment in reversed(segments[1:]):
        if 0 < segment.start <= len(text) and is_prose(text, segment.start):
            text = f"{text[: segment.start]}\x00{segment.backend}\x01{text[segment.start :]}"
    return harmless(text).replace("\x00", "<sup>⟫ ").replace("\x01", "</sup>")


def as_markdown(result: AIResult, footer: bool = True) -> str:
    """A finished answer: text with seams, sources, and who answered."""
    parts = [with_seams(result.text.replace("\x00", "").replace("\x01", ""), result.segments)]
    if result.sources:
        parts.append(sources_as_markdown(result.sources))
    if footer:
        parts.append("\n>\n".join("> " + as_text(line) for line in lines_about(result)))
        parts.append(f"<sub>{as_html(footer_of(result))}</sub>")
    return "\n\n".join(part for part in parts if part)


def footer_of(result: AIResult) -> str:
    """`cloud · gpt-5-mini · 812 ms · 120 tokens`."""
    told = [result.backend if result.mode in ("", result.backend) else f"{result.backend} ({result.mode})"]
    if result.model:
        told.append(result.model)
    told.append(f"{result.total_ms:,.0f} ms" if result.total_ms < 10_000 else f"{result.total_ms / 1000:,.1f} s")
    if result.usage.output_tokens is not None:
        told.append(_counted(result.usage.output_tokens, "token"))
    if result.usage.credits is not None:
        told.append(f"{result.usage.credits:.3g} credits")
    if result.state != "closed":
        told.append(f"copilot circuit {result.state}")
    return " · ".join(told)


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def named_place(source: Source) -> str:
    """`df, row 4711`."""
    return f"{source.document}, {source.place}" if source.place else source.document


def sources_as_markdown(sources: Sequence[Source]) -> str:
    """The passages that were sent: those cited first to the eye, each to be opened."""
    cited = [s for s in sources if s.cited] or list(sources)
    head = "Sources" if any(s.cited for s in sources) else "Read, but not cited"
    rows = []
    for source in cited:
        text = source.text if len(source.text) <= LONGEST_QUOTE else source.text[:LONGEST_QUOTE] + " ..."
        quote = as_html(text.strip()).replace("\n", "<br>")
        rows.append(
            f"<details><summary>[{source.n}] {as_html(named_place(source))}</summary>"
            f"<blockquote>{quote}</blockquote></details>"
        )
    others = len(sources) - len(cited)
    more = f"\n<sub>and {others} more read, not cited</sub>" if others else ""
    return f"**{head}**\n" + "\n".join(rows) + more


def sources_as_text(sources: Sequence[Source]) -> str:
    """One line each, for a terminal."""
    cited = [s for s in sources if s.cited] or list(sources)
    head = "" if any(s.cited for s in sources) else "Read, but not cited:\n"
    return head + "\n".join(f"[{s.n}] {named_place(s)}: {' '.join(s.text.split())[:100]}" for s in cited)


def metadata_of(result: AIResult) -> dict[str, object]:
    """For the saved notebook: facts about the answer, nothing of what was asked."""
    return {
        "ai_gateway": {
            "backend": result.backend,
            "state": result.state,
            "mode": result.mode,
            "model": result.model,
            "finish_reason": result.finish_reason,
            "interrupted": result.interrupted,
            "segments": [{"backend": s.backend, "start": s.start, "end": s.end} for s in result.segments],
            "sources": [{"n": s.n, "document": s.document, "place": s.place, "cited": s.cited} for s in result.sources],
            "usage": {"input_tokens": result.usage.input_tokens, "output_tokens": result.usage.output_tokens},
            "first_token_ms": result.first_token_ms,
            "total_ms": result.total_ms,
        }
    }
