"""What a provider has taught us: models that are gone, fields that a model does not take. Learned once, told always."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from ..discretion import in_one_line
from ..types import Prompt
from .openai_wire import wishes

log = logging.getLogger("ai_gateway")

MOST = 200  # names of models come from callers, too
SAMPLING = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
# what a list of models holds besides models that chat
_NO_CHAT = re.compile(
    r"embed|whisper|tts|audio|realtime|transcri|image|dall-e|moderation|rerank|guard|sora|veo|imagen|ocr"
)


class Lessons:
    """Kept for the life of the process: a new start may find things changed."""

    def __init__(self, tier: str) -> None:
        self._tier = tier
        self._refused: dict[str, frozenset[str]] = {}
        self._instead: dict[str, str] = {}

    def model_for(self, asked: str) -> str:
        return self._instead.get(asked, asked)

    def refused_by(self, model: str) -> frozenset[str]:
        return self._refused.get(model, frozenset())

    @property
    def replaced(self) -> Mapping[str, str]:
        return self._instead

    def takes_no(self, model: str, name: str) -> None:
        """What one of the sampling fields meets awaits the others."""
        group = SAMPLING if name in SAMPLING else frozenset({name})
        _make_room(self._refused)
        self._refused[model] = self.refused_by(model) | group

    def replace(self, gone: str, live: str) -> None:
        _make_room(self._instead)
        for asked, answering in list(self._instead.items()):
            if answering == gone:
                self._instead[asked] = live
        self._instead.pop(live, None)
        if self._instead.get(gone) != live:
            log.warning("%s: the model %s is gone; using %s", self._tier, in_one_line(gone), in_one_line(live))
        self._instead[gone] = live

    def notes(self, asked: str, model: str, prompt: Prompt) -> list[str]:
        """What an answer's reader should know."""
        notes = [f"{self._tier}: the model {asked} is gone; {model} answers"] if model != asked else []
        ignored = self.refused_by(model) & wishes(prompt)
        return notes + [f"{self._tier}: {model} takes no {name}" for name in sorted(ignored)]


def _make_room(known: dict[str, Any]) -> None:
    if len(known) >= MOST:
        known.clear()


def choose_instead(gone: str, live: Sequence[str], preferred: Sequence[str]) -> str | None:
    """A live model in the place of one that is gone: a preferred one, else the one of the closest name."""
    chatting = [model for model in live if model != gone and not _NO_CHAT.search(model.lower())]
    for model in preferred:
        if model in chatting:
            return model

    def likeness(model: str) -> tuple[int, int, str]:
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(model, gone, strict=False)))
        return shared, -len(model), model

    return max(chatting, key=likeness, default=None)
