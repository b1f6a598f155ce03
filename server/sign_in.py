"""A browser sends no token by itself: it is asked for once, and kept in a cookie that pages cannot read.

The cookie holds a value made from the token, so it ends with it; no other site's request carries it.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response

COOKIE = "ai_gateway_session"
PATH = "/sign-in"
_SESSION = re.compile(rb"[0-9a-f]{64}")
LIMIT = 10_000  # bytes of the form
_FORM = """<!doctype html><html lang="en"><meta charset="utf-8"><title>AI Gateway: sign in</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px system-ui;margin:4rem auto;max-width:24rem;padding:0 1rem}input,button{font:inherit;width:100%%;
box-sizing:border-box;padding:.5rem;margin:.5rem 0}</style>
<h1>AI Gateway</h1>%s<form method="post" action="/sign-in">
<label for="token">Token (the value of AI_GATEWAY_TOKEN)</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></form></html>"""
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}


def session_of(token: bytes) -> bytes:
    """What the cookie holds."""
    return hmac.new(token, b"ai-gateway page session", sha256).hexdigest().encode()


def session_in(header: bytes) -> bytes:
    """The session of a `Cookie` header; empty if it has none."""
    try:
        found = SimpleCookie(header.decode("latin-1")).get(COOKIE)
    except CookieError:
        return b""
    return found.value.encode("latin-1", "replace") if found else b""


def may_be_session(value: bytes) -> bool:
    """Whether some token could have made it. What no token makes is no guess."""
    return _SESSION.fullmatch(value) is not None


def form(*, was_wrong: bool = False) -> Response:
    told = '<p role="alert">This token is not right.</p>' if was_wrong else ""
    return HTMLResponse(_FORM % told, 401, {**_HEADERS, "www-authenticate": "Bearer"})


def shows(body: bytes, token: bytes) -> bool:
    """Whether the form was sent with the right token."""
    sent = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
    return hmac.compare_digest(sent.encode(), token)


def signed_in(token: bytes, *, is_https: bool) -> Response:
    """To the page, with the cookie."""
    response = RedirectResponse("/", 303, _HEADERS)
    response.set_cookie(COOKIE, session_of(token).decode(), httponly=True, samesite="strict", secure=is_https)
    return response
