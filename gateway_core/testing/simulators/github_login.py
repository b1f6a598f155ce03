"""GitHub's device log-in: a code to type, and a token for who polls patiently."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from .wire import Reply, Request, json_reply, text_reply

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(slots=True)
class Login:
    """One log-in under way."""

    client_id: str
    expires: float
    interval: float
    polls: int = 0
    last: float = float("-inf")


@dataclass
class DeviceLogins:
    """All log-ins. `approve_after` polls the user has typed the code; `None`: only once `approved` is set."""

    interval: float = 5
    expires_in: float = 900
    approve_after: int | None = 1
    token: str = "gho_simulated0000000000000000000000000"
    client_ids: list[str] = field(default_factory=list)  # empty: any
    approved: bool = False
    denied: bool = False
    logins: dict[str, Login] = field(default_factory=dict)

    def begin(self, request: Request, url: str) -> Reply:
        client_id = request.form.get("client_id", "")
        if not client_id or (self.client_ids and client_id not in self.client_ids):
            return json_reply({"error": "Not Found"}, 404)
        code = uuid.uuid4().hex
        self.logins[code] = Login(client_id, time.monotonic() + self.expires_in, self.interval)
        fields = {"device_code": code, "user_code": "WDJB-MJHT", "verification_uri": f"{url}/login/device"}
        return answer(request, {**fields, "expires_in": int(self.expires_in), "interval": self.interval})

    def poll(self, request: Request) -> Reply:
        fields, now = request.form, time.monotonic()
        login = self.logins.get(fields.get("device_code", ""))
        if fields.get("grant_type") != GRANT:
            return refusal(request, "unsupported_grant_type")
        if login is None or login.client_id != fields.get("client_id"):
            return refusal(request, "incorrect_device_code")
        if now >= login.expires:
            return refusal(request, "expired_token")
        if self.denied:
            return refusal(request, "access_denied")
        early, login.last = now - login.last < login.interval * 0.9, now
        if early:
            login.interval += self.interval
            return refusal(request, "slow_down", interval=login.interval)
        waited = self.approve_after is not None and login.polls >= self.approve_after
        login.polls += 1
        if not (self.approved or waited):
            return refusal(request, "authorization_pending")
        return answer(request, {"access_token": self.token, "token_type": "bearer", "scope": "read:user"})


def refusal(request: Request, error: str, **more: Any) -> Reply:
    words = {"error": error, "error_description": error.replace("_", " "), "error_uri": "https://docs.github.com"}
    return answer(request, {**words, **more})


def answer(request: Request, fields: Mapping[str, Any]) -> Reply:
    """These pages answer with a form unless JSON is asked for, and with 200 even when they refuse."""
    if "json" in request.headers.get("accept", ""):
        return json_reply(fields)
    return text_reply(urlencode(fields), kind="application/x-www-form-urlencoded; charset=utf-8")
