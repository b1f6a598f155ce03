"""What the settings describe, put together: tiers, stores, network and what is kept. Nothing is contacted here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import __version__
from .budget import Ledger, MemoryLedger, build_budgets
from .circuit import CircuitStore, MemoryStore
from .clock import Clock, SystemClock
from .compose import Composer
from .connectivity import ConnectivityGate
from .errors import SettingsInvalid
from .extras import how_to_add
from .journal import FILE, Journal
from .rag import IndexCache
from .reranking import build_reranker
from .secrets import Secret, redact
from .settings import Settings
from .telemetry import Telemetry, log_happening
from .tiers import build_rungs
from .tiers.http import Http

if TYPE_CHECKING:
    from .tracing import Exported

log = logging.getLogger("ai_gateway")


def parts_of(settings: Settings) -> dict[str, Any]:
    """The arguments of `Gateway`."""
    for oddity in settings.left_out_untold():
        log.warning("%s", oddity)
    clock = SystemClock()
    telemetry = Telemetry(clock.wall)
    telemetry.listen(log_happening)
    indexes = IndexCache(path=settings.ai_gateway_state_dir / "indexes.db")
    composer = Composer(indexes.index, indexes.clear)
    network = ConnectivityGate(clock, telemetry=telemetry)
    http = Http(
        clock,
        user_agent=f"ai-gateway/{__version__}",
        connect_timeout=settings.connect_timeout,
        blocked=network.blocked,
    )
    network.on_links(http.drop_lost)
    rungs = build_rungs(settings, clock, http, composer.quotes)
    store = _store(settings, clock, telemetry)
    is_shared = settings.ai_gateway_store != "memory"
    budgets = build_budgets(settings, rungs, clock, _ledger(settings, clock, telemetry))
    return {
        "rungs": rungs,
        "network": network,
        "http": http,
        "settings": settings,
        "clock": clock,
        "store": store,
        "telemetry": telemetry,
        "composer": composer,
        "reranker": build_reranker(settings, rungs, store, clock, network, budgets),
        "budgets": budgets,
        "traces": _traces() if settings.ai_gateway_otel else None,
        "journal": Journal(settings.ai_gateway_state_dir / FILE if is_shared else None, settings.ai_gateway_journal),
    }


def _ledger(settings: Settings, clock: Clock, telemetry: Telemetry) -> Ledger:
    if settings.ai_gateway_store == "memory":
        return MemoryLedger()
    from .budget_file import FileLedger

    return FileLedger(settings.ai_gateway_state_dir / "budgets.db", clock, telemetry=telemetry)


def _traces() -> Exported | None:
    from .tracing import start

    return start()


def _store(settings: Settings, clock: Clock, telemetry: Telemetry) -> CircuitStore:
    if settings.ai_gateway_store == "memory":
        return MemoryStore()
    if settings.ai_gateway_store != "sqlite":
        return _server(settings.ai_gateway_store, clock, telemetry)
    from .circuit.sqlite import SqliteStore

    return SqliteStore(settings.ai_gateway_state_dir / "circuits.db", clock, telemetry=telemetry)


def _server(address: str, clock: Clock, telemetry: Telemetry) -> CircuitStore:
    try:
        from .circuit.redis import RedisStore
    except ModuleNotFoundError as exc:
        if exc.name != "redis":
            raise
        raise SettingsInvalid(
            f"AI_GATEWAY_STORE: redis:// needs its extra: {how_to_add('redis')}; or unset it"
        ) from None
    Secret.of(urlsplit(address).password)  # from here on it is struck out of every log line
    try:
        return RedisStore(address, clock, telemetry=telemetry)
    except ValueError as exc:
        told = f"AI_GATEWAY_STORE: the address has an option that makes no sense ({redact(str(exc))})"
    raise SettingsInvalid(told)  # out here: the foreign error's frames hold the password
