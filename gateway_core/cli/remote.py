"""A running gateway, asked over REST (`AI_GATEWAY_URL`)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx

from ..secrets import Secret
from ..settings import Settings, is_loopback

TIMEOUT = httpx.Timeout(15.0, connect=3.0)


class GatewayUnreachable(Exception):
    """The running gateway did not do what was asked; the message names it, the fault and a cure."""


class NotFound(GatewayUnreachable):
    """The gateway answers, and has nothing at this path."""


class _Token(httpx.Auth):
    """Adds the gateway's token on the way out, so that no frame holds it as text."""

    def __init__(self, token: Secret | None) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._token is not None:
            request.headers["authorization"] = f"Bearer {self._token.reveal()}"
        yield request


def call(settings: Settings, method: str, path: str) -> dict[str, Any]:
    """The JSON object that the gateway at `AI_GATEWAY_URL` replies."""
    url = settings.ai_gateway_url
    assert url is not None
    fault, reply = "", None
    try:
        # This laptop is never asked through a proxy.
        with httpx.Client(timeout=TIMEOUT, trust_env=not is_loopback(url)) as client:
            token = _Token(Secret.of(settings.ai_gateway_token))
            reply = client.request(method, url + path, headers={"accept": "application/json"}, auth=token)
    except httpx.ConnectError:
        fault = f"no gateway answers at {url}; start it there, or unset AI_GATEWAY_URL"
    except httpx.HTTPError as exc:
        fault = f"the gateway at {url} did not answer ({type(exc).__name__})"
    if reply is None:
        raise GatewayUnreachable(fault)  # out here: the foreign error's frames hold the request
    if reply.status_code in (401, 403):
        raise GatewayUnreachable(f"the gateway at {url} refused access; set AI_GATEWAY_TOKEN to its token")
    try:
        told = reply.json()
    except ValueError:
        told = None
    if reply.status_code == 404 and isinstance(told, dict) and told.get("code") == "not_found":
        raise NotFound(f"the gateway at {url} has nothing at {path}")
    if reply.status_code != 200 or not isinstance(told, dict):
        raise GatewayUnreachable(f"{url} did not answer as a gateway does (HTTP {reply.status_code})")
    return told
