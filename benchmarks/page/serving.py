"""One server to be measured, in a process of its own: `api`, `page` or `gradio`.

Tells in lines of JSON where it is, and when a call of the tier was closed early (by the monotonic clock, which all
processes of a machine share).
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

from gateway_core import Gateway, Settings
from gateway_core.testing import ScriptedTier

TOKENS, RATE = 1500, 100


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


class Typist(ScriptedTier):
    """Answers at once, with many tokens at a steady rate, or with one and then nothing."""

    def stream(self, prompt: Any, call: Any) -> AsyncGenerator[Any, None]:
        match prompt.question:
            case "Many":
                return many(call)
            case "Hang":
                return hang(call)
        return self._play(["ok"], call)


async def many(call: Any) -> AsyncGenerator[Any, None]:
    from gateway_core.types import Chunk

    call.sent()
    clock = asyncio.get_running_loop().time
    begun = clock()
    for number in range(TOKENS):
        await asyncio.sleep(max(0.0, begun + number / RATE - clock()))
        yield Chunk("word ")
    yield Chunk(finish_reason="stop")


async def hang(call: Any) -> AsyncGenerator[Any, None]:
    from gateway_core.types import Chunk

    call.sent()
    try:
        yield Chunk("word ")
        await asyncio.sleep(60)
    finally:
        tell(closed=time.monotonic())


def gateway() -> Gateway:
    return Gateway((Typist("copilot"),), settings=Settings(ai_gateway_store="memory"))


def serve(kind: str) -> None:
    if kind == "gradio":
        serve_gradio()
        return
    from server import create_app
    from server.front_ends import found
    from server.listening import listen, url_of
    from server.run import GatewayServer

    listener = listen("127.0.0.1", 0, Settings())
    tell(url=url_of(listener))

    async def run() -> None:
        await GatewayServer(create_app(gateway(), front_ends=found() if kind == "page" else ())).serve([listener])

    asyncio.run(run())


def serve_gradio() -> None:
    """The chat that Gradio's own guide would have one write, over the same tier."""
    import gradio as gr

    asked = gateway()

    async def chat(message: str, history: Any) -> AsyncGenerator[str, None]:
        text = ""
        async for event in asked.stream(message):
            if hasattr(event, "text"):
                text += event.text
                yield text

    page = gr.ChatInterface(chat, api_name="chat")
    port = free_port()
    page.launch(server_name="127.0.0.1", server_port=port, quiet=True, prevent_thread_lock=True, ssr_mode=False)
    tell(url=f"http://127.0.0.1:{port}")
    page.block_thread()


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


if __name__ == "__main__":
    serve(sys.argv[1])
