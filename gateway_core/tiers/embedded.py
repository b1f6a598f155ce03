"""The local rung that needs no other program: llama.cpp in a child process, with a model file of our own folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ..errors import TierBroken, TierFailed, TierUnavailable
from ..extras import how_to_add
from ..local_engine.model_file import context_length, models_in
from ..local_engine.process import EngineConfig, EngineFailed, EngineProcess
from ..secrets import Secret
from ..types import Chunk, Prompt, Reason
from . import local_models
from .base import Call, Missing, TierDefaults, TierInfo
from .http import Http
from .local_chat import LLAMA_CPP, TIER, Server, exchange
from .local_queue import LocalQueue
from .parts import NO_PICTURES, others_in
from .token_estimate import fitting_chars

MODE = "embedded"
DIES_WITHIN = 1.0

# Nothing about these changes when the same model is tried again.
_UNAVAILABLE = frozenset({Reason.NOT_CONFIGURED, Reason.MODEL_MISSING, Reason.UNSUPPORTED})
_SIGNS_OF_DEATH = frozenset({Reason.CONNECT_REFUSED, Reason.RESET, Reason.PROTOCOL, Reason.TRUNCATED})

INSTALL = 'fetch a model file by "ai-gateway local install", or name one (.gguf) by LOCAL_MODEL'


class EmbeddedTier(TierDefaults):
    """Answers by `model_file`, or else by the file of `models_dir` that is asked for by name, or else by the newest.

    The engine starts at the first question.
    """

    backend = "local"
    mode = MODE
    identity: str | None = None
    leaves_laptop = False
    can_prefill = True
    can_continue = True
    needs_documents = False
    is_model = True
    address: tuple[str, int] | None = None

    def __init__(
        self,
        http: Http,
        *,
        models_dir: Path | None = None,
        model_file: Path | None = None,
        model: str | None = None,
        threads: int | None = None,
        total_memory: Callable[[], int | None] = local_models.total_memory,
    ) -> None:
        self._models_dir = models_dir
        self._model_file = model_file
        self._configured = model
        self._threads = threads
        self._total_memory = total_memory
        self._client = http.client()
        self._queue = LocalQueue()
        self.engine: EngineProcess | None = None
        self._windows: dict[Path, int] = {}

    # The contract

    def missing(self) -> Missing | None:
        if find_spec("xllamacpp") is None:
            return Missing("the embedded engine is not installed", how_to_add("local"))
        if self._model_file is not None and not self._model_file.is_file():
            told = f"the model file {self._model_file.name} does not exist"
            return Missing(told, "Correct LOCAL_MODEL.", reason=Reason.MODEL_MISSING)
        if self._file() is None:
            return Missing("no model file is installed", INSTALL, reason=Reason.MODEL_MISSING)
        return None

    def refuses(self, prompt: Prompt) -> str | None:
        """A model file holds no eyes or ears: those are files of their own, which are not fetched."""
        for kind, _ in others_in(prompt):
            return NO_PICTURES if kind == "image_url" else f"it cannot take {kind}"
        return None

    async def context_chars(self, prompt: Prompt) -> int | None:
        file = self._file(prompt.model)
        return fitting_chars(prompt, self._window(file)) if file else None

    async def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
        missing, file = self.missing(), self._file(prompt.model)
        if missing is not None or file is None:
            why = missing or Missing("no model file is installed", INSTALL, Reason.MODEL_MISSING)
            raise TierUnavailable(TIER, why.why, reason=why.reason, cure=why.cure)
        async with self._queue.turn(TIER, call.in_line) as before:
            call.sent()  # a cold model loads before its first word; standing in line is no fault of its own
            notes = self._substitution(prompt, file) + ([f"waited for {before} other questions"] if before else [])
            engine = await self._engine_for(file)
            was_running = engine.is_alive
            server = await self._server(engine, file)
            has_begun = False
            try:
                async with aclosing(exchange(self._client, server, prompt, call)) as chunks:
                    async for chunk in chunks:
                        has_begun = True
                        yield replace(chunk, note="; ".join(notes)) if notes else chunk
                        notes = []
            except TierFailed as failed:
                raise await self._told(failed, engine, died_before=was_running and not has_begun) from None

    async def info(self) -> TierInfo:
        shown = TierInfo(self.backend, self.mode, configured=False)
        missing, file = self.missing(), self._file()
        if missing is not None or file is None:
            return replace(shown, cure=missing.cure) if missing else shown
        return replace(
            shown,
            configured=True,
            model=file.stem,
            models=tuple(path.stem for path in models_in(self._models_dir)) if self._models_dir else (file.stem,),
            details={"is_running": self.engine is not None and self.engine.is_alive, "waiting": self._queue.waiting},
        )

    async def warm(self) -> bool:
        """Have the engine running with the model loaded; true when it is. Never raises a `TierFailed`."""
        file = self._file()
        if self.missing() is not None or file is None:
            return False
        try:
            await self._server(await self._engine_for(file), file)
        except TierFailed:
            return False
        return True

    async def aclose(self) -> None:
        await self._client.aclose()
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)

    # The engine

    def _file(self, wanted: str | None = None) -> Path | None:
        if self._model_file is not None or self._models_dir is None:
            return self._model_file
        files = models_in(self._models_dir)
        by_name = {path.stem.lower(): path for path in reversed(files)}
        asked = [by_name[name.lower()] for name in (wanted, self._configured) if name and name.lower() in by_name]
        return next(iter([*asked, *files]), None)

    def _substitution(self, prompt: Prompt, file: Path) -> list[str]:
        """A word about a model that was asked for by name and is not there."""
        wanted = prompt.model or (self._configured if self._model_file is None else None)
        if wanted is None or wanted.lower() == file.stem.lower():
            return []
        return [f"{wanted} is not installed; {file.stem} answers instead"]

    def _window(self, file: Path) -> int:
        if file not in self._windows:
            self._windows[file] = local_models.window(context_length(file), self._total_memory())
        return self._windows[file]

    async def _engine_for(self, file: Path) -> EngineProcess:
        """The engine for this file; a newer file replaces the engine of an older one."""
        if self.engine is not None and self.engine.config.model != file:
            old, self.engine = self.engine, None
            await asyncio.to_thread(old.stop)
        if self.engine is None:
            self.engine = EngineProcess(EngineConfig(file, self._window(file), self._threads))
        return self.engine

    async def _server(self, engine: EngineProcess, file: Path) -> Server:
        try:
            running = await engine.running()
        except EngineFailed as failed:
            kind = TierUnavailable if failed.reason in _UNAVAILABLE else TierBroken
            raise kind(TIER, failed.detail, reason=failed.reason, cure=failed.cure) from None
        return Server(
            f"{running.address}/v1",
            file.stem,
            LLAMA_CPP,
            Secret(running.api_key),
            self._window(file),
        )

    async def _told(self, failed: TierFailed, engine: EngineProcess, *, died_before: bool) -> TierFailed:
        """The failure, told by the way the engine ended if it did.

        `died_before`: it may have been dead already when the question came; a fresh one is worth asking.
        """
        if failed.reason not in _SIGNS_OF_DEATH or not await engine.has_ended(DIES_WITHIN):
            return failed
        reason, detail, cure = await asyncio.to_thread(engine.why_it_ended)
        return TierBroken(
            TIER, f"{detail}; it starts anew with the next question", reason=reason, cure=cure, again=died_before
        )
