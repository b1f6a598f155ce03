"""`POST /v1/embeddings` and Ollama's `POST /api/embed`: texts to vectors, by the first tier that has a model for it.

A name of `model` that is neither `auto` nor a tier's is the name of an embedding model, and only that one will do:
vectors of another could not be compared with those that the client has stored.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway_core import Embeddings, Gateway, GatewayError, Reason, attempts_of

from ..answering import BACKEND_HEADER, ended
from ..attention import Attention, Closing, Ended
from ..bodies import Sent
from ..dialects import Dialect
from ..documentation import ASKED_IN_OTHER_WORDS, body_of
from ..intake import off_loop, parse, read_body, read_json
from ..problems import JSON_HEADERS, RequestRefused, headers_of, problem
from ..repeats import Produced
from ..service import service_of
from ..wire import dump
from .chat_completions import ChatCompletion
from .models import AUTO, BACKENDS, Wanted
from .ollama import OllamaAnswer

router = APIRouter()

LIMIT = 8_000_000  # bytes of a body: two thousand texts of a page each
MOST_DIMENSIONS = 16_384

Tell = Callable[[Embeddings], bytes]


class EmbeddingsBody(Sent):
    """A request of OpenAI's embeddings API."""

    model: str | None = Field(None, max_length=300)
    input: Any = Field(description="A text, or a list of at most 2048.")
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=MOST_DIMENSIONS)
    user: str | None = None
    local_only: bool | None = None


class OllamaEmbedBody(Sent):
    """A request of Ollama's embed API."""

    model: str | None = Field(None, max_length=300)
    input: Any = None
    truncate: bool | None = None
    dimensions: int | None = Field(None, ge=1, le=MOST_DIMENSIONS)
    local_only: bool | None = None


@router.post(
    "/v1/embeddings", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(EmbeddingsBody)
)
async def embeddings(request: Request) -> Response:
    """Texts to vectors, for clients that speak OpenAI's embeddings."""
    refusing = ChatCompletion(Wanted(AUTO))
    try:
        content = await read_json(request, LIMIT)
        body = await off_loop(content, lambda: parse(EmbeddingsBody, content))
        options = {**_model(body.model), "dimensions": body.dimensions, "local_only": body.local_only}
        is_packed = body.encoding_format == "base64"

        def tell(found: Embeddings) -> bytes:
            return _as_openai(found, is_packed=is_packed)

        return await _reply(request, content, Embedding(service_of(request).gateway, service_of(request).closing,
            refusing, _texts(body.input), options, tell))  # fmt: skip
    except GatewayError as error:
        return _refused(error, refusing)


@router.post("/api/embed", response_model=None, responses=ASKED_IN_OTHER_WORDS, openapi_extra=body_of(OllamaEmbedBody))
async def embed(request: Request) -> Response:
    """Texts to vectors, for clients that speak Ollama's embed."""
    refusing = OllamaAnswer(Wanted(AUTO))
    try:
        is_page = "origin" in request.headers or "sec-fetch-site" in request.headers
        content = await (read_json if is_page else read_body)(request, LIMIT)
        body = await off_loop(content, lambda: parse(OllamaEmbedBody, content))
        began = time.monotonic()
        name = body.model or AUTO
        if body.input in (None, "", []):  # it only asks for the model to be in memory
            return Response(dump({"model": name, "embeddings": []}), 200, JSON_HEADERS, "application/json")
        options = {
            **_model(body.model),
            "dimensions": body.dimensions,
            "truncate": body.truncate is not False,
            "local_only": body.local_only,
        }

        def tell(found: Embeddings) -> bytes:
            return dump(
                {
                    "model": name,
                    "embeddings": found.vectors,
                    "total_duration": int((time.monotonic() - began) * 1e9),
                    "load_duration": 0,
                    "prompt_eval_count": found.usage.input_tokens or 0,
                    "ai_gateway": _extension(found),
                }
            )

        return await _reply(request, content, Embedding(service_of(request).gateway, service_of(request).closing,
            refusing, _texts(body.input), options, tell))  # fmt: skip
    except GatewayError as error:
        return _refused(error, refusing)


class Embedding(Produced):
    """Asks the gateway while the client listens. `succeeded`: the vectors were told."""

    def __init__(
        self,
        gateway: Gateway,
        closing: Closing,
        refusing: Dialect,
        texts: list[str],
        options: Mapping[str, Any],
        tell: Tell,
    ) -> None:
        self.background = None
        self.succeeded = False
        self._gateway = gateway
        self._closing = closing
        self._refusing = refusing
        self._texts = texts
        self._options = options
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: GatewayError | None = None
        caller = Headers(scope=scope).get("traceparent")
        async with Attention(receive, self._closing) as attention:
            try:
                found = await self._gateway.embed(self._texts, **self._options, traceparent=caller)
                body = await asyncio.to_thread(self._tell, found)
            except GatewayError as exc:
                error = exc
        error = ended(attention) or error
        if attention.ended is Ended.GONE:
            return
        if error is not None:
            await _refused(error, self._refusing)(scope, receive, send)
            return
        headers = {**JSON_HEADERS, BACKEND_HEADER: found.backend}
        await Response(body, 200, headers, "application/json")(scope, receive, send)
        self.succeeded = True


async def _reply(request: Request, content: bytes, embedding: Embedding) -> Response:
    key = request.headers.get("idempotency-key")
    return await service_of(request).repeats.once(request.scope, key, content, embedding)


def _refused(error: GatewayError, refusing: Dialect) -> Response:
    told = problem(error)
    headers = {**headers_of(error, told), **refusing.headers(told)}
    return Response(refusing.refused(told), told["status"], headers, refusing.refusal_type)


def _model(name: str | None) -> dict[str, str | None]:
    plain = (name or AUTO).strip()
    if plain in ("", AUTO, f"{AUTO}:latest"):
        return {"tier": None, "model": None}
    tier, _, model = plain.partition("/")
    if tier.removesuffix(":latest") in BACKENDS:
        return {"tier": tier.removesuffix(":latest"), "model": model or None}
    return {"tier": None, "model": plain}


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and all(isinstance(item, str) for item in given):
        return given
    is_tokens = isinstance(given, list) and any(isinstance(item, (int, list)) for item in given)
    raise RequestRefused(
        Reason.INVALID_REQUEST,
        "input holds tokens, and the tiers do not share a tokenizer" if is_tokens else "input must be a text or texts",
        field="input",
        cure="send texts (for LangChain: check_embedding_ctx_length=False)" if is_tokens else "send a text, or a list",
    )


def _as_openai(found: Embeddings, *, is_packed: bool) -> bytes:
    rows = [
        {"object": "embedding", "index": number, "embedding": _packed(vector) if is_packed else vector}
        for number, vector in enumerate(found.vectors)
    ]
    tokens = found.usage.input_tokens or 0
    return dump(
        {
            "object": "list",
            "data": rows,
            "model": found.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "ai_gateway": _extension(found),
        }
    )


def _packed(vector: tuple[float, ...]) -> str:
    """Little-endian 32-bit floats in base64, as the OpenAI SDKs ask for unless told otherwise."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _extension(found: Embeddings) -> dict[str, Any]:
    return {
        "id": found.id,
        "backend": found.backend,
        "mode": found.mode,
        "model": found.model,
        "dimensions": len(found.vectors[0]),
        "attempts": attempts_of(found.attempts),
        "notes": list(found.notes),
    }
