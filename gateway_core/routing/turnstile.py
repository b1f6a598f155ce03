"""By a rung's circuit: leave to ask it, its place kept while it answers, and what the circuit hears in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from ..circuit import Circuit, CircuitPolicy, CircuitState, CircuitStore, Permit, admit, record, renew
from ..clock import Clock
from ..telemetry import Telemetry
from ..tiers.base import Tier
from ..types import Reason
from .outcomes import outcome_of

RENEW_EVERY = 1.0  # seconds between renewals of a probe's lease: shared stores are not asked for each token
UNCOUNTED = Permit(-1)  # for a rung without a circuit

# Why a tier is left alone, for people; a reason that is not here is told by its name.
_WORDS: dict[str, str] = {
    Reason.DNS: "its name had no address",
    Reason.CONNECT_REFUSED: "the connection was refused",
    Reason.CONNECT_TIMEOUT: "no connection came about in time",
    Reason.RESET: "the connection was reset",
    Reason.FIRST_TOKEN_TIMEOUT: "no answer began in time",
    Reason.STALLED: "the answer stood still",
    Reason.TRUNCATED: "the answer broke off",
    Reason.UPSTREAM_5XX: "it reported an error of its own (5xx)",
    Reason.UPSTREAM_ERROR: "it reported an error",
    Reason.RATE_LIMITED: "too many requests",
    Reason.UNAUTHORIZED: "its key or login was refused",
    Reason.FORBIDDEN: "its account may not use it",
}
LEFT_ALONE = "left alone after"
ASK_AT_ONCE = '"ai-gateway reset" asks it at once'

# What no waiting mends. The circuit keeps the reason, not the words of the tier that gave it.
CURES: dict[str | None, str] = {
    Reason.UNAUTHORIZED: 'renew its key or login; "ai-gateway reset" asks with this one again',
    Reason.FORBIDDEN: 'let its account use it, or give it another key; "ai-gateway reset" asks with this one again',
}

# Reasons that say more to a person than "its circuit is open".
_TELLING = frozenset({Reason.RATE_LIMITED, Reason.QUOTA_USED_UP, Reason.UNAUTHORIZED, Reason.FORBIDDEN})


def left_alone(circuit: Circuit) -> tuple[str, str]:
    """Why the circuit lets nobody through, in words, and what would let somebody through."""
    reason = circuit.reason or "failures"
    told = _WORDS.get(reason) or reason.replace("_", " ")
    # Asking again fills no quota; what was rate limited asks for patience.
    cure = "" if reason in (Reason.RATE_LIMITED, Reason.QUOTA_USED_UP) else ASK_AT_ONCE
    return f"{LEFT_ALONE}: {told}", CURES.get(reason, cure)


@dataclass(frozen=True, slots=True)
class Closed:
    """The circuit lets nobody through. `retry_after` in seconds, if that is known."""

    reason: Reason
    detail: str
    retry_after: float | None
    cure: str = ""


class Turnstile:
    """`identity` is the rung's when leave was given: a token found meanwhile changes it."""

    def __init__(self, store: CircuitStore, clock: Clock, policy: CircuitPolicy, telemetry: Telemetry) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._telemetry = telemetry
        self.leaving: set[asyncio.Task[None]] = set()

    async def shown(self, identity: str | None) -> CircuitState:
        """The state of a circuit, as users see it."""
        if identity is None:
            return CircuitState.CLOSED
        return (await self._store.read(identity)).shown(self._clock.span())

    async def enter(self, rung: Tier, identity: str | None) -> Permit | Closed:
        """Leave to ask; of a circuit that is half open one request gets it, as its probe."""
        if identity is None:
            return UNCOUNTED
        now = self._clock.span()

        def admitted(circuit: Circuit) -> tuple[Circuit, tuple[Permit | None, Circuit]]:
            after, permit = admit(circuit, self._policy, now)
            return after, (permit, circuit)

        permit, circuit = await self._entered(rung, identity, self._store.update(identity, admitted))
        if permit is not None:
            if permit.is_probe:
                self._telemetry.tell("circuit", backend=rung.backend, state="half_open")
            return permit
        wait = circuit.remaining(now)
        if circuit.state is CircuitState.HALF_OPEN:
            return Closed(Reason.PROBE_IN_FLIGHT, "another request is finding out whether it is back", wait)
        reason = circuit.reason if circuit.reason in _TELLING else Reason.CIRCUIT_OPEN
        told, cure = left_alone(circuit)
        return Closed(Reason(reason), told, wait, cure)

    async def _entered(
        self, rung: Tier, identity: str, entering: Coroutine[Any, Any, tuple[Permit | None, Circuit]]
    ) -> tuple[Permit | None, Circuit]:
        """A caller who leaves on the way in must not keep the probe's place that he was just given."""
        if not self._store.may_lose_a_reader:
            return await entering
        task = asyncio.ensure_future(entering)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            leaving = asyncio.ensure_future(self._left(rung, identity, task))
            self.leaving.add(leaving)
            leaving.add_done_callback(self.leaving.discard)
            raise

    async def _left(self, rung: Tier, identity: str, entering: asyncio.Future[tuple[Permit | None, Circuit]]) -> None:
        permit, _ = await entering
        await self.leave(rung, identity, permit, GeneratorExit(), had_its_time=False)

    async def renew(self, identity: str | None, permit: Permit | None, lease: float, renewed: float) -> float:
        """Keep a probe's place for `lease` seconds more; gives the moment of the last renewal, `renewed` or now."""
        now = self._clock.span()
        if permit is None or not permit.is_probe or now - renewed < RENEW_EVERY:
            return renewed
        assert identity is not None
        lease += RENEW_EVERY  # it must outlast the chunks that do not renew it
        await self._store.update(identity, lambda circuit: (renew(circuit, permit, lease, now), None))
        return now

    async def leave(
        self,
        rung: Tier,
        identity: str | None,
        permit: Permit | None,
        heard: BaseException | None,
        *,
        had_its_time: bool,
    ) -> None:
        """Tell the circuit how the rung's turn ended; `heard` is the failure, `None` an answer."""
        if identity is None or permit is None:
            return
        outcome = outcome_of(heard, had_its_time=had_its_time)
        now = self._clock.span()

        def recorded(circuit: Circuit) -> tuple[Circuit, tuple[CircuitState, Circuit]]:
            after = record(circuit, permit, outcome, self._policy, now)
            return after, (circuit.state, after)

        before, after = await self._store.update(identity, recorded)
        if before is not after.state:
            wait = round(after.remaining(now), 1)
            self._telemetry.tell(
                "circuit", backend=rung.backend, state=str(after.state), reason=outcome.reason, wait=wait
            )
