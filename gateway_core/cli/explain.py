"""`ai-gateway explain`: how one request was decided. Of the running gateway that `AI_GATEWAY_URL` names, else of the
file that all processes of this user share."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from ..journal import FILE, JournalUnreadable, read
from ..settings import Settings
from .arguments import PROGRAM
from .exits import ANSWERED, NOT_ANSWERED, USAGE
from .telling import as_json, duration
from .terminal import Terminal, in_one_line

_ENDS = {
    "answered": "answered by",
    "interrupted": "broke off at",
    "unanswered": "no tier could answer",
    "refused": "refused",
    "cancelled": "stopped before the end",
    "failed": "an error of our own",
}
_OUTCOMES = {"interrupted": "broke off", "cancelled": "stopped"}


def run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    id = None if options.id == "last" else options.id  # as the REST API calls it
    try:
        record = _found(id, settings)
    except JournalUnreadable as exc:
        terminal.tell(f"{PROGRAM}: {exc}")
        return NOT_ANSWERED
    if record is None:
        terminal.tell(f"{PROGRAM}: {_not_kept(id, settings)}")
        return USAGE
    if options.json:
        terminal.write_exactly(as_json(record))
    else:
        terminal.write("".join(line + "\n" for line in lines(record)))
    return ANSWERED


def _found(id: str | None, settings: Settings) -> dict[str, Any] | None:
    if settings.ai_gateway_url is None:
        return read(settings.ai_gateway_state_dir / FILE, id)
    from .remote import GatewayUnreachable, NotFound, call

    try:
        return call(settings, "GET", f"/ai/requests/{quote(id or 'last', safe='')}")
    except NotFound:
        return None
    except GatewayUnreachable as exc:
        raise JournalUnreadable(str(exc)) from None


def _not_kept(id: str | None, settings: Settings) -> str:
    what = f"no request {in_one_line(id)} is kept" if id else "no request is kept yet"
    if settings.ai_gateway_url is not None:
        return f"{what} by the gateway at {settings.ai_gateway_url}"
    if settings.state_trouble:
        return f"{what}: {settings.state_trouble}"
    if not settings.ai_gateway_journal:
        return f"{what}; AI_GATEWAY_JOURNAL=0 switches that off"
    if settings.ai_gateway_store == "memory":
        return f"{what}: under AI_GATEWAY_STORE=memory only a running gateway knows; set AI_GATEWAY_URL to ask it"
    return f"{what}: the last {settings.ai_gateway_journal} are, until `{PROGRAM} erase`"


def lines(record: Mapping[str, Any]) -> list[str]:
    """The record for people: how it ended, then tier by tier, then seams and tokens."""
    attempts = record.get("attempts") or []
    names = _names(attempts)
    told = [_head(record), *_circumstances(record), ""]
    width = max(map(len, names), default=0)
    for number, (name, attempt) in enumerate(zip(names, attempts, strict=True), 1):
        first, *more = _attempt(attempt)
        told.append(f"{number:>3}  {name:<{width}}  {first}")
        told += [f"{'':>3}  {'':<{width}}  {line}" for line in more]
    if not attempts:
        told.append("     no tier was asked")
    ends = [*_seams(record), *_cost(record)]
    return [*told, "", *ends] if ends else told


def _head(record: Mapping[str, Any]) -> str:
    outcome = str(record.get("outcome"))
    told = _ENDS.get(outcome, outcome)
    if outcome in ("answered", "interrupted"):
        marks = [
            str(record[name]) for name in ("mode", "model") if record.get(name) not in (None, record.get("backend"))
        ]
        told += f" {record.get('backend')}" + (f" ({in_one_line(', '.join(marks))})" if marks else "")
    if outcome in ("interrupted", "refused") and record.get("reason"):
        told += f": {_words(record['reason'])}"
    if record.get("finish_reason") not in (None, "stop", "interrupted"):
        told += f", ended by {_words(record['finish_reason'])}"
    begun = datetime.fromtimestamp(float(record["begun"]), UTC).astimezone()
    return f"{record['id']}  {begun:%Y-%m-%d %H:%M:%S}  {told}, {_seconds(record['ms'])}"


def _circumstances(record: Mapping[str, Any]) -> list[str]:
    wishes = []
    if record.get("tier"):
        wishes.append(f"only {record['tier']} was to be asked")
    if record.get("local_only"):
        wishes.append("nothing was to leave this laptop")
    found = record.get("retrieval")
    if found and "passages" in found:
        wishes.append(
            f"{_many(found['passages'], 'passage')} ({found['chars']} characters) of "
            f"{_many(found['documents'], 'document')} chosen in {_seconds(found['ms'])}"
        )
    elif found:
        wishes.append(f"documents were read for {_seconds(found['ms'])}")
    return ["; ".join(wishes)] if wishes else []


def _attempt(attempt: Mapping[str, Any]) -> list[str]:
    outcome = str(attempt.get("outcome"))
    head = _OUTCOMES.get(outcome, outcome)
    if attempt.get("reason"):
        head += f": {_words(attempt['reason'])}"
    if outcome == "skipped":
        detail = attempt.get("detail")
        more = [in_one_line(str(detail)) + _again(attempt)] if detail else []
        return [head if detail else head + _again(attempt), *more]
    first = attempt.get("first_token_ms")
    begun = float(attempt.get("begun_ms") or 0)
    times = [f"asked at {_seconds(begun)}, for {_seconds(attempt.get('ms') or 0)}"]
    if first is not None:
        times.append(f"first text after {_seconds(first - begun)}")
    model = attempt.get("model") or attempt.get("asked_model")
    place = [in_one_line(str(model))] if model else []
    if attempt.get("host"):
        place.append(f"at {attempt['host']}:{attempt.get('port')}")
    if outcome != "answered" and attempt.get("may_have_billed"):
        times.append("may have been billed")
    return [head + _again(attempt), ", ".join(times), *([" ".join(place)] if place else [])]


def _again(attempt: Mapping[str, Any]) -> str:
    wait = attempt.get("retry_after")
    return f" (not asked again for {duration(wait)})" if wait else ""


def _seams(record: Mapping[str, Any]) -> list[str]:
    segments = record.get("segments") or []
    if len(segments) < 2:
        return []
    parts = [f"{part['backend']} {part['start']}-{part['end']}" for part in segments]
    return [f"written by: {', then '.join(parts)} (characters)"]


def _cost(record: Mapping[str, Any]) -> list[str]:
    counts = [(record.get(f"{way}_tokens"), way) for way in ("input", "output")]
    told = [f"{count} {way}" for count, way in counts if count is not None]
    cost = [f"tokens: {', '.join(told)}"] if told else []
    if record.get("credits"):
        cost.append(f"credits: {record['credits']:g}")
    return ["; ".join(cost)] if cost else []


def _names(attempts: Iterable[Mapping[str, Any]]) -> list[str]:
    pairs = [(str(a.get("backend")), str(a.get("mode") or "")) for a in attempts]
    return [f"{backend} {mode}" if mode not in ("", backend) else backend for backend, mode in pairs]


def _words(code: Any) -> str:
    return str(code).replace("_", " ")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")


def _seconds(ms: Any) -> str:
    ms = float(ms)
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
