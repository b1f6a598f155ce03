"""A question of the page: asked of the gateway, kept in its conversation, told event by event.

Whatever happens on the way (a reader who leaves, a provider that fails, a server that stops), the conversation keeps
the question and the text that was written until then.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway_core import Attempt, AttemptOutcome, Delta, Done, Gateway, GatewayError, Meta, SegmentStarted
from gateway_core.telemetry import Happening

from .chats import Chat, ChatStore, NoSuchChat, Turn
from .story import about, about_failure, why
from .streams import Named, Tell

MOST_EARLIER_CHARS = 200_000
SECONDS_BETWEEN_SAVES = 2.0


class Choices(BaseModel):
    """The settings of a question, and of the next ones of its conversation."""

    model_config = ConfigDict(extra="forbid")

    tier: str | None = Field(None, pattern="^(copilot|cloud|local)$")
    model: str | None = Field(None, max_length=200)
    local_only: bool = False
    system: str | None = Field(None, max_length=100_000)
    temperature: float | None = Field(None, ge=0, le=2)


class Question(Choices):
    """What the page sends. `keep`: how many turns stand before it; later ones are dropped (retry, edit).

    `seen`: how many turns the page shows; if there are others by now, dropping them would lose what nobody read.
    `page`: which page asks, for a drill that waits for its next question.
    """

    prompt: str = Field(min_length=1, max_length=2_000_000)
    keep: int | None = Field(None, ge=0)
    seen: int | None = Field(None, ge=0)
    page: str = Field("", max_length=40)

    @model_validator(mode="after")
    def _model_of_a_tier(self) -> Question:
        # Alone it would be asked of the first tier that can: a question to a local model would leave the laptop.
        if self.model and not self.tier and not self.local_only:
            raise ValueError(f"choose who is asked for the model {self.model}")
        return self


class ChatBusy(Exception):
    """The conversation is being answered already, perhaps in another tab."""


class ChatWentOn(Exception):
    """The conversation is not as the page shows it: it went on in another tab."""


@dataclass(slots=True, eq=False)
class _Place:
    """A conversation's only place for a question, taken when it is asked. `task` reads its events, once they begin."""

    task: asyncio.Task[Any] | None = None


class Asked:
    """The events of a question. Closing them frees the conversation, also where nobody had begun to read them."""

    def __init__(self, events: AsyncGenerator[Named, None], free: Callable[[], None]) -> None:
        self._events = events
        self._free = free

    def __aiter__(self) -> Asked:
        return self

    async def __anext__(self) -> Named:
        return await anext(self._events)

    async def aclose(self) -> None:
        await self._events.aclose()
        self._free()


@dataclass(slots=True)
class _Growing:
    """An answer while it is written."""

    text: str = ""
    backend: str = ""
    seams: list[dict[str, Any]] | None = None

    def turn(self, **about_it: Any) -> Turn:
        told = {"backend": self.backend, "seams": self.seams or [], **about_it}
        return {"role": "assistant", "text": self.text, "about": told}


