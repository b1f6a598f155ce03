"""The seam between the router and a provider.

A rung is one place that can answer. Several rungs can share a backend: "local" is Ollama, another local server,
the embedded engine and the extractive answerer, told apart by `mode`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ..deadline import Deadline
from ..types import Chunk, InLine, Prompt, Reason
from .vectors import Embedded


@dataclass(slots=True)
class Asked:
    """Who was really asked, for observers: the model's name, and the host and port behind any proxy."""

    model: str | None = None
    host: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """The router's side of one call.

    The tier says `sent()` as soon as the whole request has left for the provider: from then on it may have been
    billed, and the wait for the first event begins. Until then the router allows `connect_timeout` seconds.
    `asked` is filled in by the tier as far as it knows. `text_by` is the tier's share of the request's time: until
    then its first visible text must have come. `in_line` hears of the place while it stands in line here.
    """

    deadline: Deadline
    connect_timeout: float
    sent: Callable[[], None]
    asked: Asked = field(default_factory=Asked)
    text_by: Deadline | None = None
    in_line: InLine = lambda before: None

    @property
    def until_text(self) -> float:
        """Seconds left to the first visible text."""
        return (self.text_by or self.deadline).remaining()


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a rung cannot be asked at all, and the one cure."""

    why: str
    cure: str
    reason: Reason = Reason.NOT_CONFIGURED


@dataclass(frozen=True, slots=True)
class TierInfo:
    """What a status page shows of a rung. No secret in any field."""

    backend: str
    mode: str
    configured: bool
    model: str | None = None
    models: tuple[str, ...] = ()
    endpoint: str | None = None
    notes: tuple[str, ...] = ()
    cure: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class Tier(Protocol):
    """One place a prompt can be answered.

    `stream` yields chunks as they arrive and raises only `PromptRefused` or a `TierFailed`; the last chunk has a
    `finish_reason`. Closing the generator closes the connection at once. A tier remembers nothing about past
    failures: that is its circuit's work.

    `identity` names the account behind the rung (backend, origin of the base URL, fingerprint of the credential):
    circuits are kept by it, so that a new credential starts with a closed circuit. `None`: no circuit.
    `leaves_laptop`: prompts go to another machine; under `local_only` such a rung is not asked.
    `can_prefill`: a last assistant message is carried on from its last character.
    `can_continue`: may go on with another tier's sentence. `needs_documents`: answers only from documents.
    `is_model`: a language model answers (the extractive answerer is none).
    `address`: host and port it would really connect to (its proxy, if one is used); `None`: nothing to reach.
    """

    @property
    def backend(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def identity(self) -> str | None: ...
    @property
    def leaves_laptop(self) -> bool: ...
    @property
    def can_prefill(self) -> bool: ...
    @property
    def can_continue(self) -> bool: ...
    @property
    def needs_documents(self) -> bool: ...
    @property
    def is_model(self) -> bool: ...
    @property
    def address(self) -> tuple[str, int] | None: ...

    def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]: ...

    def missing(self) -> Missing | None:
        """Why the rung cannot be asked at all (no token, no key); `None` when it can."""
        ...

    def refuses(self, prompt: Prompt) -> str | None:
        """Why this rung cannot take this prompt (tools it does not know, ...); `None` when it can."""
        ...

    async def context_chars(self, prompt: Prompt) -> int | None:
        """How many characters of prompt fit its window; `None` when unknown or more than anybody sends."""
        ...

    async def info(self) -> TierInfo:
        """For status: cheap, never a paid route, never raises."""
        ...

    async def prepare(self) -> None:
        """Before each plan: find out, without the network, what `missing` and `identity` need; cheap when known."""
        ...

    def forget(self) -> None:
        """After a reset by hand: what was refused may be tried again."""
        ...

    def forget_login(self) -> None:
        """The saved login was erased: what was read from it, and learned with it, is not used again."""
        ...

    async def quota_is_back(self) -> bool:
        """A free look whether used-up credits have come back before their date; `False` where there is none."""
        ...

    async def warm(self) -> bool:
        """Have a model loaded before it is needed, where there is one to load; true when it is. Never raises."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Embedder(Protocol):
    """A rung that can also turn texts into vectors. `leaves_laptop`, `identity`, `address` are as for a `Tier`."""

    @property
    def backend(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def identity(self) -> str | None: ...
    @property
    def leaves_laptop(self) -> bool: ...
    @property
    def address(self) -> tuple[str, int] | None: ...

    def missing(self) -> Missing | None: ...

    async def embedding_model(self, wanted: str | None) -> str | None:
        """The model that would embed; `None` when there is none. Never fetches one. Raises only a `TierFailed`."""
        ...

    async def embed(
        self, texts: Sequence[str], model: str, call: Call, *, dimensions: int | None = None, truncate: bool = True
    ) -> Embedded:
        """One vector for each text, all of the same length. Raises only `PromptRefused` or a `TierFailed`.

        `dimensions` is a wish that a model may not know. `truncate`: a text that is too long for the model is
        shortened where the service offers that, instead of refused.
        """
        ...


@runtime_checkable
class Priced(Protocol):
    """A rung that knows what its models cost."""

    def price_of(self, model: str | None) -> tuple[float, float] | None:
        """US dollars for a million tokens, read and written; of the usual model when none is named; `None`: unknown."""
        ...


class TierDefaults:
    """For tiers that have nothing to prepare, to forget or to look up."""

    async def prepare(self) -> None:
        return

    def forget(self) -> None:
        return

    def forget_login(self) -> None:
        return

    async def quota_is_back(self) -> bool:
        return False

    async def warm(self) -> bool:
        return False
