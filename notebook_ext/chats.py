"""Conversations of one notebook session: earlier questions and answers, sent along with the next question."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway_core import Message

LONGEST = 100_000  # characters of earlier turns


class Chats:
    def __init__(self) -> None:
        self._turns: dict[str, list[tuple[str, str]]] = {}

    @property
    def names(self) -> list[str]:
        return list(self._turns)

    def turns(self, name: str) -> list[tuple[str, str]]:
        """Question and answer, oldest first."""
        return list(self._turns.get(name, ()))

    def forget(self, name: str) -> None:
        self._turns.pop(name, None)

    def remember(self, name: str, question: str, answer: str) -> None:
        self._turns.setdefault(name, []).append((question, answer))

    def messages(self, name: str) -> tuple[list[Message], int]:
        """The turns to send, and how many older ones are too many to be sent along."""
        from gateway_core import Message

        turns = self._turns.get(name, [])
        kept, length = 0, 0
        for question, answer in reversed(turns):
            length += len(question) + len(answer)
            if length > LONGEST:
                break
            kept += 1
        sent = turns[len(turns) - kept :]
        messages = [m for q, a in sent for m in (Message("user", q), Message("assistant", a))]
        return messages, len(turns) - kept
