"""Logging in by a code typed into a web page (GitHub's device flow), and the file that keeps the login.

The flow is pure: client, address, clock and sleep are handed in, and it shows nothing itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...clock import Clock
from ...errors import GatewayError
from ...secrets import Secret, read_private, write_private
from ..http import Client, open_stream

FILE = "copilot.json"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SCOPE = "read:user"
SLOWER = 5.0
ASK_LIMIT = 10.0
NO_APP = {
    "device_flow_disabled": 'the app has no device flow; switch on "Enable Device Flow" in its settings',
    "incorrect_client_credentials": "the client id is not known to GitHub; check COPILOT_CLIENT_ID",
    "Not Found": "the client id is not known to GitHub; check COPILOT_CLIENT_ID",
}
ENDED = {
    "expired_token": "the code was not entered in time; start again",
    "access_denied": "the login was declined on the web page",
}


class LoginFailed(GatewayError):
    """The login cannot be completed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the user types (`user_code`) and where (`verification_uri`)."""

    user_code: str
    verification_uri: str
    device_code: Secret
    interval: float
    expires_in: float


async def begin(client: Client, web: str, client_id: str) -> DeviceCode:
    """Ask GitHub for a code."""
    found = await _post(client, f"{web}/login/device/code", {"client_id": client_id, "scope": SCOPE})
    _raise_for(found)
    try:
        return DeviceCode(
            str(found["user_code"]),
            str(found["verification_uri"]),
            Secret(str(found["device_code"])),
            float(found.get("interval", 5)),
            float(found.get("expires_in", 900)),
        )
    except (KeyError, TypeError, ValueError):
        raise LoginFailed("GitHub answered with something that is no code; try again") from None


async def wait_for_token(
    client: Client,
    web: str,
    client_id: str,
    code: DeviceCode,
    clock: Clock,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Secret:
    """Poll, never faster than GitHub allows, until the user has typed the code."""
    until, interval = clock.span() + code.expires_in, code.interval
    form = {"client_id": client_id, "device_code": code.device_code.reveal(), "grant_type": GRANT}
    while clock.span() < until:
        await sleep(interval)
        found = await _post(client, f"{web}/login/oauth/access_token", form)
        token = found.get("access_token")
        if isinstance(token, str) and token:
            return Secret(token)
        match found.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                wanted = found.get("interval")
                interval = max(interval + SLOWER, float(wanted) if isinstance(wanted, int | float) else 0.0)
            case _:
                _raise_for(found)
                raise LoginFailed("GitHub answered with something that is no token; try again")
    raise LoginFailed(ENDED["expired_token"])


async def _post(client: Client, url: str, form: dict[str, str]) -> dict[str, Any]:
    request = client.build_request("POST", url, data=form, headers={"accept": "application/json"})
    try:
        async with asyncio.timeout(ASK_LIMIT), open_stream(client, request, tier="copilot") as reply:
            found = await reply.json()
    except TimeoutError:
        raise LoginFailed("GitHub does not answer; check the network") from None
    return found if isinstance(found, dict) else {}


def _raise_for(found: dict[str, Any]) -> None:
    error = found.get("error")
    if error is not None:
        told = {**NO_APP, **ENDED}.get(str(error), f"GitHub refused the login ({str(error)[:64]})")
        raise LoginFailed(told)


# The file


def saved_token(state_dir: Path, host: str) -> Secret | None:
    entry = _accounts(state_dir).get(host)
    token = entry.get("token") if isinstance(entry, dict) else None
    return Secret.of(token) if isinstance(token, str) else None


def save_login(state_dir: Path, host: str, token: Secret, *, login: str = "", client_id: str = "", at: float) -> Path:
    """Keep the login for the next start, readable by its owner only."""
    accounts = _accounts(state_dir)
    accounts[host] = {
        "login": login,
        "token": token.reveal(),
        "client_id": client_id,
        "scope": SCOPE,
        "saved_at": int(at),
    }
    path = state_dir / FILE
    write_private(path, json.dumps({"version": 1, "accounts": accounts}).encode())
    return path


def remove_login(state_dir: Path, host: str) -> bool:
    """Forget the login; `False` when there was none."""
    accounts = _accounts(state_dir)
    if accounts.pop(host, None) is None:
        return False
    path = state_dir / FILE
    if accounts:
        write_private(path, json.dumps({"version": 1, "accounts": accounts}).encode())
    else:
        path.unlink(missing_ok=True)
    return True


def _accounts(state_dir: Path) -> dict[str, Any]:
    raw = read_private(state_dir / FILE)
    if raw is None:
        return {}
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    accounts = found.get("accounts") if isinstance(found, dict) else None
    return accounts if isinstance(accounts, dict) else {}
