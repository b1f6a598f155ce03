"""What callers send and get, as models: they check requests, and they are the API's documentation.

Unknown fields are kept apart by pydantic (`extra="allow"`), so that they can be ignored by name.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from gateway_core import Document, OnInterrupt, Reason, Upload

from .problems import RequestRefused

MOST_DOCUMENTS = 50_000  # millions of empty ones would hold everybody up
Backend = Literal["copilot", "cloud", "local"]
SLICE = 1_000_000  # characters of base64 that are decoded at a time
MOST_TOKENS = 10_000_000
State = Literal["closed", "open", "half_open"]


class Sent(BaseModel):
    """A part of a request: strict, and tolerant of fields it does not know."""

    model_config = ConfigDict(strict=True, extra="allow")


def _is_content(content: Any) -> Any:
    """A text, or parts as the OpenAI wire knows them: tiers rely on their form."""
    if isinstance(content, str) or (isinstance(content, list) and all(map(_is_part, content))):
        return content
    raise ValueError("must be a text or a list of content parts")


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return False
    if part["type"] == "image_url":
        picture = part.get("image_url")
        return isinstance(picture, dict) and isinstance(picture.get("url"), str)
    return isinstance(part.get("text", ""), str)


Content = Annotated[
    Any,
    AfterValidator(_is_content),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}),
]


class Function(Sent):
    name: str
    arguments: str = ""


class ToolCall(Sent):
    """A call a model made, as chat completions tell it."""

    id: str = ""
    type: Literal["function"] = "function"
    function: Function


class Tool(Sent):
    """A function a model may call. Its description is passed on as it came."""

    type: str
    function: dict[str, Any] | None = None


class ResponseFormat(Sent):
    type: str
    json_schema: dict[str, Any] | None = None


class Turn(Sent):
    """An earlier turn of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Query(Sent):
    """A question. Only `prompt` is needed; `null` means unset."""

    prompt: str = Field(description="The question. At most 2,000,000 characters.")
    system: str | None = Field(None, description="Instructions that stand before the conversation.")
    messages: list[Turn] | None = Field(None, fail_fast=True, description="Earlier turns, oldest first.")
    tier: Backend | None = Field(None, description="Ask this tier only: no failover, and a cut is an error.")
    model: str | None = Field(None, max_length=200, description="The model to ask for, where the tier has it.")
    local_only: bool | None = Field(None, description="Nothing leaves this laptop.")
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS, description="Over all tiers that write the answer.")
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    deadline_s: float | None = Field(
        None, gt=0, le=86_400, allow_inf_nan=False, description="Seconds for the whole request, all tiers together."
    )
    on_interrupt: Literal["continue", "restart", "stop"] | None = Field(
        None, description="When an answer breaks off: the next tier goes on, starts anew, or it ends in an error."
    )
    stream: bool | None = Field(None, description="Answer as server-sent events.")
    details: bool | None = Field(None, description="Add who was asked, why, and what it took.")

    def options(self) -> dict[str, Any]:
        """As `Gateway.ask` and `Gateway.stream` take them."""
        return {
            "system": self.system,
            "messages": [{"role": turn.role, "content": turn.content} for turn in self.messages or ()],
            "tier": self.tier,
            "model": self.model,
            "local_only": self.local_only,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "deadline_s": self.deadline_s,
            "on_interrupt": OnInterrupt(self.on_interrupt) if self.on_interrupt else None,
        }


class NamedText(Sent):
    """A text with a name, which is searched as its title."""

    text: str
    name: str | None = Field(None, max_length=1000)


class NamedFile(Sent):
    """A file as it is; its name tells the kind."""

    name: str = Field(min_length=1, max_length=1000)
    content_base64: str = Field(description="The file's bytes in base64.")


def _kind(item: Any) -> str | None:
    if isinstance(item, (dict, BaseModel)):
        return ":file" if "content_base64" in (item if isinstance(item, dict) else item.__dict__) else ":named"
    return ":text" if isinstance(item, str) else None


Item = Annotated[
    Annotated[str, Tag(":text")] | Annotated[NamedText, Tag(":named")] | Annotated[NamedFile, Tag(":file")],
    Discriminator(_kind),
]


class DocumentsQuery(Query):
    """A question, and the documents to answer it from."""

    documents: list[Item] = Field(
        min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True, description="Texts, named texts, or files."
    )
    max_context_chars: int | None = Field(
        None, ge=200, le=2_000_000, description="Most characters of documents that are sent along; 4000 unless told."
    )

    def options(self) -> dict[str, Any]:
        documents = [_document(item, f"documents[{number}]") for number, item in enumerate(self.documents)]
        return super().options() | {"documents": documents, "max_context_chars": self.max_context_chars}


def _document(item: Any, field: str) -> Document | Upload | str:
    if isinstance(item, str):
        return item
    if isinstance(item, NamedText):
        return Document(item.text, name=item.name or "")
    try:
        data = decoded(item.content_base64)
    except (binascii.Error, ValueError):
        raise RequestRefused(
            Reason.INVALID_REQUEST, f"{field}.content_base64 is not base64", field=f"{field}.content_base64",
            cure="send the file's bytes in base64, or its text as a document",
        ) from None  # fmt: skip
    return Upload(item.name, data)


