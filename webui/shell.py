"""The page's own head, put into the document that Gradio sends.

Gradio adds a page's head from a script of its own, which is too late for colours (they would flash), for the icon and
for the manifest (its own link, to a file that is not served, would win).
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The one line of Gradio's document that ours replaces; without it ours goes before the end of the head.
FOREIGN_MANIFEST = b'<link rel="manifest" href="/manifest.json" />'

HEAD = b"""<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="page/icon.svg">
<link rel="apple-touch-icon" href="page/icon-192.png">
<link rel="manifest" href="manifest.json">
<link rel="stylesheet" href="page/page.css">
<link rel="stylesheet" href="page/chat.css">
<script>try{const chosen=localStorage.getItem("gateway.theme");
if(chosen==="dark"||(!chosen&&matchMedia("(prefers-color-scheme: dark)").matches))
document.documentElement.classList.add("gw-dark")}catch{}</script>
<script type="module" src="page/app.js"></script>
"""


class Shell:
    """ASGI middleware around Gradio: puts `HEAD` into every HTML document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        parts: list[bytes] = []

        async def with_head(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_document(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                body = put_head(b"".join(parts))
                kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                headers = [*kept, (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
                await send({**start, "headers": headers})
                await send({"type": "http.response.body", "body": body})

        # Compressed, the document could not be changed.
        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        await self._app({**scope, "headers": plain} if scope["path"].endswith("/") else scope, receive, with_head)


def put_head(document: bytes) -> bytes:
    if FOREIGN_MANIFEST in document:
        return document.replace(FOREIGN_MANIFEST, HEAD, 1)
    return document.replace(b"</head>", HEAD + b"</head>", 1)


def _is_document(message: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])
