"""Who the token belongs to: the API host that serves the seat, the credits left, the bearer to send.

`GET /copilot_internal/user` costs nothing and names host, plan, credits and reset date. A token is used only with the
host that its own look-up named. Exchanging the token for a short-lived one, as editor plug-ins do, is off unless the
user switches it on; its life is measured by our own clock from the moment of arrival, because a laptop's calendar
may be wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ...clock import Clock
from ...errors import RateLimited, TierBroken, TierFailed, Unauthorized
from ...secrets import Secret
from ...settings import Settings, is_loopback
from ...types import Reason
from ..complaints import Complaint, Cures, Kind, complaint_of, failure_from, shown
from ..http import Client, Http, Reply, open_stream, retry_after
from .flight import Flights
from .in_the_way import in_the_way, is_in_the_way
from .tokens import Kind as TokenKind
from .tokens import Token

log = logging.getLogger("ai_gateway")

REST_VERSION = "2025-04-01"
GENERIC_HOST = "https://api.githubcopilot.com"
HOST_FRESH = 86_400.0
CREDITS_FRESH = 600.0
LOOK_LIMIT = 5.0
EXCHANGE_LIMIT = 15.0
RENEW_BEFORE = 300.0  # seconds before its end a short-lived bearer is renewed beside the running requests
WAIT_BEFORE = 30.0  # ... and when they wait for the new one
LONGEST_BACKOFF = 60.0
CURES = Cures(
    key='run "ai-gateway login" or "gh auth login"',
    key_kind='a fine-grained token needs the account permission "Copilot Requests" and the integration id '
    '"copilot-developer-cli": leave COPILOT_INTEGRATION_ID empty, or run "gh auth login"',
    access="let the account, or its organisation, allow Copilot (https://github.com/settings/copilot), "
    "or log in with another",
    quota="wait for the reset, or allow more spending in the Copilot settings",
    model="choose another COPILOT_MODEL",
    address="check COPILOT_API_BASE",
)


@dataclass(frozen=True, slots=True)
class Account:
    """What GitHub tells of a seat. `credits` left of `entitlement`; `None` where it did not say."""

    api: str
    login: str = ""
    plan: str = ""
    credits: float | None = None
    entitlement: float | None = None
    is_unlimited: bool = False
    resets_at: float | None = None  # by the calendar
    known_at: float = 0.0  # by the clock that runs in sleep


@dataclass(frozen=True, slots=True)
class Bearer:
    """What is sent. `good_until` is a reading of `clock.span()`; `None`: as long as GitHub takes it."""

    secret: Secret
    api: str
    is_exchanged: bool = False
    good_until: float | None = None


class Accounts:
    """Looks up the seats behind tokens; for each token one look-up at a time, whoever asks."""

    def __init__(self, settings: Settings, clock: Clock, http: Http, client: Client) -> None:
        self._settings = settings
        self._clock = clock
        self._http = http
        self._client = client
        self._known: dict[Secret, Account] = {}
        self._bearers: dict[Secret, Bearer] = {}
        self._flights: Flights[Account] = Flights()
        self._trades: Flights[Bearer] = Flights()
        self._tries = 0
        self._not_before = 0.0
        self._to_exchange: set[Secret] = set()
        host = settings.gh_host.lower()
        at_home = host in ("", "github.com")
        default = settings.copilot_github_api == "https://api.github.com"
        self.rest = settings.copilot_github_api if at_home or not default else f"https://api.{host}"
        self._generic = GENERIC_HOST if at_home else f"https://copilot-api.{host}"

    @property
    def origin(self) -> str:
        """The address that names the account's world: it does not change with what is looked up."""
        return self._settings.copilot_api_base or self.rest

    @property
    def can_look(self) -> bool:
        """A pinned API on this laptop is no reason to tell GitHub of its token."""
        pinned = self._settings.copilot_api_base
        return pinned is None or is_loopback(pinned) == is_loopback(self.rest)

    def exchanges(self, token: Token) -> bool:
        """Whether this token is exchanged first, instead of being sent as it is."""
        return self._settings.copilot_auth == "exchange" or token.secret in self._to_exchange

    def exchange_instead(self, token: Token) -> bool:
        """Exchange a token from now on that was refused as it is; False where that is not wanted or not possible."""
        if self._settings.copilot_auth != "auto" or token.kind is not TokenKind.APP:
            return False
        self._to_exchange.add(token.secret)
        return True

    def known(self, token: Token) -> Account | None:
        return self._known.get(token.secret)

    async def bearer(self, token: Token) -> Bearer:
        """What to send, and to which host."""
        if token.kind is TokenKind.EXCHANGED:
            return Bearer(token.secret, self._settings.copilot_api_base or self._generic, is_exchanged=True)
        if self.exchanges(token):
            return await self._exchanged(token)
        if self._settings.copilot_api_base:
            return Bearer(token.secret, self._settings.copilot_api_base)
        account = self._known.get(token.secret)
        if account is None or self._age(account) >= HOST_FRESH:
            account = await self._flights.join(token.secret, lambda: self._look(token))
        return Bearer(token.secret, account.api)

    async def credits(self, token: Token, fresh_for: float = CREDITS_FRESH) -> Account | None:
        """The seat, no older than that; `None` when it cannot be asked."""
        account = self._known.get(token.secret)
        if not self.can_look or token.kind is TokenKind.EXCHANGED:
            return account
        if account is None or self._age(account) >= fresh_for:
            account = await self._flights.join(token.secret, lambda: self._look(token))
        return account

    async def moved(self, token: Token, bearer: Bearer) -> bool:
        """Ask again where the seat is served; True when it is another host than `bearer` names."""
        if token.kind is TokenKind.EXCHANGED:
            return False
        if bearer.is_exchanged:
            return (await self._renewed(token, bearer)).api != bearer.api
        if self._settings.copilot_api_base or not self.can_look:
            return False
        account = self._known.get(token.secret)
        if account is None or account.api == bearer.api:  # else somebody else has found the new host already
            account = await self._flights.join(token.secret, lambda: self._look(token))
        return account.api != bearer.api

    async def refreshed(self, token: Token, bearer: Bearer) -> bool:
        """Get a new bearer for one that was refused; True when there is one."""
        if not bearer.is_exchanged or token.kind is TokenKind.EXCHANGED:
            return False
        return (await self._renewed(token, bearer)).secret != bearer.secret

    def forget_refusals(self) -> None:
        """What was refused as it is may be tried like that again."""
        self._to_exchange.clear()

    def forget(self) -> None:
        """Every seat, and every bearer that a token was exchanged for."""
        self.forget_refusals()
        self._known.clear()
        self._bearers.clear()

    async def aclose(self) -> None:
        await self._flights.aclose()
        await self._trades.aclose()

    def _age(self, account: Account) -> float:
        age = self._clock.span() - account.known_at
        return age if age >= 0 else HOST_FRESH

    # GET /copilot_internal/user

    async def _look(self, token: Token) -> Account:
        reply, text = await self._get("/copilot_internal/user", token, LOOK_LIMIT)
        if reply.status == 200:
            account = self._account_in(_object(text))
        elif self._may_not_ask(reply, text):  # which says nothing about what Copilot takes
            account = Account(self._generic, known_at=self._clock.span())
        else:
            raise self._failure(reply, text)
        self._known[token.secret] = account
        return account

    def _may_not_ask(self, reply: Reply, text: str) -> bool:
        """Whether GitHub refused this kind of token, and neither the account nor for now."""
        if reply.status not in (403, 404) or "error_details" in text or _is_rate_limit(text):
            return False
        return not is_in_the_way(reply, complaint_of(reply.status, text), self.rest)

    def _account_in(self, found: Mapping[str, Any]) -> Account:
        endpoints = found.get("endpoints")
        api = endpoints.get("api") if isinstance(endpoints, dict) else None
        snapshots = found.get("quota_snapshots")
        quota: Any = {}
        if isinstance(snapshots, dict):
            quota = snapshots.get("premium_interactions") or snapshots.get("chat") or {}
        if not isinstance(quota, dict):
            quota = {}
        resets_at = _number(quota.get("quota_reset_at")) or _date(
            found.get("quota_reset_date_utc") or found.get("quota_reset_date") or found.get("limited_user_reset_date")
        )
        left = _number(quota.get("quota_remaining"))
        return Account(
            api=api.rstrip("/") if isinstance(api, str) and self._is_safe(api) else self._generic,
            login=str(found.get("login") or "")[:100],
            plan=str(found.get("copilot_plan") or "")[:100],
            credits=left if left is not None else _number(quota.get("remaining")),
            entitlement=_number(quota.get("entitlement")),
            is_unlimited=bool(quota.get("unlimited")),
            resets_at=resets_at,
            known_at=self._clock.span(),
        )

    def _is_safe(self, api: str) -> bool:
        """A token is sent over TLS, or stays on this laptop if its look-up did."""
        parts = urlsplit(api)
        return bool(parts.hostname) and (parts.scheme == "https" or (is_loopback(api) and is_loopback(self.rest)))

    # GET /copilot_internal/v2/token

    async def _exchanged(self, token: Token) -> Bearer:
        bearer = self._bearers.get(token.secret)
        left = (bearer.good_until or 0.0) - self._clock.span() if bearer else 0.0
        if bearer is None or left < WAIT_BEFORE:
            return await self._trades.join(token.secret, lambda: self._trade(token))
        if left < RENEW_BEFORE and self._clock.span() >= self._not_before:
            self._trades.start(token.secret, lambda: self._trade(token))  # a failure is told when the old one has ended
        return bearer

    async def _renewed(self, token: Token, stale: Bearer) -> Bearer:
        bearer = self._bearers.get(token.secret)
        if bearer is not None and bearer.secret != stale.secret:
            return bearer  # somebody else was faster
        return await self._trades.join(token.secret, lambda: self._trade(token))

    async def _trade(self, token: Token) -> Bearer:
        try:
            reply, text = await self._get("/copilot_internal/v2/token", token, EXCHANGE_LIMIT)
            if reply.status == 404 and not is_in_the_way(reply, complaint_of(404, text), self.rest):
                raise Unauthorized(
                    "copilot",
                    "this token cannot be exchanged",
                    cure="set COPILOT_AUTH=direct, or log in with an editor's app",
                )
            if reply.status != 200:
                raise self._failure(reply, text)
            found = _object(text)
            value, lasts = found.get("token"), _number(found.get("refresh_in"))
            if not isinstance(value, str) or not value:
                raise TierBroken("copilot", "the exchange gave no token", reason=Reason.BAD_PAYLOAD)
        except TierFailed:
            self._tries += 1
            self._not_before = self._clock.span() + min(2.0**self._tries, LONGEST_BACKOFF)
            raise
        self._tries, self._not_before = 0, 0.0
        account = self._account_in(found)
        # `expires_at` is ignored: it is told by their calendar, and ours may be hours off
        good_until = self._clock.span() + (lasts if lasts is not None else 1500.0) + 60.0
        api = self._settings.copilot_api_base or account.api
        bearer = self._bearers[token.secret] = Bearer(Secret(value), api, is_exchanged=True, good_until=good_until)
        return bearer

    async def _get(self, path: str, token: Token, limit: float) -> tuple[Reply, str]:
        request = self._client.build_request(
            "GET",
            f"{self.rest}{path}",
            headers={
                "authorization": f"token {token.secret.reveal()}",
                "accept": "application/json",
                "x-github-api-version": REST_VERSION,
                "editor-version": self._http.user_agent,
                "editor-plugin-version": self._http.user_agent,
            },
        )
        try:
            async with asyncio.timeout(limit), open_stream(self._client, request, tier="copilot") as reply:
                body = await reply.read(1024 * 1024) if reply.status == 200 else b""
                return reply, body.decode("utf-8", "replace") if body else await reply.error_text()
        except TimeoutError:
            raise TierBroken("copilot", "GitHub does not answer", reason=Reason.FIRST_TOKEN_TIMEOUT) from None

    def _failure(self, reply: Reply, text: str) -> TierFailed:
        wait = retry_after(reply.headers, self._clock.wall())
        if _is_rate_limit(text):
            return RateLimited("copilot", "GitHub's own rate limit is reached", wait=wait)
        complaint = complaint_of(reply.status, text, wait)
        if is_in_the_way(reply, complaint, self.rest):
            return in_the_way("copilot", reply.status)
        if complaint.kind is Kind.FORBIDDEN and complaint.advice:
            cure = shown(complaint.advice, None, 400)
            return Unauthorized("copilot", "this account has no Copilot", reason=Reason.FORBIDDEN, cure=cure)
        found = failure_from("copilot", complaint, CURES)
        if isinstance(found, TierFailed):
            return found
        return TierBroken("copilot", f"the account cannot be looked up ({reply.status})", reason=Reason.UPSTREAM_ERROR)


def _is_rate_limit(text: str) -> bool:
    return "rate limit exceeded" in text[:2000].lower()


def _object(text: str) -> Mapping[str, Any]:
    from ..wire import as_json

    try:
        found = as_json(text, "copilot")
    except TierBroken:
        return {}
    return found if isinstance(found, dict) else {}


def _number(found: Any) -> float | None:
    return float(found) if isinstance(found, int | float) and abs(found) < 1e11 else None


def _date(found: Any) -> float | None:
    if not isinstance(found, str):
        return None
    try:
        day = datetime.fromisoformat(found.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()


def quota_wait(account: Account | None, wall: float) -> float | None:
    """Seconds until the credits are reset, where that is known."""
    if account is None or account.resets_at is None or account.resets_at <= wall:
        return None
    return account.resets_at - wall


__all__ = ["CURES", "Account", "Accounts", "Bearer", "Complaint", "Kind", "quota_wait"]