class Asker:
    """Asks for every page. `gateway_for` gives the gateway of a page's next question: the real one, or a drill's."""

    def __init__(
        self, store: ChatStore, gateway_for: Callable[[str], tuple[Gateway, str]], wall: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._gateway_for = gateway_for
        self._wall = wall
        self._busy: dict[str, _Place] = {}

    def is_answering(self, chat_id: str) -> bool:
        return chat_id in self._busy

    def ask(self, chat: Chat, question: Question, tell: Tell | None = None) -> Asked:
        """Raises `ChatBusy` or `ChatWentOn`. From here on the conversation is busy, until the events are closed.

        Yields `chat`, `meta`, `delta`, `seam`, then one `turn`, and `chat` again as it is kept. While nothing comes,
        `tell` hears who is asked: `asking`, `thinking`, and `passed` with the reason when another one is next.
        """
        if chat.id in self._busy:
            raise ChatBusy(chat.id)
        if question.seen not in (None, len(chat.turns)):
            raise ChatWentOn(chat.id)
        place = self._busy[chat.id] = _Place()
        return Asked(self._ask(chat, question, tell, place), lambda: self._free(chat.id, place))

    def _free(self, chat_id: str, place: _Place) -> None:
        if self._busy.get(chat_id) is place:
            del self._busy[chat_id]

    async def stop(self, chat_id: str | None = None) -> None:
        """End the answer that grows in this conversation, or every one, as if its reader had left."""
        places = {id: place for id, place in self._busy.items() if chat_id in (None, id)}
        running = [place.task for place in places.values() if place.task is not None]
        for task in running:
            task.cancel()
        for id, place in places.items():
            if place.task is None:  # nobody reads it yet; without its place it never begins
                self._free(id, place)
        if running:
            await asyncio.wait(running)

    async def _ask(
        self, chat: Chat, question: Question, tell: Tell | None, place: _Place
    ) -> AsyncGenerator[Named, None]:
        if self._busy.get(chat.id) is not place:
            raise asyncio.CancelledError  # it was stopped before it began
        place.task = asyncio.current_task()
        growing, started = _Growing(), time.monotonic()
        chat.cut(question.keep)
        chat.choices = question.model_dump(include=set(Choices.model_fields))
        earlier = _earlier(chat.turns)
        chat.turns.append({"role": "user", "text": question.prompt})
        answer_at = len(chat.turns)
        try:
            self._keep(chat)
            yield "chat", chat.summary
            gateway, drill = self._gateway_for(question.page)
            id = f"ans_{secrets.token_hex(8)}"
            forget = gateway.telemetry.listen(partial(_overhear, id, tell or _nobody, self._wall()))
            final: Turn | None = None
            saved_at = started
            try:
                documents = await asyncio.to_thread(self._store.documents, chat) if chat.documents else None
                options = question.model_dump(include={"tier", "model", "local_only", "temperature"}) | {
                    "system": (question.system or "").strip() or None,
                    "messages": earlier,
                    "documents": documents,
                    "id": id,
                }
                async with aclosing(gateway.stream(question.prompt, **options)) as events:
                    async for event in events:
                        match event:
                            case Meta():
                                growing.backend = event.backend
                                yield "meta", {"backend": event.backend}
                            case Delta():
                                growing.text += event.text
                                yield "delta", {"text": event.text}
                            case SegmentStarted():
                                yield "seam", _note_seam(growing, event)
                            case Done():
                                told = about(event.answer, wall=self._wall())
                                final = growing.turn(**told, drill=drill)
                                final["text"] = event.answer.text
                        if time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES:
                            saved_at = time.monotonic()
                            chat.turns[answer_at:] = [growing.turn(is_cut=True)]
                            await asyncio.to_thread(self._keep, chat)
            except GatewayError as exc:
                failed = about_failure(exc, wall=self._wall())
                final = growing.turn(**{"backend": growing.backend, **failed}, drill=drill)
            finally:
                forget()
            assert final is not None  # a stream ends in Done or raises
            chat.turns[answer_at:] = [final]
            if trouble := self._keep(chat):
                final["about"]["not_kept"] = trouble
            yield "turn", final
            yield "chat", chat.summary
        except (asyncio.CancelledError, GeneratorExit):
            chat.turns[answer_at:] = [growing.turn(is_cut=True, total_ms=(time.monotonic() - started) * 1000)]
            self._keep(chat)
            raise
        finally:
            self._free(chat.id, place)

    def _keep(self, chat: Chat) -> str:
        """Save turns and choices only: a title or a document may have changed while the answer grew.

        What keeps it from being saved is told, not raised: an answer that was paid for is shown in any case.
        """

        def kept(current: Chat) -> None:
            current.turns, current.dropped, current.choices = chat.turns, chat.dropped, chat.choices

        try:
            current = self._store.change(chat.id, kept)
        except NoSuchChat:  # deleted meanwhile, and stays so
            return ""
        except OSError as exc:
            return f"Not kept, copy what you need: {exc.strerror or type(exc).__name__}."
        chat.title, chat.updated = current.title, current.updated
        return ""


def _nobody(name: str, value: dict[str, Any]) -> None:
    return


def _overhear(id: str, tell: Tell, wall: float, happening: Happening) -> None:
    """Pass on what happens to one request while nothing of its answer comes."""
    facts = happening.facts
    if facts.get("id") != id:
        return
    if happening.kind in ("asking", "thinking"):
        tell(happening.kind, {"backend": facts["backend"], "mode": facts["mode"]})
    elif happening.kind == "attempt":
        ended = Attempt(
            facts["backend"], AttemptOutcome(facts["outcome"]), facts["reason"], mode=facts["mode"],
            retry_after=facts["retry_after"],
        )  # fmt: skip
        if told := why([ended], wall=wall):
            tell("passed", {"why": told})


def _note_seam(growing: _Growing, event: SegmentStarted) -> dict[str, Any]:
    if event.action == "restart":
        growing.text, growing.seams = "", []
    seam = {"at": len(growing.text), "from": growing.backend, "to": event.backend, "reason": str(event.reason)}
    growing.seams = [*(growing.seams or []), seam] if event.action == "continue" else []
    growing.backend = event.backend
    return seam | {"action": event.action}


def _earlier(turns: list[Turn]) -> list[dict[str, str]]:
    """The latest turns that fit, beginning with a question; answers that never came leave no empty turn."""
    kept: list[dict[str, str]] = []
    size = 0
    for turn in reversed(turns):
        size += len(turn["text"])
        if size > MOST_EARLIER_CHARS:
            break
        if turn["text"].strip():
            kept.append({"role": turn["role"], "content": turn["text"]})
    kept.reverse()
    while kept and kept[0]["role"] != "user":
        kept.pop(0)
    return kept
