"""One answer from a local server that speaks chat completions: the user's own, or our embedded engine."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from ..errors import GatewayError, TierBroken, TierUnavailable
from ..secrets import Secret
from ..types import Chunk, Prompt, Reason
from .base import Call
from .complaints import Complaint, Cures, Kind, complaint_of, failure_from
from .control_tokens import defuse_messages
from .http import Client, bearer, open_stream
from .local_queue import FRESH
from .openai_wire import Flavour, as_bytes, chat_body, read_chat
from .parts import WITHOUT_PICTURES, has_pictures
from .thinking import ThinkingFilter
from .token_estimate import overflow

TIER = "local"
NO_CURES = Cures()

GENERIC = Flavour(max_tokens_field="max_tokens")
# Thinking is on by default there, too; and with it, an answer cannot be carried on.
LLAMA_CPP = Flavour(max_tokens_field="max_tokens", defaults={"chat_template_kwargs": {"enable_thinking": False}})

_LOADING = re.compile(r"loading model", re.IGNORECASE)
_MEMORY = re.compile(r"out of memory|failed to allocate|insufficient (?:system )?(?:memory|resources)", re.IGNORECASE)
_CONTEXT = re.compile(r"exceeds? the (?:available )?context|context (?:length|size|window|overflow)", re.IGNORECASE)

# llama-server, vLLM and LM Studio, of a model without eyes
_PICTURES = re.compile(
    r"images? inputs? (?:is|are) not supported|not support (?:image|vision)|not a multimodal"
    r"|(?:invalid|unsupported)[^.]{0,60}image_url",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a question goes. `base_url` ends in the version (`/v1`); `window` in tokens, where it is known."""

    base_url: str
    model: str
    flavour: Flavour = GENERIC
    key: Secret | None = None
    window: int | None = None
    cures: Cures = NO_CURES


async def exchange(client: Client, server: Server, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
    """Ask once. Raises a `TierFailed`; closing the generator closes the connection."""
    call.asked.model = server.model
    harmless = replace(prompt, messages=defuse_messages(prompt.messages))
    request = client.build_request(
        "POST",
        f"{server.base_url}/chat/completions",
        content=as_bytes(chat_body(harmless, server.model, server.flavour)),
        headers={"content-type": "application/json", "accept": "text/event-stream", **FRESH, **bearer(server.key)},
    )

    def to_failure(complaint: Complaint) -> GatewayError:
        return failure(complaint, prompt, server)

    async with open_stream(client, request, call, tier=TIER, billed=False, is_local=True) as reply:
        if reply.status != 200:
            raise to_failure(complaint_of(reply.status, await reply.error_text()))
        async with aclosing(read_chat(reply, TIER, server.flavour, to_failure)) as chunks:
            async for chunk in answers_only(chunks):
                yield chunk


async def answers_only(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The same without thinking that the server left in the text; an answer of nothing else is a failure."""
    thinking = ThinkingFilter()
    has_thought = has_answer = False
    async for chunk in chunks:
        text = thinking.feed(chunk.text)
        has_thought = has_thought or thinking.is_thinking
        if chunk.finish_reason:
            text += thinking.finish()
        has_answer = has_answer or bool(text) or bool(chunk.tool_calls)
        if chunk.finish_reason and has_thought and not has_answer:
            raise TierBroken(
                TIER,
                "the model only thought and gave no answer",
                reason=Reason.EMPTY_BODY,
                cure="Use a model that can answer without thinking.",
            )
        yield replace(chunk, text=text)


def failure(complaint: Complaint, prompt: Prompt, server: Server) -> GatewayError:
    """What a complaint of a local server means. It has no rules about content, so nothing is the caller's fault."""
    words = complaint.message
    if complaint.kind is Kind.CONTEXT or (complaint.status in (0, 400) and _CONTEXT.search(words)):
        return overflow(TIER, words, prompt, server.window)
    if _MEMORY.search(words):
        return TierBroken(
            TIER,
            "the model does not fit into memory",
            reason=Reason.OUT_OF_MEMORY,
            cure="Close other programs, or use a smaller model.",
        )
    if complaint.status == 503 and _LOADING.search(words):
        return TierUnavailable(
            TIER, "the model is still being loaded", reason=Reason.BUSY, cure="Ask again in a moment.", wait=5.0
        )
    if complaint.kind in (Kind.RATE, Kind.QUOTA):
        return TierUnavailable(
            TIER, f"the server is busy ({complaint.label})", reason=Reason.BUSY, cure="Ask again in a moment.", wait=5.0
        )
    if _PICTURES.search(words) and has_pictures(prompt):
        told = f"{server.model} cannot look at pictures"
        return TierUnavailable(TIER, told, reason=Reason.UNSUPPORTED, cure=WITHOUT_PICTURES)
    if complaint.kind is Kind.MODEL:
        return TierUnavailable(
            TIER, "the model is not loaded there", reason=Reason.MODEL_MISSING, cure=server.cures.model
        )
    if complaint.kind in (Kind.CONTENT, Kind.PARAMETER):
        return TierBroken(TIER, f"the server refused the request ({complaint.label})", reason=Reason.UPSTREAM_ERROR)
    return failure_from(TIER, complaint, server.cures, prompt=prompt)


def itself(base_url: str, variable: str) -> TierUnavailable:
    return TierUnavailable(
        TIER,
        f"a gateway such as this one answers at {base_url}; asking it would lead round in a circle",
        reason=Reason.NOT_CONFIGURED,
        cure=f"Set {variable} to the address of the model's own server.",
    )
