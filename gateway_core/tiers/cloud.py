"""The second tier: any cloud that speaks chat completions.

What a refused request teaches (a model that is gone, a parameter that is not taken) is mended before the failure is
raised with `again=True`, and kept, so that it is learned once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from ..clock import Clock
from ..errors import GatewayError, RateLimited, TierBroken, TierFailed, TierUnavailable
from ..secrets import Secret, account_salt, identity_of
from ..settings import PROVIDER_KEYS, Settings, is_loopback
from ..types import Chunk, Message, Prompt, Reason
from .base import Call, Missing, TierDefaults, TierInfo
from .complaints import Complaint, Cures, Kind, complaint_of, failure_from, failure_in_stream
from .http import Client, Http, Reply, open_stream, portal, retry_after
from .lessons import Lessons, choose_instead
from .login_page import PAGES
from .openai_wire import as_bytes, chat_body, droppable, read_chat
from .providers import Provider, load_providers
from .vectors import CLOUD_MODELS, LONGEST_REPLY, Embedded, embedded_of

log = logging.getLogger("ai_gateway")

SHORT_WAIT = 2.0  # a rate limit that ends this soon is waited out, once
MODELS_FRESH = 3600.0
MODELS_RETRY = 60.0
SIDE_LIMIT = 5.0
RETIRED_SERVICES = ("models.github.ai", "models.inference.ai.azure.com")


class CloudTier(TierDefaults):
    """Answers from one cloud, by its key."""

    backend = "cloud"
    can_prefill = False
    can_continue = True
    needs_documents = False
    is_model = True

    def __init__(
        self,
        provider: Provider,
        http: Http,
        clock: Clock,
        *,
        base_url: str,
        model: str,
        key: Secret | None,
        salt: Callable[[], bytes],
        may_look_up: bool = True,
    ) -> None:
        self.mode = provider.name
        self.provider = provider
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.leaves_laptop = True  # also on loopback: a proxy there hands prompts on, and `local_only` fails closed
        self._http = http
        self._clock = clock
        self._key = key
        self._salt = salt
        self._may_look_up = may_look_up
        self._client: Client | None = None
        self._identity: str | None = None
        self._lessons = Lessons(self.backend)
        self._rows: tuple[Mapping[str, Any], ...] | None = None
        self._rows_at = -MODELS_FRESH
        self._rows_tried_at = -MODELS_FRESH
        self._rows_lock = asyncio.Lock()

    @property
    def identity(self) -> str | None:
        if self._identity is None and self.base_url:
            key = self._key or (Secret("") if self.provider.name == "custom" else None)
            self._identity = identity_of(self.backend, self.base_url, key, self._salt())
        return self._identity

    @property
    def address(self) -> tuple[str, int] | None:
        return self._http.address_of(self.base_url) if self.base_url else None

    def missing(self) -> Missing | None:
        found = self._lacks()
        return Missing(*found) if found else None

    def refuses(self, prompt: Prompt) -> str | None:
        return None

    async def context_chars(self, prompt: Prompt) -> int | None:
        return None

    async def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
        asked = prompt.model or self.model
        model = call.asked.model = self._lessons.model_for(asked)
        notes = self._lessons.notes(asked, model, prompt)
        body = chat_body(prompt, model, self.provider.flavour, without=self._lessons.refused_by(model))
        client = self._the_client()
        request = client.build_request(
            "POST",
            f"{self.base_url}/chat/completions",
            content=as_bytes(body),
            headers={**self._headers(), "content-type": "application/json", "accept": "text/event-stream"},
        )
        async with open_stream(client, request, call, tier=self.backend) as reply:
            if reply.status >= 400:
                raise await self._failure(reply, body, prompt, call)
            async with aclosing(read_chat(reply, self.backend, self.provider.flavour, self._as_failure)) as chunks:
                async for chunk in chunks:
                    if notes:
                        chunk, notes = replace(chunk, note="; ".join(notes)), []
                    yield chunk

    async def embedding_model(self, wanted: str | None) -> str | None:
        return wanted or CLOUD_MODELS.get(self.provider.name)

    async def embed(
        self, texts: Sequence[str], model: str, call: Call, *, dimensions: int | None = None, truncate: bool = True
    ) -> Embedded:
        client = self._the_client()
        body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        request = client.build_request(
            "POST",
            f"{self.base_url}/embeddings",
            content=as_bytes(body),
            headers={**self._headers(), "content-type": "application/json"},
        )
        async with open_stream(client, request, call, tier=self.backend) as reply:
            if reply.status >= 400:
                if (page := self._in_the_way(reply)) is not None:
                    raise page
                wait = retry_after(reply.headers, self._clock.wall())
                complaint = complaint_of(reply.status, await reply.error_text(), wait)
                asked = Prompt(tuple(Message("user", text) for text in texts))
                raise failure_from(self.backend, complaint, self._cures(), prompt=asked, billed=False)
            found = await reply.json(LONGEST_REPLY)
        rows = found.get("data") if isinstance(found, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            rows = []
        rows = sorted(rows, key=lambda row: row["index"] if isinstance(row.get("index"), int) else 0)
        used = found.get("usage") if isinstance(found, dict) else None
        tokens = used.get("prompt_tokens") if isinstance(used, dict) else None
        return await embedded_of(self.backend, [row.get("embedding") for row in rows], len(texts), tokens)

    def price_of(self, model: str | None) -> tuple[float, float] | None:
        """US dollars for a million tokens, read and written; of the configured model when none is named."""
        return self.provider.price_of(model or self.model or None)

    async def info(self) -> TierInfo:
        if self.missing() is None and self._may_look_up:
            try:
                await self._live_models(fresh_for=MODELS_FRESH)
            except TierFailed as failure:
                log.debug("cloud: the list of models cannot be read: %s", failure.reason)
        return self._told()

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    # What is said to people

    def _lacks(self) -> tuple[str, str] | None:
        """What is missing, and the cure."""
        name, host = self.provider.name, urlsplit(self.base_url).hostname or ""
        key_name = PROVIDER_KEYS.get(name, "cloud_api_key").upper()
        at_home = is_loopback(self.base_url) if self.base_url else False
        if not self.base_url:
            return "no address", "set CLOUD_BASE_URL"
        if host in RETIRED_SERVICES:
            return "GitHub Models ended on 30 July 2026", "choose another CLOUD_PROVIDER"
        if self._key is None and not (name == "custom" and at_home):
            return "no API key", f"set {key_name}"
        if self._key is not None and not self._key.can_be_sent:
            return f"{key_name} holds a character that no key has", "copy it once more"
        if self._key is not None and self.base_url.startswith("http://") and not at_home:
            return "a key is never sent over plain http", "use an https address"
        if not self.model:
            return "no model", "set CLOUD_MODEL"
        return None

    def _told(self) -> TierInfo:
        lacks = self._lacks()
        notes = [note for note in (self._http.proxy_note(self.base_url) if self.base_url else None,) if note]
        notes += [f"the model {gone} is gone; using {live}" for gone, live in self._lessons.replaced.items()]
        notes += self._retirement_notes()
        return TierInfo(
            backend=self.backend,
            mode=self.mode,
            configured=lacks is None,
            model=self._lessons.model_for(self.model) or None,
            models=tuple(self._ids()),
            endpoint=self.base_url or None,
            notes=tuple(notes),
            cure=lacks[1] if lacks else "",
            details={"provider": self.provider.name, "table_checked_on": self.provider.checked_on},
        )

    def _retirement_notes(self) -> list[str]:
        model = self._lessons.model_for(self.model)
        today = datetime.fromtimestamp(self._clock.wall()).date()
        for row in self._rows or ():
            if self._id_of(row) == model and isinstance(day := row.get("shutdown_date"), str):
                try:
                    left = (date.fromisoformat(day[:10]) - today).days
                except ValueError:
                    continue
                return [f"the model {model} is switched off on {day[:10]}" + (f", in {left} days" if left > 0 else "")]
        return []

    # Failures, and what can be mended

    def _as_failure(self, complaint: Complaint) -> GatewayError:
        return failure_in_stream(self.backend, complaint, self._cures())

    def _cures(self) -> Cures:
        key_name = PROVIDER_KEYS.get(self.provider.name, "cloud_api_key").upper()
        return Cures(
            key=f"check {key_name}",
            quota=f"add credit to the {self.provider.name} account",
            model=f"set CLOUD_MODEL to a model that {self.provider.name} serves",
            address="check CLOUD_BASE_URL",
        )

    def _in_the_way(self, reply: Reply) -> TierFailed | None:
        """A page of a network or proxy instead of a complaint: a provider refuses keys and requests in JSON."""
        if reply.content_type not in PAGES or reply.status >= 500 or reply.status in (402, 429):
            return None
        told = portal(self.backend)
        return TierBroken(self.backend, told.detail, reason=Reason.PORTAL, cure=told.cure)

    async def _failure(self, reply: Reply, body: Mapping[str, Any], prompt: Prompt, call: Call) -> GatewayError:
        if (page := self._in_the_way(reply)) is not None:
            return page
        wait = retry_after(reply.headers, self._clock.wall())
        complaint = complaint_of(reply.status, await reply.error_text(), wait)
        failure = failure_from(self.backend, complaint, self._cures(), prompt=prompt, billed=reply.status >= 500)
        mended = await self._mend(complaint, body, prompt, call)
        if mended and isinstance(failure, TierFailed):
            failure.again = True
        elif mended:
            return TierUnavailable(
                self.backend,
                f"a parameter was refused ({complaint.label})",
                reason=Reason.PARAMETER_REFUSED,
                again=True,
            )
        return failure

    async def _mend(self, complaint: Complaint, body: Mapping[str, Any], prompt: Prompt, call: Call) -> bool:
        """Do away with the cause, if that can be done; then the tier may be asked once more."""
        model = str(body["model"])
        if complaint.kind in (Kind.PARAMETER, Kind.CONTENT) and complaint.status in (400, 422):
            name = droppable(complaint, body, outspoken=complaint.kind is Kind.PARAMETER)
            if name is not None:
                self._lessons.takes_no(model, name)
            return name is not None
        if complaint.kind is Kind.CONTEXT:
            return prompt.refit is not None  # the router sends less
        if complaint.kind is Kind.MODEL:
            return await self._replace(model)
        if complaint.kind is Kind.RATE and complaint.wait is not None and complaint.wait <= SHORT_WAIT:
            if call.deadline.remaining() <= complaint.wait:
                return False
            await asyncio.sleep(complaint.wait)
            return True
        return False

    async def _replace(self, gone: str) -> bool:
        """Find a live model for one that is gone."""
        if not self.provider.lists_models:
            return False
        try:
            await self._live_models(fresh_for=MODELS_RETRY)
        except TierFailed:
            return False
        instead = choose_instead(gone, self._ids(), preferred=(self.provider.model,))
        if instead is None:
            return False
        self._lessons.replace(gone, instead)
        return True

    # Requests

    def _the_client(self) -> Client:
        if self._client is None:
            self._client = self._http.client()
        return self._client

    def _headers(self) -> dict[str, str]:
        if self._key is None:
            return {}
        if self.provider.auth == "bearer":
            return {"authorization": f"Bearer {self._key.reveal()}"}
        return {self.provider.auth: self._key.reveal()}

    async def _live_models(self, *, fresh_for: float) -> None:
        """Read `GET /models` (free), unless what is known is fresh enough or was just tried in vain."""
        async with self._rows_lock:
            now = self._clock.span()
            if not self.provider.lists_models or now - self._rows_at < fresh_for:
                return
            if self._rows_at < self._rows_tried_at and now - self._rows_tried_at < MODELS_RETRY:
                return
            self._rows_tried_at = now
            client = self._the_client()
            request = client.build_request("GET", f"{self.base_url}/models", headers=self._headers())
            try:
                async with asyncio.timeout(SIDE_LIMIT), open_stream(client, request, tier=self.backend) as reply:
                    if reply.status != 200:
                        raise RateLimited(self.backend, f"GET /models: {reply.status}")
                    found = await reply.json()
            except TimeoutError:
                raise RateLimited(self.backend, "GET /models: no answer") from None
            rows = found.get("data") if isinstance(found, dict) else found
            self._rows = tuple(row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
            self._rows_at = now

    def _id_of(self, row: Mapping[str, Any]) -> str:
        return str(row.get("id") or "").removeprefix(self.provider.id_prefix)

    def _ids(self) -> list[str]:
        return [name for row in self._rows or () if (name := self._id_of(row))]


def build_cloud(settings: Settings, clock: Clock, http: Http) -> CloudTier:
    """The cloud tier that the settings describe, configured or not."""
    provider = load_providers(settings.ai_gateway_state_dir)[settings.cloud_provider]
    base_url = settings.cloud_base_url or provider.base_url
    if provider.name == "openai" and settings.openai_base_url:
        base_url = settings.openai_base_url
    key = settings.cloud_key()
    return CloudTier(
        provider,
        http,
        clock,
        base_url=base_url,
        model=settings.cloud_model or provider.model,
        key=Secret.of(key),
        salt=lambda: account_salt(settings.ai_gateway_store, settings.ai_gateway_state_dir),
        may_look_up=not settings.local_only,
    )
