"""Who is asked, in what order, and who is left out and why. Pure: facts in, steps out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..types import Reason


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one rung before anybody is asked. `blocked`: by the network, as the gate sees it."""

    backend: str
    mode: str
    leaves_laptop: bool = True
    needs_documents: bool = False
    is_model: bool = True
    missing: str | None = None
    missing_reason: Reason = Reason.NOT_CONFIGURED
    cure: str = ""
    refuses: str | None = None
    blocked: Reason | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What the request demands. `tier` names the only backend that may answer."""

    tier: str | None = None
    local_only: bool = False
    has_documents: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Ask rung number `index`, or, with `skip`, leave it out and say why."""

    index: int
    skip: Reason | None = None
    detail: str = ""
    cure: str = ""
    retry_after: float | None = None  # seconds, where it is known


_BLOCKED = {
    Reason.OFFLINE: ("this laptop is offline", "reconnect; the next request asks it again at once"),
    Reason.PORTAL: ("a login page is in the way of the network", "open a browser and log in to the network"),
    Reason.DNS: ("no name server answers", "check the network; names are looked up again in some seconds"),
}


def plan(rungs: Iterable[Facts], wish: Wish) -> tuple[Step, ...]:
    """One step for each rung that the wish allows, in the given order.

    `local_only` is decided here and nowhere else, and fails closed: a rung stays only if it says that nothing
    leaves the laptop. A pinned tier leaves the other backends out without a word.
    """
    return tuple(
        _step(index, facts, wish)
        for index, facts in enumerate(rungs)
        if wish.tier is None or facts.backend == wish.tier
    )


def _step(index: int, facts: Facts, wish: Wish) -> Step:
    if wish.local_only and facts.leaves_laptop:
        cure = "allow it by LOCAL_NETWORK=1" if facts.backend == "local" else ""
        return Step(index, Reason.LOCAL_ONLY, "only this laptop may answer", cure)
    if facts.missing is not None:
        return Step(index, facts.missing_reason, facts.missing, facts.cure)
    if facts.needs_documents and not wish.has_documents:
        return Step(index, Reason.NO_DOCUMENTS, "it quotes documents and was given none", "send documents with it")
    if facts.refuses is not None:
        return Step(index, Reason.UNSUPPORTED, facts.refuses)
    if facts.blocked is not None:
        detail, cure = _BLOCKED.get(facts.blocked, (str(facts.blocked), ""))
        return Step(index, facts.blocked, detail, cure)
    return Step(index)


def cloud_time(remaining: float, *, local_model: bool, other_local: bool) -> float:
    """Seconds of `remaining` that the clouds together may take to their first visible text.

    While a local model could still answer, half of it is kept for this laptop; quoting documents needs little.
    """
    if local_model:
        return remaining / 2
    return remaining - min(5.0, remaining / 10) if other_local else remaining
