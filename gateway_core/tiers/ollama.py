"""The local rung that most laptops have: Ollama, by its own `/api/chat`.

Not by its OpenAI-compatible surface: there the window cannot be set, and an error in the middle of an answer is
swallowed. A local server has no circuit: being refused on loopback costs nothing, and it may be started any moment.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..clock import Clock
from ..errors import TierBroken, TierFailed, TierUnavailable, TierUnreachable
from ..settings import is_loopback
from ..types import Chunk, Prompt, Reason
from . import local_models
from .base import Call, Missing, TierDefaults, TierInfo
from .http import Http, Reply, open_stream
from .local_chat import itself
from .local_models import Choice, InstalledModel
from .local_queue import FRESH, LocalQueue
from .ollama_wire import TIER, ModelFacts, answer, chat_body, load_body, not_taken, refusal
from .openai_wire import as_bytes
from .parts import OTHER_PARTS, WITHOUT_PICTURES, has_pictures
from .token_estimate import estimated_tokens, fitting_chars, overflow
from .vectors import LONGEST_REPLY, Embedded, embedded_of

MODE = "ollama"
LOOKS_LAST = 20.0  # seconds for which the list of models is believed
UNFIT_FOR = 600.0  # seconds for which a model that did not fit into memory is not tried again
LOOK_WITHIN = 2.0
SILENT_FOR = 1.0  # after a look in vain, the next part of the same request need not wait as well
TRUNCATE_SINCE = (0, 12, 5)
SAFE_SINCE = (0, 17, 1)
LOOK_LIMIT = 8 * 1024 * 1024

START = "start Ollama (`ollama serve`), or install it from https://ollama.com"


@dataclass(frozen=True, slots=True)
class _Look:
    """What the server said about itself."""

    at: float
    models: tuple[InstalledModel, ...]
    version: str | None


class OllamaTier(TierDefaults):
    """Answers by the best model that Ollama has installed here, one question at a time."""

    backend = "local"
    mode = MODE
    identity: str | None = None
    can_prefill = True
    can_continue = True
    needs_documents = False
    is_model = True

    def __init__(
        self,
        http: Http,
        clock: Clock,
        *,
        base_url: str = "http://127.0.0.1:11434",
        model: str | None = None,
        leaves_laptop: bool | None = None,
        look_within: float = LOOK_WITHIN,
        total_memory: Callable[[], int | None] = local_models.total_memory,
        free_memory: Callable[[], int | None] = local_models.free_memory,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.address: tuple[str, int] | None = http.address_of(base_url)
        self.leaves_laptop = not is_loopback(base_url) if leaves_laptop is None else leaves_laptop
        self._configured = model
        self._clock = clock
        self._client = http.client()
        self._total_memory, self._free_memory = total_memory, free_memory
        self._look_within = look_within
        self._queue = LocalQueue()
        self._look: _Look | None = None
        self._looking = asyncio.Lock()
        self._silent_at = -math.inf
        self._choices: dict[tuple[object, ...], Choice] = {}
        self._facts: dict[tuple[str, str], ModelFacts] = {}
        self._unfit: dict[str, float] = {}

    # The contract

    async def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
        choice, model, facts = await self._ready(prompt, call.connect_timeout)
        self._check_against_old_server(prompt, facts.window)
        self._check_abilities(prompt, model, facts)
        async with self._queue.turn(TIER, call.in_line) as before:
            call.sent()  # a cold model loads before its first word; standing in line is no fault of its own
            notes = [*choice.notes, *([f"waited for {before} other questions"] if before else [])]
            has_text = False
            try:
                async with aclosing(self._exchange(prompt, call, model.name, facts.window)) as chunks:
                    async for chunk in chunks:
                        yield replace(chunk, note="; ".join(notes)) if notes else chunk
                        notes, has_text = [], has_text or bool(chunk.text)
            except TierFailed as failed:
                self._mend(failed, model)
                failed.again = failed.again and not has_text
                raise

    def missing(self) -> Missing | None:
        return None

    def refuses(self, prompt: Prompt) -> str | None:
        return not_taken(prompt)

    async def context_chars(self, prompt: Prompt) -> int | None:
        try:
            _, _, facts = await self._ready(prompt, self._look_within)
        except TierFailed:
            return None  # why it cannot be asked is told when it is asked
        return fitting_chars(prompt, facts.window)

    async def info(self) -> TierInfo:
        shown = TierInfo(self.backend, self.mode, configured=True, endpoint=self.base_url)
        try:
            look = await self._looked(self._look_within, afresh=True)
            loaded = await self._loaded()
        except TierFailed as failed:
            return replace(shown, configured=False, notes=(failed.detail,), cure=failed.cure)
        choice = self._choice(look, None)
        notes = [*choice.notes, *self._warnings(look)]
        if choice.model is None:
            notes.append(choice.detail)
        return replace(
            shown,
            configured=choice.model is not None,
            model=choice.model.name if choice.model else None,
            models=tuple(m.name for m in look.models if m.can_chat and not m.is_cloud),
            notes=tuple(notes),
            cure=choice.cure,
            details={"version": look.version, "loaded": loaded, "waiting": self._queue.waiting},
        )

    async def embedding_model(self, wanted: str | None) -> str | None:
        return local_models.embedding_model((await self._looked(self._look_within)).models, wanted)

    async def embed(
        self, texts: Sequence[str], model: str, call: Call, *, dimensions: int | None = None, truncate: bool = True
    ) -> Embedded:
        call.sent()
        body: dict[str, Any] = {"model": model, "input": list(texts), "truncate": truncate}
        if dimensions is not None:
            body["dimensions"] = dimensions
        found = await self._post("/api/embed", body)
        return await embedded_of(TIER, found.get("embeddings"), len(texts), found.get("prompt_eval_count"))

    async def warm(self) -> bool:
        """Have the model loaded before it is needed; true when it is. Never raises a `TierFailed`."""
        try:
            _, model, facts = await self._ready(None, self._look_within)
            await self._post("/api/chat", load_body(model.name, facts.window) | {"stream": False})
        except TierFailed:
            return False
        return True

    def forget(self) -> None:
        """Look anew, and try models again that did not fit."""
        self._look, self._silent_at = None, -math.inf
        self._unfit.clear()

    async def aclose(self) -> None:
        await self._client.aclose()

    # One exchange

    async def _exchange(self, prompt: Prompt, call: Call, model: str, window: int) -> AsyncGenerator[Chunk, None]:
        call.asked.model = model
        request = self._client.build_request(
            "POST",
            f"{self.base_url}/api/chat",
            content=as_bytes(chat_body(model, prompt, window)),
            headers={"content-type": "application/json", **FRESH},
        )
        async with open_stream(self._client, request, call, tier=TIER, billed=False, is_local=True) as reply:
            if reply.status != 200:
                raise refusal(reply.status, await reply.error_text(), prompt, window)
            async with aclosing(answer(reply.parts(), prompt, window)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _mend(self, failed: TierFailed, model: InstalledModel) -> None:
        """Leave a model that cannot run here aside; ask again when another installed one can take the question."""
        look = self._look
        if failed.reason is Reason.OUT_OF_MEMORY:
            self._unfit[model.name] = self._clock.span()
            failed.again = look is not None and local_models.smaller(look.models, model.name, self._unfit_now())
        elif failed.reason is Reason.MODEL_MISSING:
            self._unfit[model.name] = self._clock.span()
            failed.again = look is not None and self._choice(look, None).model is not None
            failed.cure = f"ollama pull {model.name}"
        elif failed.reason is Reason.CONNECT_REFUSED:
            failed.cure = START
        self._look = None

    def _check_against_old_server(self, prompt: Prompt, window: int) -> None:
        """Servers that do not know `truncate` would drop the beginning in silence: they get only what surely fits."""
        version = _version(self._look.version if self._look else None)
        if version and version < TRUNCATE_SINCE and estimated_tokens(prompt) > window:
            raise overflow(TIER, "", prompt, window)

    def _check_abilities(self, prompt: Prompt, model: InstalledModel, facts: ModelFacts) -> None:
        """Ollama leaves out in silence what a model cannot read."""
        why, cure = self.refuses(prompt), OTHER_PARTS
        if why is None and prompt.passthrough.get("tools") and facts.capabilities and not facts.can_call_tools:
            why, cure = f"{model.name} cannot call tools", ""
        if why is None and facts.is_blind and has_pictures(prompt):
            why, cure = f"{model.name} cannot look at pictures", WITHOUT_PICTURES
        if why is not None:
            raise TierUnavailable(TIER, why, reason=Reason.UNSUPPORTED, cure=cure)

    # What is there

    async def _ready(self, prompt: Prompt | None, within: float) -> tuple[Choice, InstalledModel, ModelFacts]:
        look = await self._looked(within)
        choice = self._choice(look, prompt.model if prompt else None)
        model = choice.model
        if model is None:
            self._look = None  # it may be pulled any moment
            raise TierUnavailable(TIER, choice.detail, reason=choice.reason, cure=choice.cure)
        try:
            facts = await self._facts_of(model)
            if facts.is_blind and prompt is not None and has_pictures(prompt):
                seeing = await self._seeing(look)
                if seeing is not None:
                    note = f"{model.name} cannot look at pictures; {seeing.name} answers instead"
                    choice, model = replace(choice, notes=(*choice.notes, note)), seeing
                    facts = await self._facts_of(seeing)
        except TierFailed as failed:
            self._mend(failed, model)
            raise
        return choice, model, facts

    async def _seeing(self, look: _Look) -> InstalledModel | None:
        """The best installed model that can look at pictures."""
        unfit, able = self._unfit_now(), list[InstalledModel]()
        for model in look.models:
            if not model.can_chat or model.is_cloud or model.name in unfit:
                continue
            try:
                known = model.capabilities or (await self._facts_of(model)).capabilities
            except TierFailed:
                continue
            if "vision" in known:
                able.append(model)
        return local_models.choose(able, free_memory=self._free_memory()).model

    def _choice(self, look: _Look, wanted: str | None) -> Choice:
        """Once made, a choice stays while the same models are there: free memory alone would make it flicker."""
        unfit = self._unfit_now()
        key = (look.models, wanted, frozenset(unfit))
        if key not in self._choices:
            self._choices = {k: c for k, c in self._choices.items() if k[0] == look.models}
            self._choices[key] = local_models.choose(
                look.models,
                wanted=wanted,
                configured=self._configured,
                unfit=unfit,
                free_memory=self._free_memory(),
                total_memory=self._total_memory(),
            )
        return self._choices[key]

    def _unfit_now(self) -> set[str]:
        now = self._clock.span()
        self._unfit = {name: at for name, at in self._unfit.items() if 0 <= now - at < UNFIT_FOR}
        return set(self._unfit)

    async def _looked(self, within: float, *, afresh: bool = False) -> _Look:
        if not afresh and (look := self._recent_look()):
            return look
        if not afresh and 0 <= self._clock.span() - self._silent_at < SILENT_FOR:
            raise self._silent()
        async with self._or_silent(within), self._looking:
            if not afresh and (look := self._recent_look()):
                return look  # somebody else has just looked
            tags = await self._get("/api/tags")
            version = await self._get("/api/version")
        models = tuple(filter(None, map(InstalledModel.from_tag, _objects(tags.get("models")))))
        if local_models.are_of_a_gateway(model.name for model in models):
            raise itself(self.base_url, "OLLAMA_BASE_URL")
        self._look = _Look(self._clock.span(), models, version.get("version"))
        return self._look

    @asynccontextmanager
    async def _or_silent(self, within: float) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(within):
                yield
        except TimeoutError:
            self._silent_at = self._clock.span()
            raise self._silent() from None

    def _silent(self) -> TierUnreachable:
        told = f"Ollama does not answer at {self.base_url}"
        return TierUnreachable(TIER, told, reason=Reason.CONNECT_TIMEOUT, cure="Restart Ollama.")

    def _recent_look(self) -> _Look | None:
        look = self._look
        return look if look is not None and 0 <= self._clock.span() - look.at < LOOKS_LAST else None

    async def _facts_of(self, model: InstalledModel) -> ModelFacts:
        """What is kept for good comes from a reply alone: a window guessed meanwhile would make Ollama load the model
        anew at each change, and a model that runs in a cloud would not be known as one."""
        key = (model.name, model.digest)
        if key not in self._facts:
            try:
                async with self._or_silent(self._look_within):
                    shown = await self._post("/api/show", {"model": model.name})
            except TierFailed as failed:
                if failed.reason is not Reason.UPSTREAM_ERROR:
                    raise
                shown = {}  # old or odd: the window alone is known
            if shown.get("remote_host") or shown.get("remote_model"):
                refused = local_models.refused_as_cloud(model.name)
                raise TierUnavailable(TIER, refused.detail, reason=refused.reason, cure=refused.cure)
            self._facts[key] = ModelFacts(
                local_models.window(_context_length(shown), self._total_memory()),
                tuple(map(str, shown.get("capabilities") or ())),
            )
        return self._facts[key]

    async def _loaded(self) -> list[dict[str, Any]]:
        """The models in memory, with the window each one really has."""
        try:
            async with asyncio.timeout(self._look_within):
                running = await self._get("/api/ps")
        except TimeoutError:
            return []
        return [
            {"model": entry.get("name"), "context": entry.get("context_length")}
            for entry in _objects(running.get("models"))
        ]

    def _warnings(self, look: _Look) -> list[str]:
        version = _version(look.version)
        found = []
        if version and version < SAFE_SINCE:
            found.append(f"Ollama {look.version} has known holes; update it to 0.17.1 or later")
        if not is_loopback(self.base_url):
            found.append(f"Ollama runs elsewhere on the network ({self.base_url}); it asks for no key")
        return found

    async def _get(self, path: str) -> Mapping[str, Any]:
        return await self._look_up("GET", path, None)

    async def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._look_up("POST", path, body)

    async def _look_up(self, method: str, path: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        request = self._client.build_request(method, self.base_url + path, json=body, headers=FRESH)
        try:
            async with open_stream(self._client, request, tier=TIER, is_local=True) as reply:
                return await self._object(reply, path)
        except TierUnreachable as failed:
            if failed.reason is Reason.CONNECT_REFUSED:
                raise TierUnreachable(TIER, f"Ollama is not running at {self.base_url}", cure=START) from None
            raise
        except TierBroken as failed:
            if failed.reason in (Reason.BAD_PAYLOAD, Reason.EMPTY_BODY, Reason.PROTOCOL):
                raise self._not_ollama() from None
            raise

    async def _object(self, reply: Reply, path: str) -> Mapping[str, Any]:
        if reply.status == 404 and path == "/api/tags":
            raise self._not_ollama()
        if reply.status != 200 and path == "/api/version":
            return {}  # servers that only speak like Ollama may not have it
        if reply.status != 200:
            raise refusal(reply.status, await reply.error_text(), _NOTHING, 0)
        found = await reply.json(LONGEST_REPLY if path == "/api/embed" else LOOK_LIMIT)
        if not isinstance(found, dict) or (path == "/api/tags" and "models" not in found):
            raise self._not_ollama()
        return found

    def _not_ollama(self) -> TierUnavailable:
        return TierUnavailable(
            TIER,
            f"another program answers at {self.base_url}, not Ollama",
            reason=Reason.BAD_PAYLOAD,
            cure="Stop that program, or set OLLAMA_BASE_URL to where Ollama listens.",
        )


_NOTHING = Prompt(())


def _objects(found: object) -> list[Mapping[str, Any]]:
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _context_length(shown: Mapping[str, Any]) -> int | None:
    facts = shown.get("model_info")
    if not isinstance(facts, dict):
        return None
    lengths = [v for k, v in facts.items() if k.endswith(".context_length") and isinstance(v, int) and v > 0]
    return min(lengths, default=None)


def _version(text: str | None) -> tuple[int, ...] | None:
    """`0.12.5-rc1` as numbers; `None` when it is none (`0.0.0` is a build of one's own)."""
    numbers = (text or "").partition("-")[0].split(".")
    if len(numbers) < 2 or not all(number.isdigit() for number in numbers):
        return None
    found = tuple(map(int, numbers))
    return found if any(found) else None
