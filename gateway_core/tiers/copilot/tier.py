"""Asking Copilot: the right token, host, model and path, and what can be mended when one of them is wrong.

    token (sources)  →  host and bearer (account)  →  model (list)  →  path (/responses or /chat/completions)

Each is looked up once and kept. When the service says that one has changed, it is looked up again and the failure
is raised with `again=True`; what cannot be mended goes to the next tier.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ...clock import Clock
from ...errors import GatewayError, QuotaUsedUp, TierFailed, TierUnavailable, Unauthorized
from ...secrets import account_salt, fingerprint, identity_of, origin_of
from ...settings import Settings, is_loopback
from ...types import Chunk, Prompt, Reason
from ..base import Call, Missing, TierDefaults, TierInfo
from ..complaints import CHARS_PER_TOKEN, ONE_DAY, Complaint, Kind, complaint_of, failure_from, failure_in_stream
from ..http import Http, Reply, open_stream, retry_after
from ..lessons import Lessons, choose_instead
from ..openai_wire import Flavour, as_bytes, chat_body, droppable, read_chat
from .account import CURES, Accounts, Bearer, quota_wait
from .catalogue import Catalogue, list_of_models
from .courtesy import Courtesy
from .headers import Extras, Headers
from .in_the_way import in_the_way, is_in_the_way
from .models import PREFERRED, RESPONSES, Endpoints, Model, choose
from .responses_wire import not_taken, read_responses, responses_body
from .tokens import Token, TokenSources

log = logging.getLogger("ai_gateway")

BACKEND = "copilot"
SHORT_WAIT = 2.0
FLAVOUR = Flavour(max_tokens_field="max_completion_tokens", keep_alive=("keep-alive",))


@dataclass(frozen=True, slots=True)
class _Way:
    """How one request goes out."""

    token: Token
    bearer: Bearer
    extras: Extras
    asked: str
    model: str
    row: Model | None
    path: str


class CopilotTier(TierDefaults):
    """Answers by the user's Copilot seat."""

    backend = BACKEND
    mode = BACKEND
    leaves_laptop = True  # also on loopback: only a simulator stands there, and `local_only` fails closed
    can_prefill = False
    can_continue = True
    needs_documents = False
    is_model = True

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        http: Http,
        *,
        sources: TokenSources | None = None,
        salt: Callable[[], bytes] | None = None,
        patience: float = 10.0,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._http = http
        self._client = http.client()
        self._salt_of = salt or (lambda: account_salt(settings.ai_gateway_store, settings.ai_gateway_state_dir))
        self._salt: bytes | None = None
        self._identities: dict[Token, str | None] = {}
        self._sources = sources or TokenSources(settings, clock)
        self._accounts = Accounts(settings, clock, http, self._client)
        self._courtesy = Courtesy(
            clock, in_flight=settings.copilot_max_in_flight, a_minute=settings.copilot_max_rpm, patience=patience
        )
        self._endpoints = Endpoints()
        self._lessons = Lessons(BACKEND)
        self._catalogue = Catalogue(settings.ai_gateway_state_dir, clock)
        self._headers = Headers(settings.copilot_integration_id, http.user_agent)
        self._has_worked = False

    # Known without asking anybody

    @property
    def identity(self) -> str | None:
        token = self._sources.current
        if token is None:
            return None
        if token not in self._identities:
            self._identities = {token: identity_of(BACKEND, self._accounts.origin, token.secret, self._the_salt())}
        return self._identities[token]

    @property
    def address(self) -> tuple[str, int] | None:
        token = self._sources.current
        account = self._accounts.known(token) if token else None
        pinned = self._settings.copilot_api_base
        return self._http.address_of(pinned or (account.api if account else self._accounts.origin))

    def missing(self) -> Missing | None:
        if self._sources.current is None:
            return Missing(*self._sources.problem)
        origin = self._accounts.origin
        if origin.startswith("http://") and not is_loopback(origin):
            return Missing("a token is never sent over plain http", "use https for COPILOT_API_BASE")
        return None

    def refuses(self, prompt: Prompt) -> str | None:
        return None

    async def prepare(self) -> None:
        """Find the token, where that takes a file or a program; cheap when it is known."""
        await self._sources.look()
        if self._salt is None:
            self._salt = await asyncio.to_thread(self._salt_of)

    async def context_chars(self, prompt: Prompt) -> int | None:
        asked = prompt.model or self._settings.copilot_model
        row = self._catalogue.row(self._lessons.model_for(asked)) if asked else choose(self._catalogue.models)
        return row.prompt_tokens * CHARS_PER_TOKEN if row and row.prompt_tokens else None

    def forget(self) -> None:
        """After a reset: refused tokens may be tried again, and as they are."""
        self._sources.forget()
        self._accounts.forget_refusals()

    def forget_login(self) -> None:
        self._sources.forget_saved()
        self._accounts.forget()
        self._identities.clear()
        self._catalogue.forget()

    async def quota_is_back(self) -> bool:
        """A free look whether used-up credits have come back before their date."""
        token = self._sources.current
        try:
            account = await self._accounts.credits(token, fresh_for=0.0) if token else None
        except TierFailed:
            return False
        return account is not None and (account.is_unlimited or (account.credits or 0.0) > 0)

    async def aclose(self) -> None:
        await self._sources.aclose()
        await self._catalogue.aclose()
        await self._accounts.aclose()
        await self._client.aclose()

    # Asking

    async def stream(self, prompt: Prompt, call: Call) -> AsyncGenerator[Chunk, None]:
        token = self._sources.current or await self._sources.look()
        if token is None:
            why, cure = self._sources.problem
            raise TierUnavailable(BACKEND, why, cure=cure)
        exchanged = self._accounts.exchanges(token)
        try:
            bearer = await self._accounts.bearer(token)
            way = await self._way(prompt, token, bearer)
        except Unauthorized as failure:
            may_exchange = failure.reason is Reason.UNAUTHORIZED and not exchanged
            failure.again = await self._has_another(token, may_exchange=may_exchange)
            raise
        call.asked.model = way.model
        body, notes = self._request(prompt, way)
        async with self._courtesy.place(call.until_text):
            request = self._client.build_request(
                "POST",
                f"{bearer.api}{way.path}",
                content=as_bytes(body),
                headers={**self._headers.of(bearer, way.extras), "accept": "text/event-stream"},
            )
            async with open_stream(self._client, request, call, tier=BACKEND) as reply:
                if reply.status >= 400:
                    raise await self._failure(reply, way, body, prompt, call)
                self._endpoints.worked(way.model, way.path)
                self._has_worked = True
                chunks = (
                    read_responses(reply, BACKEND, self._as_failure)
                    if way.path == RESPONSES
                    else read_chat(reply, BACKEND, FLAVOUR, self._as_failure)
                )
                async with aclosing(chunks):
                    async for chunk in chunks:
                        if notes:
                            chunk, notes = replace(chunk, note="; ".join(notes)), []
                        yield chunk

    async def _way(self, prompt: Prompt, token: Token, bearer: Bearer) -> _Way:
        """Model and path; a list of models is waited for only when there is nothing to go by."""
        asked = prompt.model or self._settings.copilot_model or "auto"
        rows: tuple[Model, ...] = ()
        try:
            rows = await self._models(token, bearer, wait=asked == "auto")
        except TierFailed as failure:
            if failure.effect == "waits":
                raise
            log.debug("copilot: the list of models cannot be read: %s", failure.reason)
        if asked == "auto":
            chosen = choose(rows)
            model = asked = chosen.id if chosen else PREFERRED[0]
            model = self._lessons.model_for(model)
        else:
            model = self._lessons.model_for(asked)
            if rows and self._catalogue.row(model) is None:
                model = await self._substitute(asked, token, bearer) or model
        row = self._catalogue.row(model)
        extras = self._headers.extras(token, bearer)
        return _Way(token, bearer, extras, asked, model, row, self._endpoints.of(model, row))

    def _request(self, prompt: Prompt, way: _Way) -> tuple[dict[str, Any], list[str]]:
        without = self._lessons.refused_by(way.model)
        notes = self._lessons.notes(way.asked, way.model, prompt)
        if way.path != RESPONSES:
            body = chat_body(prompt, way.model, FLAVOUR, without=without)
            if way.row and way.row.efforts is not None and body.get("reasoning_effort") not in way.row.efforts:
                body.pop("reasoning_effort", None)
            return body, notes
        ignored = [name for name in not_taken(prompt) if name not in without]
        notes += [f"{BACKEND}: {way.model} takes no {name}" for name in ignored]
        efforts = way.row.efforts if way.row else None
        return responses_body(prompt, way.model, efforts=efforts, without=without), notes

    def _the_salt(self) -> bytes:
        if self._salt is None:
            self._salt = self._salt_of()
        return self._salt

    # The list of models

    async def _models(self, token: Token, bearer: Bearer, *, wait: bool) -> tuple[Model, ...]:
        return await self._catalogue.read(self._key(token, bearer), lambda: self._list(token, bearer), wait=wait)

    def _key(self, token: Token, bearer: Bearer) -> str:
        """Whose list: it depends on the integration id, too."""
        integration = self._headers.extras(token, bearer).integration or ""
        return f"{origin_of(bearer.api)}|{fingerprint(token.secret, self._the_salt())}|{integration}"

    async def _list(self, token: Token, bearer: Bearer) -> Any:
        headers = self._headers.of(bearer, self._headers.extras(token, bearer))
        return await list_of_models(self._client, bearer.api, headers, BACKEND)

    async def _substitute(self, gone: str, token: Token, bearer: Bearer) -> str | None:
        """A live model for one that is not on the list, or was refused though it is."""
        try:
            rows = await self._catalogue.anew(self._key(token, bearer), lambda: self._list(token, bearer))
        except TierFailed:
            return None
        default = choose(rows)
        preferred = ((default.id,) if default else ()) + PREFERRED
        instead = choose_instead(gone, [row.id for row in rows], preferred)
        if instead is not None:
            self._lessons.replace(gone, instead)
        return instead

    # Failures, and what can be mended

    def _as_failure(self, complaint: Complaint) -> GatewayError:
        return failure_in_stream(BACKEND, complaint, CURES)

    async def _failure(
        self, reply: Reply, way: _Way, body: Mapping[str, Any], prompt: Prompt, call: Call
    ) -> GatewayError:
        wall = self._clock.wall()
        text = await reply.error_text()
        complaint = complaint_of(reply.status, text, retry_after(reply.headers, wall))
        if is_in_the_way(reply, complaint, way.bearer.api):
            return in_the_way(BACKEND, reply.status)
        failure = failure_from(BACKEND, complaint, CURES, prompt=prompt, billed=reply.status >= 500)
        if isinstance(failure, QuotaUsedUp):
            return await self._used_up(reply, complaint, way.token)
        mend = self._mending.get(complaint.kind)
        try:
            mended = mend is not None and await mend(self, complaint, way, body, prompt, call)
        except TierFailed as other:
            log.debug("copilot: cannot be mended: %s", other.reason)
            mended = False
        if mended and isinstance(failure, TierFailed):
            failure.again = True
        elif mended:
            return TierUnavailable(
                BACKEND,
                f"a parameter was refused ({complaint.label})",
                reason=Reason.PARAMETER_REFUSED,
                again=True,
            )
        return failure

    async def _used_up(self, reply: Reply, complaint: Complaint, token: Token) -> QuotaUsedUp:
        """Until the moment that the reply or the account names; else it is asked again after an hour."""
        wall = self._clock.wall()
        wait = retry_after(reply.headers, wall, most=366 * ONE_DAY)
        wait = wait or quota_wait(self._accounts.known(token), wall)
        if not wait:  # what is known may be of the time before the last reset
            with suppress(TierFailed):
                wait = quota_wait(await self._accounts.credits(token), wall)
        back = f", back on {datetime.fromtimestamp(wall + wait, UTC).date()}" if wait else ""
        return QuotaUsedUp(BACKEND, f"its credits are used up{back} ({complaint.label})", wait=wait, cure=CURES.quota)

    async def _mend_key(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        if await self._accounts.refreshed(way.token, way.bearer):
            return True
        return await self._has_another(way.token, may_exchange=not way.bearer.is_exchanged)

    async def _has_another(self, token: Token, *, may_exchange: bool = False) -> bool:
        """Another token in the place of one that was refused, or the same one in another form."""
        if await self._sources.renewed(token):
            return True
        if may_exchange and self._accounts.exchange_instead(token):
            return True
        return await self._sources.pass_over(token)

    async def _mend_host(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        return await self._accounts.moved(way.token, way.bearer)

    async def _mend_access(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        with suppress(TierFailed):  # a seat that was served before may have moved; else it is the account's
            if self._has_worked and await self._accounts.moved(way.token, way.bearer):
                return True
        return await self._has_another(way.token)

    async def _mend_integration(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        return self._headers.add_integration(way.extras) or await self._sources.pass_over(way.token)

    async def _mend_editor(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        if self._headers.add_editor(way.extras):
            return True
        log.warning("copilot: it misses a header that was sent; please report this as a fault of the gateway")
        return False

    async def _mend_path(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        return self._endpoints.refused(way.model, way.path)

    async def _mend_model(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        return await self._substitute(way.model, way.token, way.bearer) is not None

    async def _mend_fields(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        name = droppable(c, body, outspoken=c.kind is Kind.PARAMETER) if c.status in (400, 422) else None
        if name is not None:
            self._lessons.takes_no(way.model, name)
        return name is not None

    async def _mend_context(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        return prompt.refit is not None  # the router sends less

    async def _mend_rate(self, c: Complaint, way: _Way, body: Any, prompt: Prompt, call: Call) -> bool:
        if c.wait is None or c.wait > SHORT_WAIT or c.wait >= call.deadline.remaining():
            return False
        await asyncio.sleep(c.wait)
        return True

    _mending: Mapping[
        Kind, Callable[[CopilotTier, Complaint, _Way, Mapping[str, Any], Prompt, Call], Awaitable[bool]]
    ] = {
        Kind.KEY: _mend_key,
        Kind.HOST: _mend_host,
        Kind.FORBIDDEN: _mend_access,
        Kind.TOKEN_KIND: _mend_integration,
        Kind.EDITOR: _mend_editor,
        Kind.ENDPOINT: _mend_path,
        Kind.MODEL: _mend_model,
        Kind.PARAMETER: _mend_fields,
        Kind.CONTENT: _mend_fields,
        Kind.CONTEXT: _mend_context,
        Kind.RATE: _mend_rate,
    }

    # For status

    async def info(self) -> TierInfo:
        token = await self._sources.look()
        account = bearer = None
        may_ask = not self._settings.local_only or not self.leaves_laptop
        if token is not None and may_ask and self.missing() is None:
            try:
                account = await self._accounts.credits(token)
                bearer = await self._accounts.bearer(token)
                await self._models(token, bearer, wait=True)
            except TierFailed as failure:
                log.debug("copilot: status is not complete: %s", failure.reason)
        missing = self.missing()
        rows = self._catalogue.models if token else ()
        chosen = self._settings.copilot_model
        default = choose(rows)
        asked = chosen if chosen and chosen != "auto" else default.id if default else None
        notes = [note for note in (self._http.proxy_note(self._accounts.origin),) if note]
        notes += [f"the model {gone} is gone; using {live}" for gone, live in self._lessons.replaced.items()]
        notes += [f"the token of {source} ({hint}) was refused" for source, hint in self._sources.refused.items()]
        details: dict[str, Any] = {}
        if token is not None:
            details |= {"source": token.source, "token": token.secret.hint}
            details["auth"] = "exchange" if self._accounts.exchanges(token) else "direct"
        if account is not None:
            details |= {"login": account.login, "plan": account.plan, "is_unlimited": account.is_unlimited}
            details |= {"credits_left": account.credits, "credits_total": account.entitlement}
            if account.resets_at is not None:
                details["resets_on"] = datetime.fromtimestamp(account.resets_at, UTC).date().isoformat()
        return TierInfo(
            backend=BACKEND,
            mode=self.mode,
            configured=missing is None,
            model=self._lessons.model_for(asked) if asked else None,
            models=tuple(row.id for row in rows),
            endpoint=bearer.api if bearer else self._settings.copilot_api_base,
            notes=tuple(notes),
            cure=missing.cure if missing else "",
            details=details,
        )


def build_copilot(settings: Settings, clock: Clock, http: Http) -> CopilotTier:
    """The Copilot tier that the settings describe, with a token or without."""
    return CopilotTier(settings, clock, http)
