"""`ai-gateway login` and `logout`: by a code in the browser, by a token handed in, or by the login that `gh` keeps."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from .. import __version__
from ..clock import SystemClock
from ..errors import GatewayError, Unauthorized
from ..secrets import Secret
from ..settings import Settings, is_loopback
from ..tiers.copilot import login
from ..tiers.copilot.account import Account, Accounts
from ..tiers.copilot.tokens import CLASSIC_REFUSED, NOT_SENDABLE, Kind, Token, TokenSources, ask_gh
from ..tiers.http import Http
from .arguments import LOGIN_ENDING, PROGRAM
from .exits import ANSWERED, FAULT, NOT_ANSWERED, USAGE
from .terminal import Terminal

LONGEST_TOKEN = 4096


def run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    if options.command == "logout":
        return _log_out(settings, terminal)
    return asyncio.run(_log_in(options, settings, terminal))


async def _log_in(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    github = _GitHub(settings)
    try:
        if options.with_token:
            token = _token_from(terminal)
            return await _keep(token, github, terminal) if token is not None else USAGE
        if settings.copilot_client_id:
            token = await _by_device(options, settings.copilot_client_id, github, terminal)
            return await _keep(token, github, terminal)
        return await _by_gh(github, terminal)
    except GatewayError as failure:
        cure = getattr(failure, "cure", "")
        terminal.tell(f"{PROGRAM}: {getattr(failure, 'detail', '') or failure}" + (f"; {cure}" if cure else ""))
        return NOT_ANSWERED
    except OSError as exc:
        why = f"{settings.ai_gateway_state_dir}: {exc.strerror or type(exc).__name__}"
        terminal.tell(f"{PROGRAM}: the login cannot be kept: {settings.state_trouble or why}")
        return FAULT
    finally:
        await github.aclose()


@dataclass
class _GitHub:
    """GitHub's address and the calls that a login needs."""

    settings: Settings

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self._http = Http(self.clock, user_agent=f"ai-gateway/{__version__}")
        self.client = self._http.client()
        self._accounts = Accounts(self.settings, self.clock, self._http, self.client)

    async def account(self, token: Token) -> Account | None:
        """The seat behind the token; `None` when this kind of token may not ask. Raises why it has no Copilot."""
        if token.kind is Kind.CLASSIC or not token.secret.can_be_sent:
            why, cure = CLASSIC_REFUSED if token.kind is Kind.CLASSIC else NOT_SENDABLE
            raise Unauthorized("copilot", why, cure=cure)
        account = await self._accounts.credits(token)
        return account if account is not None and account.login else None

    async def aclose(self) -> None:
        await self._accounts.aclose()
        await self._http.aclose()


def web_of(settings: Settings) -> str:
    """GitHub's website, for the user's own host."""
    host, web = settings.gh_host.lower(), settings.copilot_github_web
    return web if host in ("", "github.com") or web != "https://github.com" else f"https://{host}"


# The three ways


async def _by_device(options: Namespace, client_id: str, github: _GitHub, terminal: Terminal) -> Token:
    web = web_of(github.settings)
    if web.startswith("http://") and not is_loopback(web):
        raise login.LoginFailed("a login is never made over plain http; check COPILOT_GITHUB_WEB")
    code = await login.begin(github.client, web, client_id)
    terminal.tell(f"open {code.verification_uri} and enter the code {code.user_code}")
    if options.browser and terminal.err_is_terminal and _is_of(code.verification_uri, web):
        await asyncio.to_thread(_open, code.verification_uri)
    terminal.tell("waiting for GitHub (Ctrl-C ends the login, nothing is kept)")
    secret = await login.wait_for_token(github.client, web, client_id, code, github.clock)
    return Token(secret, "device flow")


async def _by_gh(github: _GitHub, terminal: Terminal) -> int:
    settings = github.settings
    secret = Secret.of(await ask_gh(settings.gh_host)) if settings.copilot_use_gh else None
    if secret is None:
        return await _in_use(github, terminal)
    account = await github.account(Token(secret, "gh"))
    terminal.write(f"{_seat(account)} by gh; nothing more is needed\n")
    _tell_what_is_set(settings, terminal, "used before the login of gh")
    return ANSWERED


async def _in_use(github: _GitHub, terminal: Terminal) -> int:
    """Nobody logs in anew: whose token is used already, wherever it is from."""
    sources = TokenSources(github.settings, github.clock)
    try:
        token = await sources.look(anew=True)
    finally:
        await sources.aclose()
    if token is None:
        terminal.tell(f"{PROGRAM}: no login was found, and no OAuth app is set up", "", *LOGIN_ENDING.splitlines())
        return USAGE
    account = await github.account(token)
    terminal.write(f"{_seat(account)} by {token.source}; nothing more is needed\n")
    return ANSWERED


async def _keep(token: Token, github: _GitHub, terminal: Terminal) -> int:
    settings = github.settings
    account = await github.account(token)
    path = await asyncio.to_thread(
        lambda: login.save_login(
            settings.ai_gateway_state_dir,
            settings.gh_host,
            token.secret,
            login=account.login if account else "",
            client_id=settings.copilot_client_id or "",
            at=github.clock.wall(),
        )
    )
    terminal.write(f"{_seat(account)}; kept in {path}\n")
    _tell_what_is_set(settings, terminal, "used before the saved login")
    return ANSWERED


def _token_from(terminal: Terminal) -> Token | None:
    if terminal.can_ask:
        from getpass import getpass

        given: str | None = getpass("token: ")
    else:
        given = terminal.stdin.readline(LONGEST_TOKEN) if terminal.stdin is not None else None
    secret = Secret.of(given)
    if secret is None:
        terminal.tell(f"{PROGRAM}: standard input holds no token")
        return None
    return Token(secret, "--with-token")


def _log_out(settings: Settings, terminal: Terminal) -> int:
    was_there = login.remove_login(settings.ai_gateway_state_dir, settings.gh_host)
    terminal.write("the saved login is forgotten\n" if was_there else "there was no saved login\n")
    if was_there:
        terminal.tell(f"to revoke it at GitHub, too: {web_of(settings)}/settings/applications")
    _tell_what_is_set(settings, terminal, "still used")
    return ANSWERED


# Words


def _seat(account: Account | None) -> str:
    """Who logged in, and what is left to spend."""
    if account is None:
        return "logged in; this kind of token tells no account"
    parts = [f"logged in as {account.login}"]
    if account.plan:
        parts.append(f"plan {account.plan}")
    if account.credits is not None and not account.is_unlimited:
        told = f"{account.credits:g}" + (f" of {account.entitlement:g}" if account.entitlement else "")
        parts.append(f"{told} credits left")
    if account.resets_at is not None:
        parts.append(f"reset on {datetime.fromtimestamp(account.resets_at, UTC).date().isoformat()}")
    return ", ".join(parts)


def _tell_what_is_set(settings: Settings, terminal: Terminal, what: str) -> None:
    """A token from the environment goes before whatever was done here."""
    names = ("copilot_github_token", "github_copilot_token", "gh_copilot_token")
    for name in names:
        if getattr(settings, name) is not None:
            terminal.tell(f"{name.upper()} is set and is {what}")
            return


def _is_of(address: str, web: str) -> bool:
    """The page to open is the one of the site that was asked."""
    page, site = urlsplit(address), urlsplit(web)
    return (page.scheme, page.hostname) == (site.scheme, site.hostname)


def _open(address: str) -> None:
    import webbrowser

    try:
        webbrowser.open(address)
    except webbrowser.Error:
        return  # the address stands on the terminal
