"""Where a GitHub token comes from, and what kind it is.

    1-3  COPILOT_GITHUB_TOKEN, GITHUB_COPILOT_TOKEN, GH_COPILOT_TOKEN
    4    the login saved by `ai-gateway login`
    5    `gh auth token`
    6    the login that editors keep (read only)
    7    GH_TOKEN, GITHUB_TOKEN: last, because on laptops these are usually for repositories

The first that is there and was not refused. Only the first three are named for this use: the others go to GitHub's
own hosts (or a simulator on this laptop), never to another one that a setting leads to.
Other programs' files are read, never changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from ...clock import Clock
from ...secrets import Secret
from ...settings import Settings, is_loopback
from . import editors
from .login import saved_token

GH_LIMIT = 3.0
GH_FRESH = 600.0
FILES_FRESH = 30.0
RECHECK_AFTER = 5.0  # many requests may be refused at once: their sources are read anew for all of them together
PATIENCE = 1.0  # how long a request waits for a slow source; the next one has it


class Kind(StrEnum):
    """Told by the prefix that GitHub gives its tokens."""

    OAUTH = "gho_"
    APP = "ghu_"
    FINE_GRAINED = "github_pat_"
    CLASSIC = "ghp_"
    INSTALLATION = "ghs_"
    EXCHANGED = "tid="
    UNKNOWN = ""


def kind_of(secret: Secret) -> Kind:
    value = secret.reveal()
    if "tid=" in value or ";exp=" in value:
        return Kind.EXCHANGED
    return next((kind for kind in Kind if kind and value.startswith(kind)), Kind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Token:
    secret: Secret
    source: str
    kind: Kind = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", kind_of(self.secret))


CLASSIC_REFUSED = (
    "Copilot takes no classic personal access token (ghp_)",
    'run "gh auth login", or make a fine-grained token with the permission "Copilot Requests"',
)
NOT_SENDABLE = ("the token holds a character that no token has", "copy it once more")
NONE_FOUND = ("no GitHub token", 'run "ai-gateway login" or "gh auth login", or set GITHUB_COPILOT_TOKEN')

# gh keeps a login of its own: it is handed no key of ours, and no token that it would print instead.
_NAMES_A_SECRET = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)S?$", re.IGNORECASE)

RunGh = Callable[[str], Awaitable[str | None]]


async def ask_gh(host: str) -> str | None:
    """What `gh auth token` prints; `None` when gh is absent, logged out or slow."""
    gh = shutil.which("gh")
    if gh is None:
        return None
    environ = {name: value for name, value in editors.environment().items() if not _NAMES_A_SECRET.search(name)}
    try:
        process = await asyncio.create_subprocess_exec(
            gh, "auth", "token", "--hostname", host,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=environ,
        )  # fmt: skip
    except OSError:
        return None
    try:
        async with asyncio.timeout(GH_LIMIT):
            out, _ = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return None
    return out.decode("utf-8", "replace").strip() or None if process.returncode == 0 else None


def _fault_of(token: Token | None) -> str:
    if token is None:
        return ""
    return CLASSIC_REFUSED[0] if token.kind is Kind.CLASSIC else "" if token.secret.can_be_sent else NOT_SENDABLE[0]


class TokenSources:
    """Finds the token to use. Nothing is read before `look`; `look` is cheap when warm."""

    def __init__(self, settings: Settings, clock: Clock, *, home: Path | None = None, run_gh: RunGh = ask_gh) -> None:
        self._settings = settings
        self._clock = clock
        self._home = home
        self._run_gh = run_gh
        self._refused: dict[Secret, str] = {}
        self._problem: tuple[str, str] | None = None
        self._gh: tuple[Secret | None, float] | None = None
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self._rechecked_at = -RECHECK_AFTER
        self._recheck: asyncio.Future[Token | None] | None = None
        self._erased = 0
        self._first = tuple(
            self._named(name) for name in ("copilot_github_token", "github_copilot_token", "gh_copilot_token")
        )
        self._at_github = all(is_loopback(url) or is_githubs(url) for url in _hosts(settings))
        self._last = tuple(self._named(name) for name in ("gh_token", "github_token"))
        self.current: Token | None = self._usable(self._first)

    @property
    def has_looked(self) -> bool:
        return self._looked_at is not None

    @property
    def problem(self) -> tuple[str, str]:
        """Why there is no token, and the cure."""
        return self._problem or NONE_FOUND

    @property
    def refused(self) -> Mapping[str, str]:
        """Sources whose token was refused, and the hint of that token."""
        return {source: secret.hint for secret, source in self._refused.items()}

    async def look(self, *, anew: bool = False) -> Token | None:
        """The token to use now. `anew`: whatever was remembered may be out of date."""
        if not anew:
            if (configured := self._usable(self._first)) is not None:
                self.current = configured
                return configured
            if self._looked_at is not None and 0 <= self._clock.span() - self._looked_at < FILES_FRESH:
                return self.current
        if self._looking is None or self._looking.done():
            if anew:
                self._gh = None
            self._looking = asyncio.create_task(self._search())
        await asyncio.wait([self._looking], timeout=PATIENCE if not anew else GH_LIMIT + PATIENCE)
        return self.current

    async def survey(self) -> list[tuple[str, Token | None, str]]:
        """Every source in order, also those that a better one hides: its name, its token, what is wrong with it."""
        names = ("COPILOT_GITHUB_TOKEN", "GITHUB_COPILOT_TOKEN", "GH_COPILOT_TOKEN")
        rows: list[tuple[str, Token | None]] = [*zip(names, self._first, strict=True)]
        for name, source in (
            ("ai-gateway login", self._saved),
            ("gh auth token", self._from_gh),
            ("editor login", self._from_editors),
        ):
            rows += [(name, token) for token in await source()] or [(name, None)]
        rows += zip(("GH_TOKEN", "GITHUB_TOKEN"), self._last, strict=True)
        return [(name, token, _fault_of(token)) for name, token in rows]

    async def renewed(self, token: Token) -> bool:
        """Whether its source, or a better one, has another token by now than this one, which was refused."""
        if self.current != token:
            return True  # another request has found the new one already
        now = self._clock.span()
        if now - self._rechecked_at >= RECHECK_AFTER:
            self._rechecked_at = now
            self._recheck = asyncio.ensure_future(self.look(anew=True))
        if self._recheck is not None:
            await asyncio.wait([self._recheck])
        return self.current is not None and self.current.secret != token.secret

    async def pass_over(self, token: Token) -> bool:
        """Use it no more until a reset; True when another source has a token."""
        self._refused[token.secret] = token.source
        self._looked_at = None
        found = await self.look()
        return found is not None and found.secret != token.secret

    def forget(self) -> None:
        self._refused.clear()
        self._gh = None
        self._looked_at = None

    def forget_saved(self) -> None:
        """Nothing that was read from a file or a program is used again before it is read anew."""
        self.forget()
        self._erased += 1
        self.current = self._usable(self._first)

    async def aclose(self) -> None:
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _named(self, name: str) -> Token | None:
        secret = Secret.of(getattr(self._settings, name))
        return Token(secret, name.upper()) if secret else None

    def _usable(self, tokens: tuple[Token | None, ...], *, even_refused: bool = False) -> Token | None:
        for token in tokens:
            if token is None:
                continue
            if token.kind is Kind.CLASSIC:
                self._problem = self._problem or CLASSIC_REFUSED
            elif not token.secret.can_be_sent:
                self._problem = self._problem or NOT_SENDABLE
            elif even_refused or token.secret not in self._refused:
                return token
        return None

    async def _search(self) -> None:
        self._problem = None
        erased = self._erased
        found: list[Token | None] = [*self._first]
        for source in (self._saved, self._from_gh, self._from_editors, self._from_environment):
            if not self._at_github or self._usable(tuple(found)) is not None:
                break
            found += await source()
        if self._erased != erased:
            return  # what was read is not there any more
        tokens = tuple(found)
        self.current = self._usable(tokens) or self._usable(tokens, even_refused=True)
        self._looked_at = self._clock.span()

    async def _saved(self) -> list[Token | None]:
        settings = self._settings
        secret = await asyncio.to_thread(saved_token, settings.ai_gateway_state_dir, settings.gh_host)
        return [Token(secret, "ai-gateway login")] if secret else []

    async def _from_gh(self) -> list[Token | None]:
        if not self._settings.copilot_use_gh:
            return []
        now = self._clock.span()
        if self._gh is None or now - self._gh[1] >= GH_FRESH:
            self._gh = Secret.of(await self._run_gh(self._settings.gh_host)), now
        return [Token(self._gh[0], "gh")] if self._gh[0] else []

    async def _from_editors(self) -> list[Token | None]:
        if not self._settings.copilot_editor_login:
            return []
        found = await asyncio.to_thread(editors.editor_tokens, self._settings.gh_host, self._home)
        return [Token(secret, source) for secret, source in found]

    async def _from_environment(self) -> list[Token | None]:
        return list(self._last)


_GITHUBS = ("github.com", "githubcopilot.com", "ghe.com")


def _hosts(settings: Settings) -> list[str]:
    named = (settings.copilot_api_base, settings.copilot_github_api, settings.gh_host)
    return [url for url in named if url]


def is_githubs(url: str) -> bool:
    """Whether an address is one of GitHub's own."""
    host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    return any(host == own or host.endswith(f".{own}") for own in _GITHUBS)
