"""`build_page(gateway)`: Gradio's page, and beside it the page's own routes, as one ASGI application."""

from __future__ import annotations

import asyncio
import os
import warnings
from pathlib import Path
from typing import Any

# Before Gradio is imported: it would call its maker's statistics and a model hub.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from gateway_core import Gateway

from .api import PageApi
from .layout import build_blocks, theme
from .security import PageGuard
from .shell import Shell

STATIC = Path(__file__).parent / "static"
_IDLE_SECONDS = 5.0  # it is asked nothing

MANIFEST = {
    "name": "AI Gateway",
    "short_name": "AI Gateway",
    "description": "Ask; the answer comes from Copilot, else a cloud, else this laptop.",
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#f7f8fa",
    "theme_color": "#1d4ed8",
    "icons": [
        {"src": "page/icon.svg", "sizes": "any", "type": "image/svg+xml"},
        {"src": "page/icon-192.png", "sizes": "192x192", "type": "image/png"},
        {"src": "page/icon-512.png", "sizes": "512x512", "type": "image/png", "purpose": "any maskable"},
    ],
}


def build_page(gateway: Gateway) -> ASGIApp:
    """The page over this gateway, to be served under any path. The gateway stays its owner's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # In a thread without a loop Gradio would make several, and never close them.
        return asyncio.run(_built(gateway))
    return _build(gateway)


async def _built(gateway: Gateway) -> ASGIApp:
    return _build(gateway)


def _build(gateway: Gateway) -> ASGIApp:
    import gradio as gr

    api = PageApi(gateway)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.router.routes.extend(api.routes())
    app.router.routes.append(Route("/manifest.json", _manifest))
    app.router.routes.append(Mount("/page", _Fresh(directory=STATIC)))
    blocks = build_blocks()
    # Questions go by the page's own event streams: the queue has nothing to do, but would look every millisecond.
    queue: Any = getattr(blocks, "_queue", None)
    for name in ("sleep_when_free", "progress_update_sleep_when_free"):
        if hasattr(queue, name):
            setattr(queue, name, _IDLE_SECONDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about Gradio's own use of its dependencies
        gr.mount_gradio_app(
            app,
            blocks,
            path="/",
            footer_links=[],
            run_history=False,
            show_error=False,
            max_file_size=1,
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            theme=theme(),
            favicon_path=str(STATIC / "icon-192.png"),
        )
    return PageGuard(Shell(app))


class _Fresh(StaticFiles):
    """Scripts are asked for anew each time, and answered "unchanged": an update is never half in a browser's cache."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def _manifest(request: Request) -> Response:
    return JSONResponse(MANIFEST, media_type="application/manifest+json")
