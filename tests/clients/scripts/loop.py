"""What every client script does besides asking: says its version, then acts on each line of standard input.

A script runs in its client's own environment and speaks in lines of JSON, so neither side meets the other's packages.
`whole` returns an answer's text, `stream` yields its pieces; either may be async, or missing. What else a script can
do is given by name, and its result must be plain JSON.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

ADDRESS = os.environ["GATEWAY"]  # http://127.0.0.1:PORT
TOKEN = os.environ["GATEWAY_TOKEN"]
QUESTION = "Tell me."
TURNS = [{"role": "user", "content": QUESTION}]
_ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # some packages print advice


def serve(package: str, whole: Any = None, stream: Any = None, **more: Callable[[], Any]) -> None:
    acts = {"whole": whole, "stream": stream, **more}
    say({"version": version(package), "acts": [name for name, act in acts.items() if act is not None]})
    for line in sys.stdin:
        say(done(acts[line.strip()]))
    os._exit(0)  # taking down what some packages start takes seconds


def done(act: Callable[[], Any]) -> dict[str, Any]:
    """What came of it: `result` or `pieces`, and `error` with the error's own words."""
    pieces: list[str] = []
    try:
        result = asyncio.run(later(act(), pieces)) if is_async(act) else now(act(), pieces)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what the test wants to hear
        return {"result": None, "pieces": pieces, "error": type(error).__name__, "message": told(error)}
    return {"result": result, "pieces": pieces, "error": None, "message": ""}


def is_async(act: Callable[[], Any]) -> bool:
    return inspect.iscoroutinefunction(act) or inspect.isasyncgenfunction(act)


def now(result: Any, pieces: list[str]) -> Any:
    if not inspect.isgenerator(result):
        return result
    pieces.extend(piece for piece in result if piece)
    return "".join(pieces)


async def later(result: Any, pieces: list[str]) -> Any:
    if not inspect.isasyncgen(result):
        return await result
    async for piece in result:
        if piece:
            pieces.append(piece)
    return "".join(pieces)


def told(error: BaseException | None) -> str:
    """The words of the error and of what caused it: a user's traceback shows both."""
    words = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__ or error.__context__
    return " / ".join(words)


def say(value: Any) -> None:
    print(json.dumps(value), file=_ANSWERS, flush=True)
