"""What one notebook session has chosen, and the gateway it asks: the one inside this kernel, or a running server.

Nothing is imported or contacted before the first question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.error import UsageError

from .arguments import CONFIG, suggestion
from .secrets import is_secret_name

if TYPE_CHECKING:
    from gateway_core import BlockingGateway, Event, Gateway, Settings


class Reading(Protocol):
    """The events of one answer. `wait` gives the next one, or `None` when none came in time or it `is_over`."""

    is_over: bool

    def wait(self, seconds: float) -> Event | None: ...

    def close(self) -> None:
        """Hang up; the provider hears it at once."""


class Asked(Protocol):
    """Whoever answers."""

    def stream(self, prompt: str, **options: Any) -> Reading: ...

    def status(self) -> Any: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Choices:
    """`%ai config`: what holds for every cell of this session. `None`: as the settings say."""

    url: str | None = None
    stream: str | None = None
    footer: bool | None = None
    tier: str | None = None
    model: str | None = None
    local: bool | None = None
    on_interrupt: str | None = None
    max_context_chars: int | None = None


class Session:
    def __init__(self, gateway: Gateway | BlockingGateway | Asked | None = None) -> None:
        self.choices = Choices()
        self._handed_in = gateway
        self._own: Asked | None = None
        self._remote: Asked | None = None
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            from gateway_core import Settings

            self._settings = Settings.load()
        return self._settings

    @property
    def stream(self) -> str:
        return self.choices.stream or self.settings.ai_gateway_stream

    @property
    def footer(self) -> bool:
        return self.settings.ai_gateway_footer if self.choices.footer is None else self.choices.footer

    @property
    def url(self) -> str:
        """Address of the running gateway that is asked; empty: the gateway inside this kernel."""
        if self.choices.url is not None:
            return self.choices.url
        return "" if self._handed_in is not None else self.settings.ai_gateway_url or ""

    @property
    def asked(self) -> Asked:
        """Whoever answers, made at the first question."""
        if self.url:
            if self._remote is None:
                self._remote = self._server(self.url)
            return self._remote
        if self._own is None:
            self._own = self._in_kernel()
        return self._own

    def options(self) -> dict[str, Any]:
        """What the choices of the session add to every question."""
        chosen = self.choices
        found = {
            "tier": chosen.tier,
            "model": chosen.model,
            "local_only": chosen.local or None,
            "on_interrupt": chosen.on_interrupt,
        }
        return {name: value for name, value in found.items() if value}

    def choose(self, name: str, value: str) -> None:
        """Raises `UsageError` naming what is allowed. A secret is never taken from a cell, nor shown."""
        if name not in CONFIG:
            if is_secret_name(name):
                raise UsageError(
                    f"%ai config: {name} is a secret and would be saved with the notebook; set it in the environment "
                    "or in .env"
                )
            raise UsageError(f"%ai config: no setting {name}{suggestion(name, tuple(CONFIG))}")
        allowed = CONFIG[name][1]
        if allowed and value not in allowed:
            told = ", ".join(choice or "empty" for choice in allowed)
            raise UsageError(f"%ai config: {name} must be one of {told}")
        if name == "url":
            self._choose_url(value)
        elif name in ("footer", "local"):
            setattr(self.choices, name, value == "1")
        elif name == "max_context_chars":
            if value and not (value.isdecimal() and 200 <= int(value) <= 2_000_000):
                raise UsageError("%ai config: max_context_chars must be a whole number from 200 to 2000000")
            self.choices.max_context_chars = int(value) if value else None
        else:
            setattr(self.choices, name, value or None)

    def shown(self) -> Iterator[tuple[str, str, str]]:
        """Name, value and meaning of everything in force; no secret among them."""
        chosen = self.choices
        values: Mapping[str, Any] = {
            "url": self.url or "(inside this kernel)",
            "stream": self.stream,
            "footer": "1" if self.footer else "0",
            "tier": chosen.tier or "(all)",
            "model": chosen.model or "(by tier)",
            "local": "1" if chosen.local or self.settings.local_only else "0",
            "on_interrupt": chosen.on_interrupt or str(self.settings.on_interrupt),
            "max_context_chars": chosen.max_context_chars or self.settings.max_context_chars,
        }
        for name, (meaning, _) in CONFIG.items():
            yield name, str(values[name]), meaning

    def close(self) -> None:
        """Close what this session opened itself. A `BlockingGateway` that was handed in is its owner's; a `Gateway`
        lives in a thread that was made for it here, and ends with it."""
        if self._own is not None and self._own is not self._handed_in:
            self._own.close()
        self._own = self._remote = None

    def _choose_url(self, value: str) -> None:
        if value and not value.startswith(("http://", "https://")):
            raise UsageError("%ai config: url must be an address such as http://127.0.0.1:8000")
        if "@" in value:
            raise UsageError("%ai config: url must not hold a user name or password")
        self._remote = None
        self.choices.url = value.rstrip("/")

    def _server(self, url: str) -> Asked:
        from .remote import RemoteGateway

        token = self.settings.ai_gateway_token
        return RemoteGateway(url, token.get_secret_value() if token else None)

    def _in_kernel(self) -> Asked:
        from gateway_core import BlockingGateway, Gateway

        gateway = self._handed_in
        if gateway is None:
            return BlockingGateway.from_settings(self.settings)
        if isinstance(gateway, Gateway):
            return BlockingGateway(lambda: gateway)
        return gateway
