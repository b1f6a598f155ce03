"""A gateway inside the laptop's namespace, led by lines of JSON on standard input.

    python -m tests.journeys.real_links.asking

`{"build": {settings}, "environ": {...}}` makes a gateway in place of the last one; `{"ask": options, "number": 7}`
asks it, beside everything under way; `{"leave": 7}` hangs up; `{"status": true, "number": 8}` looks. Each event is
told in a line with the moment at which it came, by the monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from gateway_core import Delta, Done, Gateway, Meta, SegmentStarted, Settings
from gateway_core.errors import GatewayError

Line = dict[str, Any]


def say(number: int, event: str, **what: Any) -> None:
    sys.stdout.write(json.dumps({"number": number, "at": time.monotonic(), "event": event, **what}) + "\n")
    sys.stdout.flush()


def told(exc: GatewayError) -> Line:
    attempts = [asdict(a) for a in getattr(exc, "attempts", ())]
    return {"kind": type(exc).__name__, "says": str(exc), "attempts": attempts}


async def ask(gateway: Gateway, number: int, options: Line) -> None:
    options = {"prompt": "Tell me.", **options}
    try:
        if options.pop("whole", False):
            answer = await gateway.ask(**options)
            return say(number, "end", answer=asdict(answer))
        async for event in gateway.stream(**options):
            match event:
                case Delta():
                    say(number, "delta", text=event.text, segment=event.segment)
                case Done():
                    say(number, "end", answer=asdict(event.answer))
                case Meta() | SegmentStarted():
                    say(number, type(event).__name__, **asdict(event))
    except GatewayError as exc:
        say(number, "end", error=told(exc), partial=getattr(getattr(exc, "partial", None), "text", None))
    except Exception as exc:  # noqa: BLE001 - whoever waits for the end must hear of it
        say(number, "end", error={"kind": type(exc).__name__, "says": repr(exc), "attempts": []})


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    gateway: Gateway | None = None
    running: dict[int, asyncio.Task[None]] = {}

    def start(number: int, work: Callable[[], Awaitable[None]]) -> None:
        task = running[number] = asyncio.ensure_future(work())
        task.add_done_callback(lambda _: running.pop(number, None))

    say(0, "ready")
    while line := await reader.readline():
        match json.loads(line):
            case {"build": settings, "environ": environ}:
                if gateway is not None:
                    await gateway.aclose()
                os.environ.update(environ)
                gateway = Gateway.from_settings(Settings(**settings))
                say(0, "built")
            case {"ask": options, "number": number} if gateway is not None:
                start(number, lambda g=gateway, n=number, o=options: ask(g, n, o))
            case {"leave": number} if number in running:
                running[number].cancel()
            case {"status": _, "number": number} if gateway is not None:
                say(number, "end", status=(await gateway.status()).as_dict())
    if gateway is not None:
        await gateway.aclose()


if __name__ == "__main__":
    asyncio.run(main())
