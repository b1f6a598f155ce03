"""What a browser may do with the page, and which of Gradio's routes exist at all.

The server in front checks Host, Origin and token. Here the rest: nothing is loaded from or sent to another host, the
page stands in no frame, and of Gradio only what the page itself needs is reachable: no uploads, no file serving by
address, no proxy, no way to start or watch anything else.
"""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's own start-up needs inline scripts and evaluates the page's `js=`; texts of models never become markup.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "frame-src 'none'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_OURS = re.compile(r"/(?:chats|page|drill|speeds|math|erase|manifest\.json)(?:/.*)?")
_GRADIO = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt"
    r"|/(?:gradio_api/)?(?:startup-events|app_id|info|heartbeat/[\w-]+)/?"
    r"|/(?:assets|svelte|static|_app)/[\w./@-]+"
)


class PageGuard:
    """ASGI middleware of the page: the allow-list, and the headers of every reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if is_served(_inside(scope)):
            await self._app(scope, receive, guarded)
        else:
            await JSONResponse({"detail": "nothing is served at this path"}, 404)(scope, receive, guarded)


def is_served(path: str) -> bool:
    if ".." in path or "//" in path or "\\" in path or "\0" in path:
        return False
    return _OURS.fullmatch(path) is not None or _GRADIO.fullmatch(path) is not None


def _inside(scope: Scope) -> str:
    root = scope.get("root_path", "")
    path: str = scope["path"]
    return path.removeprefix(root) or "/"