def decoded(text: str, at_a_time: int = SLICE) -> bytes:
    """The bytes of base64, line breaks and spaces aside. Raises `ValueError`.

    In slices: decoding holds the interpreter's lock, and other requests wait meanwhile.
    """
    parts, rest = [], ""
    for start in range(0, len(text), at_a_time):
        piece = rest + "".join(text[start : start + at_a_time].split())
        whole = len(piece) - len(piece) % 4
        is_last = start + at_a_time >= len(text)
        if "=" in piece[:whole] and not is_last and text[start + at_a_time :].strip():
            raise ValueError("padding before the end")
        parts.append(base64.b64decode(piece if is_last else piece[:whole], validate=True))
        rest = "" if is_last else piece[whole:]
    return b"".join(parts)


# What comes back. These are not used to build replies, only to describe them.


class SegmentTold(BaseModel):
    """`[start, end)` in code points, and who wrote it."""

    backend: Backend
    start: int
    end: int


class AttemptTold(BaseModel):
    """What one tier did for the request, or why it was not asked."""

    backend: Backend
    outcome: Literal["answered", "failed", "skipped", "cancelled", "interrupted"]
    reason: Reason | None
    ms: float
    may_have_billed: bool
    mode: str | None
    model: str | None
    detail: str
    cure: str
    retry_after: float | None


class UsageTold(BaseModel):
    input_tokens: int | None
    output_tokens: int | None
    credits: float | None
    cost: float | None = Field(description="US dollars, where the provider itself names them.")


class TimingTold(BaseModel):
    first_token_ms: float | None
    total_ms: float


class SourceTold(BaseModel):
    """A passage that was sent: `document[start:end]`."""

    n: int
    document: str
    start: int
    end: int
    text: str
    cited: bool
    place: str | None


class Details(BaseModel):
    """Who wrote which part, who was asked, what it took and what it stands on."""

    id: str
    mode: str
    model: str | None
    finish_reason: str
    segments: list[SegmentTold]
    attempts: list[AttemptTold]
    usage: UsageTold
    timing: TimingTold
    sources: list[SourceTold]
    grounding: dict[str, Any] | None
    notes: list[str]


class Reply(BaseModel):
    """The answer, the tier that (last) wrote it, and Copilot's circuit."""

    response: str
    backend: Backend
    state: State
    details: Details | None = Field(None, description="Only if asked for.")


class HealthReply(BaseModel):
    """Whether the next plain request would find somebody."""

    status: Literal["ok", "degraded"]
    copilot_available: bool
    cloud_available: bool
    local_available: bool
    circuit_state: State


class ResetReply(BaseModel):
    status: Literal["ok"]


class Problem(BaseModel):
    """RFC 9457, with a code to switch on, every tier's reason, and the cure."""

    type: str
    title: str
    status: int
    detail: str
    code: Reason
    attempts: list[AttemptTold]
    cure: str
    retry_after: float | None
    field: str | None = Field(None, description="The part of the request at fault.")
    partial: Reply | None = Field(None, description="What was written before the answer broke off.")


class CircuitTold(BaseModel):
    state: State
    failures: int
    reason: str | None
    reopens_in: float | None


class BudgetTold(BaseModel):
    """What a tier has used today, of how much, and when the next day begins."""

    tokens: int
    estimated_tokens: int = Field(description="Of `tokens`, those that nobody counted.")
    tokens_limit: int | None
    cost: float
    cost_limit: float | None
    currency: Literal["USD"]
    resets_at: str


class TierTold(BaseModel):
    backend: Backend
    mode: str
    available: bool
    circuit: CircuitTold
    why_not: str
    cure: str
    model: str | None
    models: list[str]
    endpoint: str | None
    notes: list[str]
    details: dict[str, Any]
    budget: BudgetTold | None = Field(description="Only where a daily budget is set.")


class StatusReply(BaseModel):
    """Every tier with its circuit; network and store."""

    version: str
    tiers: list[TierTold]
    connectivity: str
    store: str
    notes: list[str]


class AttemptKept(BaseModel):
    """One tier's part in a request. Milliseconds count from the request's beginning."""

    backend: Backend
    mode: str | None
    outcome: str
    reason: Reason | None
    detail: str | None = Field(description="Why it was not asked; what a provider said is not kept.")
    begun_ms: float
    ms: float
    first_token_ms: float | None
    asked_model: str | None = None
    model: str | None
    host: str | None = None
    port: int | None = None
    finish_reason: str | None = None
    input_tokens: int | None
    output_tokens: int | None
    may_have_billed: bool
    retry_after: float | None
    segment: int | None = None
    action: Literal["continue", "restart"] | None = None


class RetrievalKept(BaseModel):
    begun_ms: float
    ms: float
    documents: int | None = None
    passages: int | None = None
    chars: int | None = None


class RequestReply(BaseModel):
    """How a request was decided. What was asked and answered is not kept."""

    id: str
    task: Literal["ask", "rag", "embed"]
    begun: float = Field(description="Seconds since 1970.")
    ms: float
    outcome: Literal["answered", "interrupted", "unanswered", "refused", "cancelled", "failed"]
    reason: Reason | None
    tier: Backend | None
    local_only: bool
    whole: bool
    attempts: list[AttemptKept]
    retrieval: RetrievalKept | None = None
    backend: Backend | None = None
    mode: str | None = None
    model: str | None = None
    state: State | None = None
    finish_reason: str | None = None
    first_token_ms: float | None = None
    segments: list[SegmentTold] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    credits: float | None = None


class Index(BaseModel):
    """Where things are."""

    name: str
    version: str
    endpoints: dict[str, str]
