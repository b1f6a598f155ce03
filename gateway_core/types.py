"""The words everybody shares: what is asked, what comes back, and who did what.

Values only: frozen, no clock, no I/O. `backend` is the name of a tier in everything a user sees.
Offsets into text count Unicode code points and ranges are half-open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

Backend = Literal["copilot", "cloud", "local"]
Role = Literal["system", "user", "assistant", "tool"]


class OnInterrupt(StrEnum):
    """What happens when an answer breaks off after its first visible text."""

    CONTINUE = "continue"
    RESTART = "restart"
    STOP = "stop"


class AttemptOutcome(StrEnum):
    ANSWERED = "answered"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Reason(StrEnum):
    """Why a tier was skipped, failed or cut, and why a request was refused: one closed list.

    The reference for users is `docs/reliability.md`; a test keeps the two in step.
    """

    # the way there
    OFFLINE = "offline"
    PORTAL = "portal"
    DNS = "dns"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    PROXY = "proxy"
    RESET = "reset"
    PROTOCOL = "protocol"
    REDIRECTED = "redirected"
    # the wait
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"
    THINKING_TIMEOUT = "thinking_timeout"
    STALLED = "stalled"
    DEADLINE = "deadline"
    CLOCK_GAP = "clock_gap"
    # what came back
    UPSTREAM_5XX = "upstream_5xx"
    UPSTREAM_ERROR = "upstream_error"
    BAD_PAYLOAD = "bad_payload"
    EMPTY_BODY = "empty_body"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    QUOTA_USED_UP = "quota_used_up"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    MODEL_GONE = "model_gone"
    MODEL_MISSING = "model_missing"
    WRONG_ENDPOINT = "wrong_endpoint"
    WRONG_HOST = "wrong_host"
    PARAMETER_REFUSED = "parameter_refused"
    CONTEXT_TOO_LONG = "context_too_long"
    PROMPT_REFUSED = "prompt_refused"
    OUT_OF_MEMORY = "out_of_memory"
    # not asked
    NOT_CONFIGURED = "not_configured"
    CIRCUIT_OPEN = "circuit_open"
    PROBE_IN_FLIGHT = "probe_in_flight"
    COURTESY_LIMIT = "courtesy_limit"
    BUDGET_SPENT = "budget_spent"
    LOCAL_ONLY = "local_only"
    NO_DOCUMENTS = "no_documents"
    CANNOT_CONTINUE = "cannot_continue"
    UNSUPPORTED = "unsupported"
    CLOUD_MODEL = "cloud_model"
    BUSY = "busy"
    NOT_CONFIRMED = "not_confirmed"
    # the request itself
    CANCELLED = "cancelled"
    STREAM_INTERRUPTED = "stream_interrupted"
    NO_TIER_ANSWERED = "no_tier_answered"
    DOCUMENT_UNREADABLE = "document_unreadable"
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    REQUEST_TIMEOUT = "request_timeout"
    KEY_REUSED = "key_reused"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HOST_REFUSED = "host_refused"
    CROSS_SITE = "cross_site"
    TOKEN_NEEDED = "token_needed"
    TOO_MANY_GUESSES = "too_many_guesses"
    TOO_MANY_REQUESTS = "too_many_requests"
    STARTING_UP = "starting_up"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `content` is text, or a list of content parts passed on as they came."""

    role: Role
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The words, without pictures and other parts."""
        if isinstance(self.content, str):
            return self.content
        parts = [part.get("text") for part in self.content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Document:
    """A text to answer from. `id` defaults to its position among the documents it is handed in with.

    The name is searched as a title. `private` documents are never sent anywhere to be embedded.
    `place_of` maps an offset to a human place ("p. 12", "sheet Costs!B4"); `None` when the text has none.
    """

    text: str
    name: str = ""
    id: str | int | None = None
    kind: str = "text"
    sha256: str = ""
    warnings: tuple[str, ...] = ()
    places: tuple[tuple[int, str], ...] = ()
    private: bool = False

    def place_of(self, offset: int) -> str | None:
        """The label of the last place that starts at or before `offset`."""
        low, high = 0, len(self.places)
        while low < high:
            middle = (low + high) // 2
            if self.places[middle][0] <= offset:
                low = middle + 1
            else:
                high = middle
        return self.places[low - 1][1] if low else None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came: its name, and its bytes. The core reads it (`gateway_core.rag.load_document`)."""

    name: str
    data: bytes = field(repr=False)


