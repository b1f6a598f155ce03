"""A tier that does what its script says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ..tiers.base import Call, Missing, TierDefaults, TierInfo
from ..types import Chunk, Prompt


class ScriptedTier(TierDefaults):
    """Answers call after call from `scripts`; the last one is repeated.

    A script is a sequence of: text (one chunk), a `Chunk`, a number (seconds of silence), an `asyncio.Event`
    (silence until it is set), or an exception (the stream breaks there). A script that ends gets its end marker,
    unless it ends in an exception or is cut by a `Chunk` with a `finish_reason`. `prompts` records what was asked,
    `cancelled` the calls that were closed early.
    """

    def __init__(
        self,
        name: str,
        *scripts: Sequence[str | float | Chunk | asyncio.Event | BaseException],
        mode: str | None = None,
        missing: Missing | None = None,
        can_prefill: bool = False,
        can_continue: bool = True,
        needs_documents: bool = False,
        is_model: bool = True,
        leaves_laptop: bool | None = None,
        window: int | None = None,
        address: tuple[str, int] | None = None,
    ) -> None:
        self.backend = name
        self.mode = mode or ("ollama" if name == "local" else name)
        self.identity = None if name == "local" else f"scripted {name}"
        self.leaves_laptop = name != "local" if leaves_laptop is None else leaves_laptop
        self.can_prefill = can_prefill
        self.can_continue = can_continue
        self.needs_documents = needs_documents
        self.is_model = is_model
        self.address = address
        self.prompts: list[Prompt] = []
        self.cancelled = 0
        self._scripts = scripts or (["ok"],)
        self._missing = missing
        self._window = window

    @property
    def calls(self) -> int:
        return len(self.prompts)

    def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
        script = self._scripts[min(self.calls, len(self._scripts) - 1)]
        self.prompts.append(prompt)
        return self._play(script, call)

    async def _play(self, script: Sequence[Any], call: Call) -> AsyncGenerator[Chunk, None]:
        call.asked.model = f"scripted-{self.backend}"
        call.sent()
        is_over = False
        try:
            for step in script:
                if isinstance(step, BaseException):
                    is_over = True
                    raise step
                if isinstance(step, (int, float)):
                    await asyncio.sleep(step)
                    continue
                if isinstance(step, asyncio.Event):
                    await step.wait()
                    continue
                chunk = step if isinstance(step, Chunk) else Chunk(step)
                is_over = chunk.finish_reason is not None
                yield chunk
            if not is_over:
                is_over = True
                yield Chunk(finish_reason="stop")
        finally:
            self.cancelled += not is_over

    def missing(self) -> Missing | None:
        return self._missing

    def refuses(self, prompt: Prompt) -> str | None:
        return None

    async def context_chars(self, prompt: Prompt) -> int | None:
        return self._window

    async def info(self) -> TierInfo:
        return TierInfo(self.backend, self.mode, self._missing is None, model=f"scripted-{self.backend}")

    async def aclose(self) -> None:
        return
