"""The OpenAPI description. Hot endpoints read their body themselves, so it is declared here by its model."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .bodies import Problem
from .problems import MEDIA_TYPE

_REF = "#/components/schemas/{model}"
_BODIES: list[type[BaseModel]] = [Problem]  # those that no route declares
_MEANINGS = {
    307: "To the chat page.",
    401: "The token is missing or wrong.",
    403: "A foreign Host or a foreign page.",
    404: "Nothing is kept or served under this name.",
    408: "The body did not arrive in time.",
    413: "Too large; `detail` names the limit.",
    415: "The body is not JSON.",
    422: "The request is at fault; `field` names the part.",
    429: "More requests, or wrong tokens, than the gateway's owner allows; `Retry-After` tells until when.",
    500: "An error of our own.",
    503: "No tier could answer; `attempts` says why, tier by tier.",
}


def answers_of(*statuses: int, stream: bool = False) -> dict[int | str, dict[str, Any]]:
    """Documented replies beside the success."""
    told: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        told[status] = {"description": _MEANINGS[status]}
        if status >= 400:
            told[status]["content"] = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    if stream:
        told[200] = {"description": "Server-sent events.", "content": {"text/event-stream": {}}}
    return told


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    if model not in _BODIES:
        _BODIES.append(model)
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


ONLY_ACCESS = answers_of(401, 403, 429)
ASKED = {
    **answers_of(401, 403, 408, 413, 415, 422, 429, 500, 503),
    200: {
        "description": "The answer; with `stream`, the events meta, delta, segment, and one of done and error.",
        "content": {"text/event-stream": {}},
    },
}
ASKED_IN_OTHER_WORDS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer in the form of this API, whole or streamed.",
        "content": {"application/json": {}, "text/event-stream": {}, "application/x-ndjson": {}},
    },
    **{
        # before it is clear who calls and what for, errors are told in our own form
        status: {"description": _MEANINGS[status], "content": {"application/json": {}, MEDIA_TYPE: {}}}
        for status in (401, 403, 408, 413, 415, 422, 429, 500, 503)
    },
}
NOT_FOUND_IN_OTHER_WORDS: dict[str, Any] = {"description": _MEANINGS[404], "content": {"application/json": {}}}
ACCESS_IN_OTHER_WORDS: dict[int | str, dict[str, Any]] = {
    status: ASKED_IN_OTHER_WORDS[status] for status in (401, 403, 429)
}


def describe(app: FastAPI) -> None:
    """Add to the description what the routes cannot tell."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            told = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.router.routes
            )
            _, definitions = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
            schemas = told.setdefault("components", {}).setdefault("schemas", {})
            for name, schema in definitions["$defs"].items():
                schemas.setdefault(name, schema)
            app.openapi_schema = told
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
