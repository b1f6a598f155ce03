"""What must not leave this laptop by accident: names and values that look like credentials. Pure."""

from __future__ import annotations

import re
from itertools import pairwise

HIDDEN = "(hidden)"

_ALWAYS = frozenset({
    "token", "password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey",
    "bearer", "cookie", "cookies",
})  # fmt: skip
_KEY_OF = frozenset({
    "api", "access", "private", "secret", "signing", "encryption", "auth", "account", "master", "service", "ssh",
    "storage",
})  # fmt: skip
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# Prefixes that providers give to their credentials so that they can be recognised.
_VALUE = re.compile(
    r"^\s*(?:gh[pousr]_\w{16,}|github_pat_\w{20,}|sk-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|AKIA[0-9A-Z]{12,}"
    r"|AIza[\w-]{30,}|glpat-[\w-]{16,}|gsk_\w{20,}|hf_\w{20,}|xai-[\w-]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+)\s*$"
)


def is_secret_name(name: str) -> bool:
    """True for `token`, `DB_PASSWORD`, `apiKey`, `key`; false for `tokens`, `primary_key`, `keyboard`."""
    parts = [part.lower() for part in _PARTS.findall(name)]
    if any(part in _ALWAYS for part in parts) or parts == ["key"]:
        return True
    return any(a in _KEY_OF and b in ("key", "keys") for a, b in pairwise(parts))


def looks_like_a_secret(text: str) -> bool:
    """True when the whole text is a credential of a known form."""
    return len(text) < 20_000 and _VALUE.match(text) is not None
