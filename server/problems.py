"""Every error as `application/problem+json` (RFC 9457), whatever part of the server it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from gateway_core import GatewayError, Reason, problem_of

from .wire import dump

MEDIA_TYPE = "application/problem+json"
JSON_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_KINDS: Mapping[Reason, tuple[int, str]] = {
    Reason.TOKEN_NEEDED: (401, "A token is needed"),
    Reason.HOST_REFUSED: (403, "This host name is not served"),
    Reason.CROSS_SITE: (403, "Calls from other web sites are refused"),
    Reason.NOT_FOUND: (404, "Nothing is here"),
    Reason.METHOD_NOT_ALLOWED: (405, "This method is not served here"),
    Reason.REQUEST_TIMEOUT: (408, "The request did not arrive in time"),
    Reason.TOO_LARGE: (413, "The request is too large"),
    Reason.UNSUPPORTED_MEDIA_TYPE: (415, "The body must be JSON"),
    Reason.INVALID_REQUEST: (422, "The request is not valid"),
    Reason.KEY_REUSED: (422, "This key belongs to another request"),
    Reason.TOO_MANY_REQUESTS: (429, "Too many requests"),
    Reason.TOO_MANY_GUESSES: (429, "Too many wrong tokens"),
    Reason.STARTING_UP: (503, "The page is not loaded yet"),
    Reason.SHUTTING_DOWN: (503, "The gateway is being stopped"),
}
_RETRY_AFTER = {Reason.STARTING_UP: 1.0, Reason.SHUTTING_DOWN: 5.0}


class RequestRefused(GatewayError):
    """What is wrong with a request before anybody is asked. `field` names the part at fault, if there is one."""

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        field: str | None = None,
        cure: str = "",
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field
        self.cure = cure or _usual_cure(reason, field)
        self.headers = dict(headers or {})
        self.retry_after = _RETRY_AFTER.get(reason) if retry_after is None else retry_after


def _usual_cure(reason: Reason, field: str | None) -> str:
    if reason is Reason.REQUEST_TIMEOUT:
        return "send the body at once; a large file as one document of /ai/query/rag"
    return f"correct {field}; docs/rest.md tells what is taken" if field else "see docs/rest.md for what is taken"


class ClientLeft(Exception):
    """The client hung up before its request had arrived: nobody is there to be told."""


def problem(error: BaseException) -> dict[str, Any]:
    """The error as one JSON object. Foreign errors tell their type and nothing they say."""
    if not isinstance(error, RequestRefused):
        return problem_of(error)
    status, title = _KINDS[error.reason]
    told: dict[str, Any] = {
        "type": f"urn:ai-gateway:problem:{error.reason}",
        "title": title,
        "status": status,
        "detail": error.detail,
        "code": str(error.reason),
        "attempts": [],
        "cure": error.cure,
        "retry_after": error.retry_after,
    }
    if error.field is not None:
        told["field"] = error.field
    return told


def headers_of(error: BaseException, told: Mapping[str, Any]) -> dict[str, str]:
    """`Retry-After` where waiting helps, and what the error itself demands (`Allow`, `WWW-Authenticate`)."""
    headers = dict(JSON_HEADERS)
    if told["retry_after"] is not None:
        headers["retry-after"] = str(max(1, math.ceil(told["retry_after"])))
    if isinstance(error, RequestRefused):
        headers.update(error.headers)
    return headers


def reply(error: BaseException) -> Response:
    told = problem(error)
    return Response(dump(told), told["status"], headers_of(error, told), MEDIA_TYPE)
