"""What a reader gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..guard import LIMITS, LoadLimits


class Unreadable(Exception):
    """A reader's verdict: the fault, and the cure. The file's name is added by whoever asked."""

    def __init__(self, fault: str, cure: str = "") -> None:
        super().__init__(fault)
        self.fault = fault
        self.cure = cure


@dataclass(slots=True)
class Parsed:
    """Text as it grows, with the places that were passed on the way."""

    kind: str
    limits: LoadLimits = LIMITS
    places: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)
    length: int = 0

    def at(self, place: str) -> None:
        """From here on the text stands at `place`."""
        self.places.append((self.length, place))

    def add(self, text: str) -> None:
        self._parts.append(text)
        self.length += len(text)
        if self.length > self.limits.text_chars:
            raise Unreadable(f"holds more than {self.limits.text_chars:,} characters of text", "Split it.")

    @property
    def text(self) -> str:
        return "".join(self._parts)
