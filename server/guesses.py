"""Guessing the token: the first wrong ones of an address are answered at once, later ones are looked at slowly.

A limit that lets the right token pass at once while wrong ones are refused would be none: the one that passes is the
one that was sought. So an address that has guessed too often gets its tokens, right or wrong, looked at one after the
other, a few a second, and what does not fit that line is refused unseen. The right token is delayed there, never locked
out: a connection that has shown it is not held up, however many wrong ones come from the same address.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from gateway_core import Reason

from .problems import RequestRefused

WRONG_ONES_AT_ONCE = 10
SECONDS_TO_FORGET_ONE = 10.0
SECONDS_BETWEEN_LOOKS = 0.25
MOST_IN_LINE = 8
MOST_ADDRESSES = 10_000
MOST_PROVEN = 10_000
SECONDS_PROVEN = 600.0

Client = tuple[str, int]  # address and port: one connection


@dataclass
class _Guesser:
    """What is known of one address."""

    wrong: float = 0.0
    at: float = 0.0
    next_look: float = 0.0
    in_line: int = 0

    def forget_some(self, now: float) -> None:
        self.wrong = max(0.0, self.wrong - (now - self.at) / SECONDS_TO_FORGET_ONE)
        self.at = now


class Guesses:
    """Counts wrong tokens by address. Times are those of the event loop."""

    def __init__(self) -> None:
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()
        self._proven: OrderedDict[Client, float] = OrderedDict()

    async def look(self, client: Client, is_right: Callable[[], bool]) -> bool:
        """Whether the token is right. Raises `RequestRefused` when this address has too many in line."""
        now = asyncio.get_running_loop().time()
        proven_at = self._proven.pop(client, None)
        if proven_at is not None and now - proven_at < SECONDS_PROVEN and is_right():
            self._prove(client, now)
            return True
        guesser = self._guesser(client[0])
        guesser.forget_some(now)
        if guesser.wrong > WRONG_ONES_AT_ONCE - 1:
            await self._stand_in_line(guesser, now)
            now = asyncio.get_running_loop().time()
        if is_right():
            self._prove(client, now)
            return True
        guesser.wrong = min(guesser.wrong + 1, 2.0 * WRONG_ONES_AT_ONCE)
        return False

    async def _stand_in_line(self, guesser: _Guesser, now: float) -> None:
        if guesser.in_line >= MOST_IN_LINE:
            raise RequestRefused(
                Reason.TOO_MANY_GUESSES, "too many wrong tokens came from this address",
                cure="check the token: it is the value of AI_GATEWAY_TOKEN",
                retry_after=MOST_IN_LINE * SECONDS_BETWEEN_LOOKS,
            )  # fmt: skip
        guesser.next_look = max(guesser.next_look, now) + SECONDS_BETWEEN_LOOKS
        guesser.in_line += 1
        try:
            await asyncio.sleep(guesser.next_look - now)
        finally:
            guesser.in_line -= 1

    def _guesser(self, address: str) -> _Guesser:
        guesser = self._guessers.setdefault(address, _Guesser())
        self._guessers.move_to_end(address)
        while len(self._guessers) > MOST_ADDRESSES:
            self._guessers.popitem(last=False)
        return guesser

    def _prove(self, client: Client, now: float) -> None:
        self._proven[client] = now
        while len(self._proven) > MOST_PROVEN:
            self._proven.popitem(last=False)


def client_of(scope: Scope) -> tuple[str, int]:
    """Address and port of the connection; empty where there is none to tell (a Unix socket)."""
    host, port = scope.get("client") or ("", 0)
    return str(host), int(port or 0)
