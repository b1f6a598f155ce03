"""What stands under an answer: who gave it, why nobody before did, what it took, and what it stands on. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from gateway_core import AllTiersFailed, Answer, AnswerInterrupted, Attempt, AttemptOutcome, Reason, Source, problem_of
from gateway_core import reply_of as reply_of_answer

# Nothing that a reader would want to hear about an answer that was given.
_SILENT = frozenset({Reason.NOT_CONFIGURED, Reason.NO_DOCUMENTS})
_LATER_THAN = 90.0  # seconds: waits longer than this are told as a time of day
# Why a tier did not answer, after its name and a colon. `layout` gives the page the same words.
WORDS = {
    Reason.UPSTREAM_5XX: "its server failed",
    Reason.UPSTREAM_ERROR: "its server failed",
    Reason.CONNECT_REFUSED: "could not be reached",
    Reason.CONNECT_TIMEOUT: "could not be reached",
    Reason.DNS: "its name could not be looked up",
    Reason.TLS: "its certificate cannot be trusted",
    Reason.PROXY: "the proxy could not be used",
    Reason.RESET: "the connection broke",
    Reason.PROTOCOL: "its reply was not HTTP",
    Reason.REDIRECTED: "it pointed elsewhere",
    Reason.TRUNCATED: "broke off",
    Reason.STALLED: "fell silent",
    Reason.FIRST_TOKEN_TIMEOUT: "was too slow to begin",
    Reason.THINKING_TIMEOUT: "thought for too long",
    Reason.DEADLINE: "the time for the answer was over",
    Reason.CLOCK_GAP: "the laptop slept",
    Reason.BAD_PAYLOAD: "its answer could not be read",
    Reason.EMPTY_BODY: "its answer was empty",
    Reason.TOO_LARGE: "its answer was too large",
    Reason.RATE_LIMITED: "rate limited",
    Reason.OFFLINE: "this laptop is offline",
    Reason.PORTAL: "a login page is in the way",
    Reason.CIRCUIT_OPEN: "left alone after failures",
    Reason.PROBE_IN_FLIGHT: "another question is trying it",
    Reason.LOCAL_ONLY: "staying local",
    Reason.QUOTA_USED_UP: "its quota is used up",
    Reason.UNAUTHORIZED: "its login was refused",
    Reason.FORBIDDEN: "the account may not use it",
    Reason.COURTESY_LIMIT: "enough questions for this minute",
    Reason.BUDGET_SPENT: "its budget of today is spent",
    Reason.MODEL_GONE: "its model is gone",
    Reason.MODEL_MISSING: "its model is not there",
    Reason.WRONG_ENDPOINT: "its model wants another way of asking",
    Reason.WRONG_HOST: "the account lives at another address",
    Reason.PARAMETER_REFUSED: "it refused a setting of the question",
    Reason.CONTEXT_TOO_LONG: "the question is too long for it",
    Reason.PROMPT_REFUSED: "it refused the question",
    Reason.OUT_OF_MEMORY: "out of memory",
    Reason.NOT_CONFIGURED: "not set up",
    Reason.NO_DOCUMENTS: "there are no documents to quote",
    Reason.CANNOT_CONTINUE: "cannot go on with another's sentence",
    Reason.UNSUPPORTED: "cannot do what the question needs",
    Reason.CLOUD_MODEL: "its model runs elsewhere",
    Reason.BUSY: "busy with other questions",
    Reason.NOT_CONFIRMED: "waits for your yes",
    Reason.CANCELLED: "stopped",
    Reason.STREAM_INTERRUPTED: "broke off",
    Reason.INTERNAL: "failed unexpectedly",
}


def about(answer: Answer, *, wall: float) -> dict[str, Any]:
    """Of a whole answer, as JSON values."""
    told: dict[str, Any] = reply_of_answer(answer, details=True)["details"]
    timing = told.pop("timing")
    found = seams(answer)
    # What a seam tells is not told twice.
    others = [a for a in answer.attempts if a.outcome is not AttemptOutcome.INTERRUPTED] if found else answer.attempts
    return told | {
        "backend": answer.backend,
        "state": answer.state,
        "why": why(others, wall=wall),
        "seams": found,
        "first_token_ms": timing["first_token_ms"],
        "total_ms": timing["total_ms"],
        "sources": [source | {"marks": marks} for source, marks in zip(told["sources"], _marks(answer), strict=True)],
    }


def about_failure(error: Exception, *, wall: float) -> dict[str, Any]:
    """Of an answer that could not be given, or broke off and stayed so."""
    problem = problem_of(error)
    partial = problem.pop("partial", None)
    told: dict[str, Any] = {"problem": {key: problem[key] for key in ("title", "detail", "code", "cure")}}
    if isinstance(error, (AllTiersFailed, AnswerInterrupted)):
        told["why"] = why(error.attempts, wall=wall)
        told["attempts"] = problem["attempts"]
        told["problem"]["detail"] = told["why"] or problem["detail"]
    if partial is not None:
        told["backend"] = partial["backend"]
    return told


def why(attempts: Iterable[Attempt], *, wall: float) -> str:
    """Why those before did not answer: `copilot: rate limited until 14:32`. Empty if nobody was passed over."""
    told = [
        f"{named(a)}: {in_words(a, wall=wall)}"
        for a in attempts
        if a.outcome not in (AttemptOutcome.ANSWERED, AttemptOutcome.CANCELLED) and a.reason not in _SILENT
    ]
    return "; ".join(dict.fromkeys(told))


def named(attempt: Attempt) -> str:
    """The tier; of this laptop's several ways, which one."""
    if attempt.backend == "local" and attempt.mode:
        return attempt.mode.replace("_", " ")
    return attempt.backend


