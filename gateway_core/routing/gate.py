"""What the router asks of the network before and while it asks a tier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..types import Reason


class Gate(Protocol):
    """What the network allows. It knows "surely offline"; "online" is only ever a maybe."""

    def blocked(self, address: tuple[str, int] | None) -> Reason | None:
        """`OFFLINE`, `PORTAL` or `DNS` when asking would be in vain."""
        ...

    def on_cut(self, address: tuple[str, int] | None, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once if the way to `address` is cut; the returned function forgets it."""
        ...

    def on_resumed(self, callback: Callable[[float], None]) -> Callable[[], None]:
        """Call back with the seconds that the laptop slept; the returned function ends that."""
        ...

    def heard(self, reason: Reason | None, address: tuple[str, int] | None) -> None:
        """How a call ended (`None`: an answer), so that login pages and dead name servers are noticed."""
        ...

    def suspect_dns(self) -> None:
        """No name server answers, for whatever name."""
        ...


class OpenGate:
    """Nothing is ever blocked."""

    def blocked(self, address: tuple[str, int] | None) -> Reason | None:
        return None

    def on_cut(self, address: tuple[str, int] | None, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def on_resumed(self, callback: Callable[[float], None]) -> Callable[[], None]:
        return lambda: None

    def heard(self, reason: Reason | None, address: tuple[str, int] | None) -> None:
        return

    def suspect_dns(self) -> None:
        return
