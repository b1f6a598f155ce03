"""GitHub Copilot: GitHub's REST calls, the device log-in and the Copilot API, all on one port."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlencode

from .answers import Plan, Question
from .calls import Answering, Exchange, Refused, Routes
from .copilot_seats import MODELS, Account, Model
from .dialects import ChatCompletions, ChatTraits, Dialect, Responses, sse
from .fixtures import COPILOT, NO_ACCESS, REQUEST_ID
from .github_login import DeviceLogins
from .openai import chat_question, embedding_of, responses_question
from .simulator import Simulator
from .turns import WrongTurn
from .wire import Reply, Request, as_json, json_reply, text_reply

QUOTA_RESET = 1796083200  # 1 December 2026
CALL_COST = 4_200_000  # nano-credits of one answer
AUTO_SESSION = "auto-session-token"
PAT_INTEGRATION = "copilot-developer-cli"
# What the service wants of every client, without insisting.
WANTED = ("user-agent", "x-initiator", "x-github-api-version")
KINDS = ("gho_", "ghu_", "github_pat_", "ghp_", "ghs_", "tid=")


_FILTER = {"hate": {"filtered": False, "severity": "safe"}}
_FILTER_FRAME = sse(
    {
        "choices": [],
        "created": 0,
        "id": "",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _FILTER}],
    }
)
TRAITS = ChatTraits(
    prologue=(_FILTER_FRAME, b": keep-alive\n\n"),
    role_first=False,
    named=False,
    usage="last",
    reasoning="reasoning_text",
    split_choices=True,
)


class CopilotSimulator(Simulator):
    """GitHub and Copilot in one.

    `tokens`: token → `Account`; a token that is not listed belongs to a healthy account if it has a known beginning.
    `models` are the live ones, `retired` lists ids that were. `endpoints.api` of the account call points back here,
    at the account's `host`, a base path such as `/business`: any other base path is a wrong host (421).
    """

    name = "copilot"
    named_errors = COPILOT
    actions = (*Simulator.actions, "revoke", "expire_tokens", "retire", "move", "deny_device", "approve_device")

    def restore_provider(self) -> None:
        self.tokens: dict[str, Account] = {}
        self.models: dict[str, Model] = {model.id: model for model in MODELS}
        self.advertise_endpoints = True
        self.max_prompt_tokens: int | None = None
        self.exchange_lifetime = 1800.0
        self.refresh_in = 1500
        self.quota_reset: float = QUOTA_RESET
        self.clock_skew = 0.0  # of the `expires_at` that the exchange tells
        self.device = DeviceLogins()
        self._exchanged: dict[str, tuple[str, float]] = {}  # exchanged token → GitHub token, good until

    def configure(self, name: str, value: Any) -> None:
        if name == "tokens":
            for token, fields in value.items():
                self.tokens[token] = fields if isinstance(fields, Account) else replace(self.account(token), **fields)
        elif name == "device" and isinstance(value, dict):
            self.device = replace(self.device, **value)
        elif name == "models" and not isinstance(value, dict):
            self.models = {model.id: model for model in MODELS if model.id in value}
        else:
            super().configure(name, value)

    # --- accounts

    def account(self, token: str) -> Account:
        return self.tokens.get(token, Account())

    def revoke(self, token: str) -> None:
        self.tokens[token] = replace(self.account(token), revoked=True)

    def move(self, token: str, host: str) -> None:
        """The seat goes to another API host, a base path here."""
        self.tokens[token] = replace(self.account(token), host=host)

    def expire_tokens(self) -> None:
        """All exchanged tokens end now."""
        self._exchanged = {token: (source, 0.0) for token, (source, _) in self._exchanged.items()}

    def retire(self, model: str) -> None:
        self.models = {name: row for name, row in self.models.items() if name != model}

    def approve_device(self) -> None:
        self.device.approved = True

    def deny_device(self) -> None:
        self.device.denied = True

    # --- rules

    def split_base(self, path: str) -> tuple[str, str]:
        for known in self._api_paths:
            if path.endswith(known):
                return known, path.removesuffix(known)
        return path, ""

    @property
    def _api_paths(self) -> list[str]:
        return [path for _, path in self.routes if not path.startswith(("/copilot_internal", "/login"))]

    def error_reply(self, status: int, **words: str) -> Reply:
        codes = {401: "unauthorized", 402: "quota_exceeded", 403: "forbidden", 404: "not_found", 429: "rate_limited"}
        error = {"message": f"simulated {status}", "code": codes.get(status, "internal_error"), **words}
        return json_reply({"error": error}, status, x_github_request_id=REQUEST_ID)

    def stream_error(self, **words: str) -> dict[str, Any]:
        return {"message": "upstream failed", "code": "internal_error", **words}

    def unknown_path(self, exchange: Exchange) -> Reply:
        return json_reply({"message": "Not Found", "status": "404"}, 404, x_github_request_id=REQUEST_ID)

    def _github_account(self, exchange: Exchange) -> tuple[str, Account]:
        """The account of a GitHub token, as GitHub's REST API sees it."""
        token = exchange.bearer
        if not token.startswith(KINDS[:-1]) or self.account(token).revoked:
            raise Refused(COPILOT["bad_credentials"])
        return token, self.account(token)

    def _seat(self, exchange: Exchange) -> tuple[str, Account]:
        """The seat that a call to the Copilot API is charged to."""
        token, headers = exchange.bearer, exchange.request.headers
        exchange.note(missing=tuple(name for name in WANTED if name not in headers))
        if not token.startswith(KINDS):
            raise Refused(COPILOT["authentication_failed"])
        exchanged = token.startswith("tid=")
        if exchanged:
            if "editor-version" not in headers:
                raise Refused(COPILOT["missing_editor_version"])
            token, until = self._exchanged.get(token, ("", 0.0))
            if time.monotonic() >= until:
                raise Refused(COPILOT["ide_token_expired"])
        account = self.account(token)
        integration = headers.get("copilot-integration-id")
        is_pat = token.startswith(("github_pat_", "ghs_"))
        rules = (
            (token.startswith("ghp_") or (is_pat and integration != PAT_INTEGRATION), "pat_not_supported"),
            (account.revoked, "token_expired"),
            (not account.has_copilot, "forbidden_policy"),
            (exchange.base != (account.host_after_exchange if exchanged else account.host), "misdirected"),
        )
        if broken := next((name for is_broken, name in rules if is_broken), None):
            raise Refused(COPILOT[broken])
        return token, account

    def _asked(self, exchange: Exchange) -> tuple[str, Account, Mapping[str, Any]]:
        """Who asks, and for what, once seat, credits and model are in order."""
        token, account = self._seat(exchange)
        body = exchange.request.json
        if not isinstance(body, dict):
            raise Refused(text_reply("bad request: invalid JSON", 400, x_github_request_id=REQUEST_ID))
        wish = body.get("model") or self._default_model
        if wish == "auto" and exchange.request.headers.get("copilot-session-token") == AUTO_SESSION:
            wish = self._default_model
        model = self.models.get(str(wish))
        if model is None or not model.enabled:
            raise Refused(COPILOT["model_not_supported"])
        if exchange.path not in model.endpoints:
            message = f'model "{model.id}" is not accessible via the {exchange.path} endpoint'
            error = {"error": {"message": message, "code": "unsupported_api_for_model"}}
            raise Refused(text_reply(as_json(error).decode(), 400, x_github_request_id=REQUEST_ID))
        if account.credits <= 0:
            raise Refused(COPILOT["copilot_quota_exceeded"])
        return token, account, {**body, "model": model.id}

    @property
    def _default_model(self) -> str:
        return next((model.id for model in self.models.values() if model.default), "")

    # --- the Copilot API

    def _answering(
        self, exchange: Exchange, read: Callable[[Mapping[str, Any]], Question], dialect: Callable[[Plan], Dialect]
    ) -> Answering:
        token, account, body = self._asked(exchange)
        try:
            question = read(body)
        except WrongTurn as wrong:
            told = {"message": wrong.message, "code": "invalid_request_body", "param": wrong.param}
            raise Refused(json_reply({"error": told}, 400, x_github_request_id=REQUEST_ID)) from None
        except (TypeError, KeyError, AttributeError):
            raise Refused(COPILOT["invalid_request"]) from None
        limit = self.max_prompt_tokens or self.models[body["model"]].prompt
        if question.size > limit:
            message = f"prompt token count of {question.size} exceeds the limit of {limit}"
            error = {"error": {"message": message, "code": "model_max_prompt_tokens_exceeded"}}
            raise Refused(json_reply(error, 400, x_github_request_id=REQUEST_ID))
        exchange.at_end.append(lambda: self._charge(exchange, token))
        cost = {"copilot_usage": {"total_nano_aiu": CALL_COST}}
        plan = self.plan_for(body["model"], question, body, extra=cost)
        return Answering(question, plan, dialect, bool(body.get("stream")), _headers(exchange.request, account))

    def _charge(self, exchange: Exchange, token: str) -> None:
        """Only what was answered costs."""
        if exchange.call.tokens_sent:
            account = self.account(token)
            self.tokens[token] = replace(account, credits=account.credits - CALL_COST / 1e9)

    def chat(self, exchange: Exchange) -> Answering:
        call_id = str(uuid.uuid4())
        return self._answering(exchange, chat_question, lambda plan: ChatCompletions(plan, TRAITS, call_id))

    def responses(self, exchange: Exchange) -> Answering:
        body = exchange.request.json
        if isinstance(body, dict):
            for name in ("temperature", "top_p", "max_tokens", "messages"):
                if body.get(name) is not None:
                    raise Refused(_unsupported(name))
        return self._answering(exchange, responses_question, lambda plan: Responses(plan, full_output=False))

    def list_models(self, exchange: Exchange) -> Reply:
        self._seat(exchange)
        rows = [model.row(self.advertise_endpoints) for model in self.models.values()]
        return json_reply({"object": "list", "data": rows}, x_github_request_id=REQUEST_ID)

    def embeddings(self, exchange: Exchange) -> Reply:
        self._seat(exchange)
        body = exchange.request.json or {}
        texts = body.get("input")
        if not isinstance(texts, list):
            raise Refused(COPILOT["invalid_request"])
        rows = [{"index": n, "embedding": embedding_of(str(text), 8)} for n, text in enumerate(texts)]
        return json_reply({"data": rows, "model": body.get("model")}, x_github_request_id=REQUEST_ID)

    def ping(self, exchange: Exchange) -> Reply:
        return text_reply("OK", x_github_request_id=REQUEST_ID)

    def auto_session(self, exchange: Exchange) -> Reply:
        self._seat(exchange)
        until = int(time.time()) + 3600
        session = {"selected_model": self._default_model, "session_token": AUTO_SESSION, "expires_at": until}
        return json_reply({"available_models": list(self.models), **session}, x_github_request_id=REQUEST_ID)

    # --- GitHub's REST API

    def _endpoints(self, host: str) -> dict[str, str]:
        return {"api": self.url + host, "proxy": self.url, "telemetry": self.url, "origin-tracker": self.url}

    def user(self, exchange: Exchange) -> Reply:
        token, account = self._github_account(exchange)
        if token.startswith("ghp_"):
            return self.unknown_path(exchange)
        if not account.has_copilot:
            return COPILOT["no_access"]
        left = max(0.0, account.credits)
        quota = {
            "quota_id": "premium_interactions",
            "entitlement": account.entitlement,
            "remaining": int(left),
            "quota_remaining": round(left, 1),
            "percent_remaining": round(100 * left / account.entitlement, 1),
            "overage_count": 0,
            "overage_permitted": False,
            "unlimited": False,
            "has_quota": left > 0,
            "quota_reset_at": self.quota_reset,
            "token_based_billing": True,
            "timestamp_utc": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        }
        chat = {"quota_id": "chat", "entitlement": -1, "remaining": 0, "percent_remaining": 100, "unlimited": True}
        return json_reply(
            {
                "login": account.login,
                "access_type_sku": "monthly_subscriber_quota",
                "copilot_plan": account.plan,
                "chat_enabled": True,
                "can_signup_for_limited": False,
                "token_based_billing": True,
                "endpoints": self._endpoints(account.host),
                "organization_login_list": [],
                "quota_reset_date": "2026-12-01",
                "quota_reset_date_utc": "2026-12-01T00:00:00.000Z",
                "quota_snapshots": {"premium_interactions": quota, "chat": chat},
            },
            x_github_request_id=REQUEST_ID,
        )

    def exchange_token(self, exchange: Exchange) -> Reply:
        token, account = self._github_account(exchange)
        if token.startswith(("gho_", "ghp_")):
            return self.unknown_path(exchange)
        if token.startswith(("github_pat_", "ghs_")):
            message = "Resource not accessible by personal access token"
            return json_reply({"message": message, "status": "403"}, 403, x_github_request_id=REQUEST_ID)
        if not account.has_copilot:
            return json_reply(NO_ACCESS, 403, x_github_request_id=REQUEST_ID)
        expires = int(time.time() + self.exchange_lifetime + self.clock_skew)
        tid = uuid.uuid4().hex[:16]
        mac = hashlib.sha1(tid.encode(), usedforsecurity=False).hexdigest()
        minted = f"tid={tid};exp={expires};sku=monthly_subscriber_quota;chat=1;8kp=1:{mac}"
        self._exchanged[minted] = (token, time.monotonic() + self.exchange_lifetime)
        return json_reply(
            {
                "token": minted,
                "expires_at": expires,
                "refresh_in": self.refresh_in,
                "sku": "monthly_subscriber_quota",
                "individual": account.plan == "individual",
                "chat_enabled": True,
                "public_suggestions": "disabled",
                "telemetry": "disabled",
                "limited_user_quotas": None,
                "limited_user_reset_date": None,
                "organization_list": [],
                "endpoints": self._endpoints(account.host_after_exchange),
            },
            x_github_request_id=REQUEST_ID,
        )

    # --- the device log-in

    def device_code(self, exchange: Exchange) -> Reply:
        return self.device.begin(exchange.request, self.url)

    def device_page(self, exchange: Exchange) -> Reply:
        """Where the user types the code: here a look is enough."""
        self.device.approved = True
        return text_reply("<!doctype html><p>Signed in (simulated). Go back to the terminal.", kind="text/html")

    def device_poll(self, exchange: Exchange) -> Reply:
        return self.device.poll(exchange.request)

    routes: ClassVar[Routes] = {
        ("POST", "/chat/completions"): chat,
        ("POST", "/responses"): responses,
        ("POST", "/models/session"): auto_session,
        ("GET", "/models"): list_models,
        ("POST", "/embeddings"): embeddings,
        ("GET", "/_ping"): ping,
        ("GET", "/copilot_internal/user"): user,
        ("GET", "/copilot_internal/v2/token"): exchange_token,
        ("POST", "/login/device/code"): device_code,
        ("GET", "/login/device"): device_page,
        ("POST", "/login/oauth/access_token"): device_poll,
    }


def _unsupported(parameter: str) -> Reply:
    message = f"Unsupported parameter: '{parameter}' is not supported with this model."
    error = {"message": message, "code": "unsupported_parameter", "param": parameter, "type": "invalid_request_error"}
    return json_reply({"error": error}, 400, x_github_request_id=REQUEST_ID)


def _headers(request: Request, account: Account) -> tuple[tuple[str, str], ...]:
    left = round(100 * max(0.0, account.credits) / account.entitlement, 1)
    quota = {"ent": account.entitlement, "ov": "0.0", "ovPerm": "false", "rem": left, "rst": "2026-12-01T00:00:00Z"}
    chat = {"ent": -1, "ov": "0.0", "ovPerm": "false", "rem": "100.0", "rst": "2026-12-01T00:00:00Z"}
    return (
        ("x-github-request-id", REQUEST_ID),
        ("x-request-id", request.headers.get("x-request-id", str(uuid.uuid4()))),
        ("x-quota-snapshot-premium_interactions", urlencode(quota)),
        ("x-quota-snapshot-chat", urlencode(chat)),
        ("x-usage-ratelimit-session", urlencode(quota)),
        ("x-usage-ratelimit-weekly", urlencode(quota)),
    )
