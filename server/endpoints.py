"""The documented endpoints: arguments in, answers out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from gateway_core import Reason, __version__

from . import sign_in
from .answering import Answering
from .bodies import DocumentsQuery, HealthReply, Index, Query, Reply, RequestReply, ResetReply, StatusReply
from .changes import StatusStream
from .dialects import Plain
from .documentation import ASKED, ONLY_ACCESS, answers_of, body_of
from .exposition import MEDIA_TYPE as METRICS_TYPE
from .guesses import client_of
from .intake import DOCUMENTS_LIMIT, PLAIN_LIMIT, ignored, off_loop, parse, read_body, read_json
from .problems import JSON_HEADERS, RequestRefused
from .service import service_of
from .wire import dump

router = APIRouter()
Asked = TypeVar("Asked", bound=Query)


@router.post("/ai/query", response_model=Reply, responses=ASKED, openapi_extra=body_of(Query))
async def query(request: Request) -> Response:
    """Answer a prompt: by Copilot, else the cloud, else this laptop."""
    return await _answer(request, Query, PLAIN_LIMIT)


@router.post("/ai/query/rag", response_model=Reply, responses=ASKED, openapi_extra=body_of(DocumentsQuery))
async def query_documents(request: Request) -> Response:
    """Answer a prompt from documents, with citations."""
    return await _answer(request, DocumentsQuery, DOCUMENTS_LIMIT)


async def _answer(request: Request, model: type[Asked], limit: int) -> Response:
    service = service_of(request)
    body = await read_json(request, limit)

    def understood() -> tuple[Asked, tuple[str, ...], dict[str, Any]]:
        asked = parse(model, body)
        return asked, ignored(asked), asked.options()

    asked, notes, options = await off_loop(body, understood)
    dialect = Plain(bool(asked.details), notes)
    answering = Answering(service.gateway, service.closing, dialect, asked.prompt, options, stream=bool(asked.stream))
    return await service.repeats.once(request.scope, request.headers.get("idempotency-key"), body, answering)


@router.get("/health", response_model=HealthReply, responses=answers_of(403))
async def health(request: Request) -> Response:
    """Who would answer the next plain request. Always 200, never a paid call, no token needed."""
    return _json(asdict(await service_of(request).gateway.health()))


@router.post("/admin/reset", response_model=ResetReply, responses=ONLY_ACCESS)
async def reset(request: Request) -> Response:
    """Close every circuit and forget every wait."""
    await service_of(request).gateway.reset()
    return _json({"status": "ok"})


@router.get("/status", response_model=StatusReply, responses=ONLY_ACCESS)
async def status(request: Request) -> Response:
    """Every tier with its circuit and the reason it is left out; network and store."""
    return _json((await service_of(request).gateway.status()).as_dict())


@router.get("/ai/requests/{id}", response_model=RequestReply, responses=answers_of(401, 403, 404, 429))
async def explain(request: Request, id: str) -> Response:
    """How a request was decided, tier by tier, without what was said; `last` is the one that ended last."""
    record = await service_of(request).gateway.journal.find(None if id == "last" else id)
    if record is None:
        raise RequestRefused(
            Reason.NOT_FOUND, "no such request is kept", cure="see AI_GATEWAY_JOURNAL for how many are"
        )
    return _json(record)


@router.get("/ai/events", response_model=None, responses=answers_of(401, 403, 429, stream=True))
async def events(request: Request) -> Response:
    """The status as server-sent events: now, and whenever it changes."""
    service = service_of(request)
    return StatusStream(service.feed, service.closing)


@router.get(
    "/metrics",
    response_model=None,
    response_class=Response,
    responses={**ONLY_ACCESS, 200: {"description": "Text for Prometheus.", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Attempts, answers, times, tokens and circuits, for Prometheus."""
    return Response(await service_of(request).metrics.page(), 200, JSON_HEADERS, METRICS_TYPE)


@router.post(sign_in.PATH, response_model=None, include_in_schema=False)
async def signing_in(request: Request) -> Response:
    """The form by which a browser shows the token, once."""
    service = service_of(request)
    token = service.settings.ai_gateway_token
    if token is None:
        return RedirectResponse("/", 303)
    body = await read_body(request, sign_in.LIMIT)
    is_https = request.headers.get("origin", "").startswith("https:")
    right = token.get_secret_value().encode()
    if not await service.guesses.look(client_of(request.scope), lambda: sign_in.shows(body, right)):
        return sign_in.form(was_wrong=True)
    return sign_in.signed_in(right, is_https=is_https)


@router.get("/", response_model=Index, responses=answers_of(307, 401, 403, 429))
async def index(request: Request) -> Response:
    """Where things are; a browser is led to the chat page when there is one."""
    service = service_of(request)
    wants_page = "text/html" in request.headers.get("accept", "")
    if wants_page and service.front_ends:
        return RedirectResponse(f"/{service.front_ends[0].name}", 307)
    served = {
        f"{method.upper()} {path}": told["description"].partition("\n")[0]
        for path, methods in request.app.openapi()["paths"].items()
        for method, told in methods.items()
    }
    return _json({"name": "AI Gateway", "version": __version__, "endpoints": served})


def _json(value: object) -> Response:
    return Response(dump(value), 200, JSON_HEADERS, "application/json")