def in_words(attempt: Attempt, *, wall: float) -> str:
    reason = attempt.reason
    said = WORDS.get(reason) if reason is not None else None
    said = said or str(reason or attempt.outcome).replace("_", " ")
    if attempt.outcome is AttemptOutcome.INTERRUPTED and reason is not Reason.TRUNCATED:
        said = f"broke off ({said})"
    wait = attempt.retry_after
    if wait is None or not 0 < wait < 30 * 86400:
        return said
    if wait <= _LATER_THAN:
        return f"{said}, again in {wait:.0f} s"
    then = time.localtime(wall + wait)
    return f"{said} until {time.strftime('%H:%M' if wait < 86400 else '%d %B', then)}"


def seams(answer: Answer) -> list[dict[str, Any]]:
    """Where in the text another tier took over, from whom, and why."""
    broken = [a for a in answer.attempts if a.outcome is AttemptOutcome.INTERRUPTED]
    found = []
    for number, (before, after) in enumerate(zip(answer.segments, answer.segments[1:], strict=False)):
        cut = broken[number] if number < len(broken) else None
        reason = str(cut.reason) if cut is not None and cut.reason is not None else ""
        found.append({"at": after.start, "from": before.backend, "to": after.backend, "reason": reason})
    return found


def seam_in_words(seam: Mapping[str, Any]) -> str:
    reason = str(seam["reason"])
    said = WORDS.get(Reason(reason)) if reason in set(Reason) else reason.replace("_", " ")
    return f"{seam['from']} broke off" + (f" ({said})" if said else "") + f", {seam['to']} went on"


# ---- the words of a source that an answer stands on

_TOKEN = re.compile(r"\w+(?:[.,:/-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_COMMON_WORDS = """
the a an and or but of to in on at by for with from as is are was were be been it its this that these those not no has
have had will would can could may than then there their they he she we you i der die das und oder ein eine einer ist
sind war waren von zu im mit auf für nicht den dem des le la les un une et ou de du des est sont en au aux el los las y
o es son con por para
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def _marks(answer: Answer) -> list[list[list[int]]]:
    claims = _claims(answer)
    return [cited_words(source, claims.get(source.n, "")) for source in answer.sources]


def _claims(answer: Answer) -> dict[int, str]:
    """What the answer says with reference to each source: the sentences that cite it."""
    found: dict[int, str] = {}
    grounding: Mapping[str, Any] = answer.grounding or {}
    for citation in grounding.get("citations", ()):
        before = answer.text[: citation["start"]].rstrip()
        sentence = _SENTENCE_END.split(before)[-1]
        found[citation["n"]] = found.get(citation["n"], "") + " " + sentence
    return found


def cited_words(source: Source, claim: str) -> list[list[int]]:
    """Ranges of the source's text whose words the claim repeats; common words only between two that count."""
    said = {word.casefold() for word in _TOKEN.findall(claim)}
    marks: list[list[int]] = []
    reach = -1  # how far the last mark goes with the common words after it, which count only if another follows
    for match in _TOKEN.finditer(source.text):
        word = match.group().casefold()
        if word not in said:
            continue
        joins = bool(marks) and not source.text[reach : match.start()].strip()
        if word in _COMMON:
            reach = match.end() if joins else reach
        elif joins:
            marks[-1][1] = reach = match.end()
        else:
            marks.append([match.start(), match.end()])
            reach = match.end()
    return marks
