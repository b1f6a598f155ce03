"""The last rung: quote the passages that best match, when no model can be had.

Needs no model, no network and no memory to speak of. It never pretends: the first line says that no AI model
answered, and what follows is verbatim.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from ..errors import TierUnavailable
from ..types import Chunk, Prompt, Reason
from .base import Call, Missing, TierDefaults, TierInfo

MODE = "extractive"
FIRST_LINE = "No AI model could answer. These passages of your documents match the question best:"
OVERVIEW = "No AI model could answer. What can be counted in your documents, and how they begin:"
NO_MATCH = "No AI model could answer, and no passage of your documents matches the question."
CURE = "Give documents to answer from, or start a local model."


class Quote(Protocol):
    """A passage to be quoted: its number among the sources, its document's name, its text and place.

    `card`, in an overview: what can be counted in the document.
    """

    @property
    def n(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def place(self) -> str | None: ...
    @property
    def card(self) -> str: ...


Pick = Callable[[Prompt], Sequence[Quote]]


class ExtractiveTier(TierDefaults):
    """Answers from documents by quoting them. `pick` ranks; it runs in a worker thread and may take its time."""

    backend = "local"
    mode = MODE
    identity: str | None = None
    leaves_laptop = False
    can_prefill = False
    can_continue = False
    needs_documents = True
    is_model = False
    address: tuple[str, int] | None = None

    def __init__(self, pick: Pick) -> None:
        self._pick = pick

    async def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
        if not prompt.documents:
            raise TierUnavailable(MODE, "there are no documents to quote from", reason=Reason.NO_DOCUMENTS, cure=CURE)
        call.sent()
        quotes = await asyncio.to_thread(self._pick, prompt)
        if not quotes:
            yield Chunk(text=NO_MATCH)
        else:
            yield Chunk(text=OVERVIEW if quotes[0].card else FIRST_LINE)
            for quote in quotes:
                yield Chunk(text=f"\n\n{_quoted(quote)}")
        yield Chunk(finish_reason="stop")

    def missing(self) -> Missing | None:
        return None

    def refuses(self, prompt: Prompt) -> str | None:
        if not prompt.can_be_spliced:
            return "quotes passages; it cannot call tools or write JSON"
        return None

    async def context_chars(self, prompt: Prompt) -> int | None:
        return None

    async def info(self) -> TierInfo:
        return TierInfo(self.backend, self.mode, configured=True, notes=("quotes passages; not an AI model",))

    async def aclose(self) -> None:
        return None


def _quoted(quote: Quote) -> str:
    """A Markdown quotation that ends with its citation and where it stands; before it the document's card."""
    head = f"{quote.name} ({quote.card})\n\n" if quote.card else ""
    lines = [f"> {line}".rstrip() for line in quote.text.strip().splitlines()]
    place = ", ".join(part for part in (quote.name, quote.place) if part)
    return head + "\n".join(lines) + f" [{quote.n}]" + (f" ({place})" if place else "")
