"""Pages of other origins that the owner has allowed by name (`AI_GATEWAY_CORS_ORIGINS`), as the Fetch standard has it.

Nothing is open to everybody, and nothing by cookie: there is no `Access-Control-Allow-Credentials`, and a session's
cookie counts for nothing when another origin's page sends it. Only what asks and what looks is open; `/admin`, the
chat page and the sign-in stay closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Scope, Send

OPEN = ("/ai/", "/v1/", "/api/")
OPEN_EXACTLY = frozenset({"/health", "/status"})
EXPOSED = (
    "x-ai-gateway-backend, x-ai-gateway-finish-reason, x-ai-gateway-notes, idempotency-replayed, retry-after, "
    "x-should-retry"
)
SECONDS_KEPT = 600
LONGEST_WISH = 2000
_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:\s*,\s*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)


class CrossOrigin:
    """What foreign pages may do. Without an origin: nothing, and no header is ever sent."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str, path: str) -> bool:
        return origin in self._origins and self._is_open(path)

    def preflight(self, scope: Scope, origin: str) -> Response | None:
        """The answer to a browser that asks for leave; `None` when this is no such question."""
        headers = Headers(scope=scope)
        if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        told = {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, POST",
            "access-control-max-age": str(SECONDS_KEPT),
            "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        }
        wish = headers.get("access-control-request-headers", "").strip()
        if len(wish) <= LONGEST_WISH and _NAMES.fullmatch(wish):
            told["access-control-allow-headers"] = wish  # each is checked like any other's; none opens anything
        return Response(status_code=204, headers=told)

    def marking(self, send: Send, path: str, origin: str | None) -> Send:
        """Replies to `origin`'s page may be read by it; caches keep them apart from other replies."""
        if not self._origins or not self._is_open(path):
            return send

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": list(message.get("headers", ()))}
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Origin")
                if origin is not None:
                    headers["access-control-allow-origin"] = origin
                    headers["access-control-expose-headers"] = EXPOSED
            await send(message)

        return marked

    def _is_open(self, path: str) -> bool:
        return path.startswith(OPEN) or path in OPEN_EXACTLY
