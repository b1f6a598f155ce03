"""The page over scripted tiers: without a socket for quick tests, on a real server for a browser."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from starlette.applications import Starlette

from gateway_core import Gateway, Settings
from gateway_core.testing import ScriptedTier
from server import create_app
from server.front_ends import FrontEnd
from server.run import GatewayServer
from webui import build_page
from webui.api import PageApi

BASE = "http://127.0.0.1:8000"
BYTES = {"content-type": "application/octet-stream"}


def gateway(*tiers: ScriptedTier, **settings: Any) -> Gateway:
    return Gateway(tiers, settings=Settings(ai_gateway_store="memory", **settings))


@asynccontextmanager
async def calling(*tiers: ScriptedTier, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The page's own routes, without Gradio around them."""
    app = Starlette(routes=PageApi(gateway(*tiers, **settings)).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
        yield client


async def ask(client: httpx.AsyncClient, chat: str, prompt: str, **more: Any) -> list[tuple[str, Any]]:
    reply = await client.post(f"/chats/{chat}/ask", json={"prompt": prompt, **more})
    reply.raise_for_status()
    return [
        (lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: ")))
        for block in reply.text.split("\n\n")
        if len(lines := block.split("\n")) == 2
    ]


async def new_chat(client: httpx.AsyncClient) -> str:
    return str((await client.post("/chats", json={})).json()["id"])


class Served:
    """A real server with the page, to be stopped and started again on the same port."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.port = 0
        self.is_running = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        listener = socket.socket(proto=socket.IPPROTO_TCP)  # as the server's own: small events wait for nothing
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        page = FrontEnd("ui", lambda: build_page)
        self._server = GatewayServer(create_app(self.gateway, front_ends=(page,)), grace=0.2)
        self._task = asyncio.create_task(self._server.serve([listener]))
        async with asyncio.timeout(90):
            while not self._server.started or page.is_loading:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        self.is_running = True

    async def stop(self) -> None:
        self.is_running = False
        self._server.should_exit = True
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(self._task, 30)
