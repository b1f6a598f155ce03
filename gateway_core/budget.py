"""What a day may cost, tier by tier, where the user has set a limit.

A tier whose budget is spent is left out until local midnight, as if it were not there: the ladder goes on below it.
What is counted is what may have been billed, answers that broke off included: the provider's own count where it gave
one, else characters by four, marked as an estimate. Money is US dollars, by the provider's word or by the price of the
model. A request that is under way when the budget ends is answered to its end: so many more than the limit can be spent
as requests were under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from math import ceil
from typing import Any, Protocol

from .clock import Clock
from .settings import Settings
from .tiers.base import Priced, Tier
from .types import Reason, Usage

CHARS_PER_TOKEN = 4
MILLION = 1_000_000
CURRENCY = "USD"

Price = tuple[float, float]  # US dollars for a million tokens: read, written
PriceOf = Callable[[str, str | None], Price | None]  # of a backend and a model; without a model: of its usual one


@dataclass(frozen=True, slots=True)
class Limit:
    """What one tier may spend in a day. `None`: as much as it likes."""

    tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens read and written; how many of them nobody counted; US dollars."""

    tokens: int = 0
    estimated: int = 0
    cost: float = 0.0

    def plus(self, other: Spent) -> Spent:
        return Spent(self.tokens + other.tokens, self.estimated + other.estimated, self.cost + other.cost)


@dataclass(frozen=True, slots=True)
class Over:
    """Why a tier is left out, and for how many seconds."""

    reason: Reason
    detail: str
    cure: str
    wait: float | None = None


class Ledger(Protocol):
    """What was spent, by day (`2026-11-23`) and tier. Never fails a request: `trouble` says what it works without."""

    trouble: str | None

    async def read(self, day: str) -> Mapping[str, Spent]: ...

    async def add(self, day: str, tier: str, spent: Spent) -> None: ...


class MemoryLedger:
    """Of this process only."""

    trouble: str | None = None

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str], Spent] = {}

    async def read(self, day: str) -> Mapping[str, Spent]:
        return {tier: spent for (when, tier), spent in self._spent.items() if when == day}

    async def add(self, day: str, tier: str, spent: Spent) -> None:
        self._spent[day, tier] = self._spent.get((day, tier), Spent()).plus(spent)


class Budgets:
    """`limits` by backend. `wall` is the calendar: a day begins at midnight, local time."""

    def __init__(
        self, limits: Mapping[str, Limit], ledger: Ledger, wall: Callable[[], float], price_of: PriceOf
    ) -> None:
        self._limits = dict(limits)
        self._ledger = ledger
        self._wall = wall
        self._price_of = price_of

    @property
    def trouble(self) -> str | None:
        return self._ledger.trouble

    async def over(self, model: str | None = None) -> Mapping[str, Over]:
        """The backends that are to be left out now, when this model is asked for."""
        now = self._wall()
        spent = await self._ledger.read(day_of(now))
        found = {
            backend: self._over(backend, limit, spent.get(backend, Spent()), model, now)
            for backend, limit in self._limits.items()
        }
        return {backend: over for backend, over in found.items() if over is not None}

    async def count(self, backend: str, spent: Spent) -> None:
        if backend in self._limits:
            await self._ledger.add(day_of(self._wall()), backend, spent)

    def charge(
        self, backend: str, model: str | None, usage: Usage | None, read: int, written: int, *, asked: str | None = None
    ) -> Spent:
        """What one call cost. `read`, `written`: characters, for what the provider did not count.

        `model` answered; where it never said its name, or one without a price, the price is that of the `asked` one.
        """
        into, out = (usage.input_tokens, usage.output_tokens) if usage else (None, None)
        estimate_in = ceil(read / CHARS_PER_TOKEN) if into is None else 0
        estimate_out = ceil(written / CHARS_PER_TOKEN) if out is None else 0
        into, out = into or estimate_in, out or estimate_out
        cost = usage.cost if usage else None
        if cost is None:
            named = [name for name in (model, asked) if name]
            prices = (self._price_of(backend, name) for name in (*named, None))
            price = next((price for price in prices if price is not None), (0.0, 0.0))
            cost = (into * price[0] + out * price[1]) / MILLION
        return Spent(into + out, estimate_in + estimate_out, cost)

    async def told(self) -> Mapping[str, dict[str, Any]]:
        """For a status page: spent, limit and when it begins anew, by backend."""
        now = self._wall()
        spent = await self._ledger.read(day_of(now))
        return {backend: self._told(limit, spent.get(backend, Spent()), now) for backend, limit in self._limits.items()}

    def _told(self, limit: Limit, spent: Spent, now: float) -> dict[str, Any]:
        cost = round(spent.cost, 6)
        return {
            "tokens": spent.tokens,
            "estimated_tokens": spent.estimated,
            "tokens_limit": limit.tokens,
            "cost": cost,
            "cost_limit": limit.cost,
            "currency": CURRENCY,
            "resets_at": datetime.fromtimestamp(midnight_after(now)).astimezone().isoformat(),
        }

    def _over(self, backend: str, limit: Limit, spent: Spent, model: str | None, now: float) -> Over | None:
        until = midnight_after(now)
        clock = datetime.fromtimestamp(until).astimezone()
        name = backend.upper()
        cure = f"wait until {clock:%H:%M} ({clock:%Z}), or raise {name}_DAILY_"
        if limit.tokens is not None and spent.tokens >= limit.tokens:
            counted = f", {spent.estimated:,} of them estimated" if spent.estimated else ""
            detail = f"today's budget of {limit.tokens:,} tokens is spent ({spent.tokens:,}{counted})"
            return Over(Reason.BUDGET_SPENT, detail, f"{cure}TOKENS", until - now)
        if limit.cost is None:
            return None
        if spent.cost >= limit.cost:
            detail = f"today's budget of {limit.cost:g} {CURRENCY} is spent ({spent.cost:.4g} {CURRENCY})"
            return Over(Reason.BUDGET_SPENT, detail, f"{cure}COST", until - now)
        if self._price_of(backend, model) is None:
            return Over(
                Reason.UNSUPPORTED,
                f"{name}_DAILY_COST is set, and the price of {model or 'its model'} is not known",
                "write its price into providers.toml in the state folder, or set a budget of tokens instead",
            )
        return None


def day_of(wall: float) -> str:
    return datetime.fromtimestamp(wall).date().isoformat()


def midnight_after(wall: float) -> float:
    """The moment at which the next local day begins, summer time or not."""
    today = datetime.fromtimestamp(wall).date()
    return datetime.combine(today + timedelta(days=1), time.min).timestamp()


def row_of(spent: Spent) -> tuple[int, int, float]:
    """Its values in the order of its fields."""
    values = asdict(spent)
    return values["tokens"], values["estimated"], values["cost"]


def build_budgets(settings: Settings, rungs: Sequence[Tier], clock: Clock, ledger: Ledger) -> Budgets | None:
    """The daily budgets that the settings name; `None` when they name none."""
    limits = {
        "copilot": Limit(settings.copilot_daily_tokens),
        "cloud": Limit(settings.cloud_daily_tokens, settings.cloud_daily_cost),
    }
    limits = {backend: limit for backend, limit in limits.items() if limit != Limit()}
    if not limits:
        return None

    def price_of(backend: str, model: str | None) -> Price | None:
        priced = (rung for rung in rungs if rung.backend == backend and isinstance(rung, Priced))
        return next((rung.price_of(model) for rung in priced), None)

    return Budgets(limits, ledger, clock.wall, price_of)