Progress = Callable[[int, int, str], None]  # files read, of how many, the name of the one just read
InLine = Callable[[int], None]  # how many stand before a question in the line for a local model; 0: its turn has come


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that was sent with the question: `text == document.text[start:end]`."""

    n: int
    document: str
    start: int
    end: int
    text: str
    cited: bool = False
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; `None` where it did not say. `credits` are Copilot AI credits, `cost` US
    dollars where the provider itself names them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    credits: float | None = None
    cost: float | None = None

    def plus(self, other: Usage) -> Usage:
        def add(a: Any, b: Any) -> Any:
            return b if a is None else a if b is None else a + b

        return Usage(
            add(self.input_tokens, other.input_tokens),
            add(self.output_tokens, other.output_tokens),
            add(self.credits, other.credits),
            add(self.cost, other.cost),
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a tier is asked, already in the form that fits it.

    `messages` end with the user's turn, or with an assistant turn when the tier is to carry on a text
    that broke off. `passthrough` holds fields of compatible surfaces (tools, response_format, ...) that the
    gateway does not interpret. `refit(max_chars)` gives the same question with less context.
    """

    messages: tuple[Message, ...]
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    passthrough: Mapping[str, Any] = field(default_factory=dict)
    question: str = ""
    documents: tuple[Document, ...] = ()
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # documents that could not be read
    refit: Callable[[int], Prompt] | None = None

    @property
    def chars(self) -> int:
        return sum(len(m.text) for m in self.messages)

    @property
    def can_be_spliced(self) -> bool:
        """Half a tool call or half a JSON document cannot be carried on by somebody else."""
        wants = self.passthrough
        form = wants.get("response_format") or {}
        return not wants.get("tools") and form.get("type", "text") == "text"

    def for_call(
        self, model: str | None, max_tokens: int | None, temperature: float | None, passthrough: Mapping[str, Any]
    ) -> Prompt:
        """With the caller's wishes, in every refitted form too."""
        refit = self.refit
        return replace(
            self,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            passthrough=passthrough,
            refit=refit and (lambda chars: refit(chars).for_call(model, max_tokens, temperature, passthrough)),
        )

    def with_messages(self, *extra: Message) -> Prompt:
        return replace(self, messages=(*self.messages, *extra))


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a tier's stream. All fields empty: a sign of life without visible text.

    `finish_reason` is set on the chunk that carries the end marker (`stop`, `length`, `content_filter`,
    `tool_calls`); a stream that ends without one is cut.
    """

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    note: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """The part `[start, end)` of an answer that one tier wrote."""

    backend: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one tier did for this request, or why it was not asked.

    `may_have_billed`: the request had left for a paid service when it ended without an answer, or it answered.
    `retry_after`: seconds until the tier may be asked again, where that is known.
    """

    backend: str
    outcome: AttemptOutcome
    reason: Reason | None = None
    ms: float = 0.0
    may_have_billed: bool = False
    mode: str | None = None
    model: str | None = None
    detail: str = ""
    cure: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: who wrote which part, and what it took. `state` is Copilot's circuit afterwards."""

    id: str
    text: str
    backend: str
    mode: str
    model: str | None
    state: str
    finish_reason: str
    segments: tuple[Segment, ...]
    attempts: tuple[Attempt, ...]
    sources: tuple[Source, ...] = ()
    grounding: Mapping[str, Any] | None = None
    usage: Usage = Usage()
    notes: tuple[str, ...] = ()
    first_token_ms: float | None = None
    total_ms: float = 0.0
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    left_out: tuple[str, ...] = ()  # documents that could not be read, each with its fault; told in `notes` too


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each text, all by one model, so that they can be compared. `usage` is estimated where the
    provider did not count: `notes` then says so."""

    id: str
    vectors: tuple[tuple[float, ...], ...]
    backend: str
    mode: str
    model: str
    attempts: tuple[Attempt, ...]
    usage: Usage = Usage()
    notes: tuple[str, ...] = ()
    total_ms: float = 0.0


# What `Gateway.stream` yields.


@dataclass(frozen=True, slots=True)
class Meta:
    """First event: the tier whose text comes first."""

    id: str
    backend: str
    state: str


@dataclass(frozen=True, slots=True)
class Delta:
    """Text to append. `seq` counts from 0 over the whole stream."""

    text: str
    segment: int
    seq: int
    tool_calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentStarted:
    """Another tier writes from here: `continue` goes on, `restart` means discard what was shown."""

    segment: int
    backend: str
    reason: Reason
    action: Literal["continue", "restart"]


@dataclass(frozen=True, slots=True)
class Done:
    answer: Answer


Event = Meta | Delta | SegmentStarted | Done


def as_messages(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Turns as callers write them (`{"role", "content"}`) in our words."""
    return tuple(Message(t["role"], t["content"]) for t in turns)
