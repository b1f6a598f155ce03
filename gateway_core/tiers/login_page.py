"""Is it a login page that breaks TLS? A look at the same host over plain http, as every system's own check does it.

Providers are asked over https only, so what a hotel's network puts in the way shows itself as a certificate that
cannot be trusted. The request for `http://HOST/` carries no key, no cookie and no path, and names a host that the TLS
handshake has just named in the clear.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from .http_failures import FOREIGN

LOOK_LIMIT = 0.4  # seconds: a login page is the network's own, and near
PAGES = ("text/html", "application/xhtml+xml")


async def stands_before(client: httpx.AsyncClient, host: str) -> bool:
    """True when something that is not `host` answers for it: a page, a way elsewhere, or status 511."""
    if _is_number(host):
        return False  # a server of one's own, not a provider
    bare = httpx.Request("GET", f"http://{host}/", headers={"host": host, "user-agent": client.headers["user-agent"]})
    try:
        async with asyncio.timeout(LOOK_LIMIT):
            response = await client.send(bare, stream=True)
    except FOREIGN:  # a time-out among them
        return False
    try:
        return _is_login_page(response, host)
    finally:
        await response.aclose()


def _is_login_page(response: httpx.Response, host: str) -> bool:
    if response.status_code == 511:
        return True
    if response.is_redirect:
        elsewhere = host_in(response.headers.get("location", ""))
        return elsewhere is not None and _site(elsewhere) != _site(host)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return response.is_success and kind in PAGES


def host_in(location: str) -> str | None:
    """The host that a redirect names; `None` when it names none, or cannot be read."""
    try:
        return urlsplit(location).hostname
    except ValueError:
        return None


def _site(host: str) -> str:
    """The last two labels: a provider may send its bare address to its own home page."""
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


def _is_number(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
