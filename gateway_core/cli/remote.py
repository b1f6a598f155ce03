"""A running gateway, asked over REST (`AI_GATEWAY_URL`)."""

from __future__ import annotations

from typing import Any

import httpx

from ..settings import Settings, is_loopback

TIMEOUT = httpx.Timeout(15.0, connect=3.0)


class GatewayUnreachable(Exception):
    """The running gateway did not do what was asked; the message names it, the fault and a cure."""


def call(settings: Settings, method: str, path: str) -> dict[str, Any]:
    """The JSON object that the gateway at `AI_GATEWAY_URL` replies."""
    url = settings.ai_gateway_url
    assert url is not None
    headers = {"accept": "application/json"}
    if settings.ai_gateway_token is not None:
        headers["authorization"] = f"Bearer {settings.ai_gateway_token.get_secret_value()}"
    try:
        # This laptop is never asked through a proxy.
        with httpx.Client(timeout=TIMEOUT, trust_env=not is_loopback(url)) as client:
            reply = client.request(method, url + path, headers=headers)
    except httpx.ConnectError:
        raise GatewayUnreachable(f"no gateway answers at {url}; start it there, or unset AI_GATEWAY_URL") from None
    except httpx.HTTPError as exc:
        raise GatewayUnreachable(f"the gateway at {url} did not answer ({type(exc).__name__})") from None
    if reply.status_code in (401, 403):
        raise GatewayUnreachable(f"the gateway at {url} refused access; set AI_GATEWAY_TOKEN to its token")
    try:
        told = reply.json()
    except ValueError:
        told = None
    if reply.status_code != 200 or not isinstance(told, dict):
        raise GatewayUnreachable(f"{url} did not answer as a gateway does (HTTP {reply.status_code})")
    return told
