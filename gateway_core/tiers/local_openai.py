"""Another local server that speaks chat completions: llama-server, LM Studio, vLLM, Jan and their like.

Its address is `LOCAL_BASE_URL`, or the latest one that the user confirmed after it had been found on this laptop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from ..clock import Clock
from ..errors import TierFailed, TierUnavailable, TierUnreachable
from ..secrets import Secret
from ..settings import is_loopback
from ..types import Chunk, Prompt, Reason
from . import local_models, local_servers
from .base import Call, Missing, TierDefaults, TierInfo
from .complaints import Cures
from .http import Http
from .local_chat import GENERIC, LLAMA_CPP, TIER, Server, exchange, itself
from .local_queue import LocalQueue
from .parts import WITHOUT_PICTURES, has_pictures
from .token_estimate import fitting_chars

MODE = "openai_compatible"
LOOKS_LAST = 20.0
LOOK_WITHIN = 2.0
SILENT_FOR = 1.0  # after a look in vain, the next part of the same request need not wait as well
AT_ONCE = 2

START = "Start the local server, or correct LOCAL_BASE_URL."


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    base_url: str
    listing: local_servers.Listing


class LocalOpenAITier(TierDefaults):
    """Answers by the model that a local server has loaded, or by the one named in `LOCAL_MODEL`."""

    backend = "local"
    mode = MODE
    identity: str | None = None
    can_continue = True
    needs_documents = False
    is_model = True

    def __init__(
        self,
        http: Http,
        clock: Clock,
        *,
        base_url: str | None = None,
        model: str | None = None,
        key: Secret | None = None,
        state_dir: Path | None = None,
        leaves_laptop: bool | None = None,
        look_within: float = LOOK_WITHIN,
    ) -> None:
        self._http = http
        self._clock = clock
        self._set_url = base_url.rstrip("/") if base_url else None
        self._configured = model
        self._key = key
        self._state_dir = state_dir
        self.leaves_laptop = (
            leaves_laptop if leaves_laptop is not None else bool(base_url) and not is_loopback(base_url or "")
        )
        self._client = http.client()
        self._look_within = look_within
        self._queue = LocalQueue(AT_ONCE)
        self._look: _Look | None = None
        self._looking = asyncio.Lock()
        self._silent_at = -math.inf

    # The contract

    @property
    def base_url(self) -> str | None:
        if self._set_url or self._state_dir is None:
            return self._set_url
        return next(iter(local_servers.confirmed(self._state_dir)), None)

    @property
    def address(self) -> tuple[str, int] | None:
        base_url = self.base_url
        return self._http.address_of(base_url) if base_url else None

    @property
    def can_prefill(self) -> bool:
        """llama.cpp carries on an assistant's turn; the others begin a new one."""
        return self._look is not None and self._look.listing.is_llama_cpp

    def missing(self) -> Missing | None:
        if self.base_url is not None:
            return None
        return Missing(
            "no other local server is set up", 'set LOCAL_BASE_URL, or see what runs here: "ai-gateway local list"'
        )

    def refuses(self, prompt: Prompt) -> str | None:
        return None

    async def context_chars(self, prompt: Prompt) -> int | None:
        try:
            look = await self._looked(self._look_within)
            window = look.listing.window(self._model(look, prompt)[0])
        except TierFailed:
            return None  # why it cannot be asked is told when it is asked
        return fitting_chars(prompt, window) if window else None

    async def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
        look = await self._looked(call.connect_timeout)
        model, notes = self._model(look, prompt)
        if look.listing.is_blind(model) and has_pictures(prompt):
            told = f"{model} cannot look at pictures"
            raise TierUnavailable(TIER, told, reason=Reason.UNSUPPORTED, cure=WITHOUT_PICTURES)
        server = Server(
            look.base_url,
            model,
            LLAMA_CPP if look.listing.is_llama_cpp else GENERIC,
            self._the_key(),
            look.listing.window(model),
            Cures(key="Set LOCAL_API_KEY.", model=f"Load {model} there, or set LOCAL_MODEL.", address=START),
        )
        async with self._queue.turn(TIER, call.in_line) as before:
            call.sent()  # a cold model loads before its first word; standing in line is no fault of its own
            notes += [f"waited for {before} other questions"] if before else []
            try:
                async with aclosing(exchange(self._client, server, prompt, call)) as chunks:
                    async for chunk in chunks:
                        yield replace(chunk, note="; ".join(notes)) if notes else chunk
                        notes = []
            except TierFailed as failed:
                self._look = None
                if failed.reason is Reason.CONNECT_REFUSED:
                    failed.cure = START
                raise

    async def info(self) -> TierInfo:
        shown = TierInfo(self.backend, self.mode, configured=False, endpoint=self.base_url)
        missing = self.missing()
        if missing is not None:
            return replace(shown, cure=missing.cure)
        try:
            look = await self._looked(self._look_within, afresh=True)
            model, notes = self._model(look, Prompt(()))
        except TierFailed as failed:
            return replace(shown, notes=(failed.detail,), cure=failed.cure)
        return replace(
            shown,
            configured=True,
            model=model,
            models=look.listing.names,
            notes=tuple(notes),
            details={"is_llama_cpp": look.listing.is_llama_cpp, "waiting": self._queue.waiting},
        )

    def forget(self) -> None:
        """Look anew."""
        self._look, self._silent_at = None, -math.inf

    async def aclose(self) -> None:
        await self._client.aclose()

    # What is there

    def _the_key(self) -> Secret | None:
        """The key belongs to `LOCAL_BASE_URL`; a server that was merely found does not get it."""
        return self._key if self._set_url is not None else None

    def _model(self, look: _Look, prompt: Prompt) -> tuple[str, list[str]]:
        """Which model, and what the user did not expect about it."""
        names = look.listing.names
        wanted = [name for name in (prompt.model, self._configured) if name]
        notes: list[str] = []
        for name in wanted:
            if local_models.named_like_cloud(name):
                refused = local_models.refused_as_cloud(name)
                raise TierUnavailable(TIER, refused.detail, reason=refused.reason, cure=refused.cure)
            if name in names:
                return name, [f"{note}; {name} answers instead" for note in notes]
            notes.append(f"{name} is not loaded there")
        if not names:
            raise TierUnavailable(
                TIER,
                f"the server at {look.base_url} has no model that can chat",
                reason=Reason.MODEL_MISSING,
                cure="Load a model there.",
            )
        return names[0], [f"{note}; {names[0]} answers instead" for note in notes]

    async def _looked(self, within: float, *, afresh: bool = False) -> _Look:
        base_url = self.base_url
        if base_url is None:
            missing = self.missing()
            raise TierUnavailable(TIER, missing.why if missing else "", cure=missing.cure if missing else "")
        if not afresh and (look := self._recent_look(base_url)):
            return look
        if not afresh and 0 <= self._clock.span() - self._silent_at < SILENT_FOR:
            raise self._silent(base_url)
        try:
            async with asyncio.timeout(within), self._looking:
                if not afresh and (look := self._recent_look(base_url)):
                    return look  # somebody else has just looked
                listing = await local_servers.list_models(self._client, base_url, self._the_key())
        except TimeoutError:
            self._silent_at = self._clock.span()
            raise self._silent(base_url) from None
        except TierFailed as failed:
            if failed.reason is Reason.CONNECT_REFUSED:
                raise TierUnreachable(TIER, f"nothing listens at {base_url}", cure=START) from None
            raise
        if listing is None:
            raise TierUnavailable(
                TIER,
                f"what answers at {base_url} is not an OpenAI-compatible server",
                reason=Reason.BAD_PAYLOAD,
                cure="Correct LOCAL_BASE_URL; most such addresses end in /v1.",
            )
        if local_models.are_of_a_gateway(listing.names):
            raise itself(base_url, "LOCAL_BASE_URL")
        self._look = _Look(self._clock.span(), base_url, listing)
        return self._look

    def _silent(self, base_url: str) -> TierUnreachable:
        return TierUnreachable(TIER, f"no answer from {base_url}", reason=Reason.CONNECT_TIMEOUT, cure=START)

    def _recent_look(self, base_url: str) -> _Look | None:
        look = self._look
        if look is None or look.base_url != base_url or not 0 <= self._clock.span() - look.at < LOOKS_LAST:
            return None
        return look
