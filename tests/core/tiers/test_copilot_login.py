from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from gateway_core.secrets import Secret
from gateway_core.testing import CopilotSimulator
from gateway_core.testing.clock import ManualClock
from gateway_core.tiers.copilot import editors
from gateway_core.tiers.copilot.login import (
    LoginFailed,
    begin,
    remove_login,
    save_login,
    saved_token,
    wait_for_token,
)
from gateway_core.tiers.copilot.tokens import Kind, TokenSources, ask_gh, kind_of

from .asking import settings_for

SCHEMA = (
    "CREATE TABLE oauth_tokens (token_id INTEGER PRIMARY KEY, auth_authority TEXT, oauth_client_id TEXT,"
    " user_login TEXT, scopes TEXT, token_ciphertext BLOB, token_schema_version INTEGER, source_editor_id TEXT,"
    " created_at INTEGER, updated_at INTEGER, last_used_at INTEGER)"
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.endswith("_TOKEN") or name.startswith("COPILOT")]:
        monkeypatch.delenv(name)


@pytest.fixture
def copilot() -> Iterator[CopilotSimulator]:
    with CopilotSimulator() as simulator:
        yield simulator


def editor_folder(tmp_path: Any) -> Any:
    folder = tmp_path / "home" / ".config" / "github-copilot"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_auth_db(folder: Any, *rows: tuple[bytes, int, int], host: str = "github.com") -> sqlite3.Connection:
    database = sqlite3.connect(folder / "auth.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(SCHEMA)
    for token, version, used in rows:
        database.execute(
            "INSERT INTO oauth_tokens (auth_authority, token_ciphertext, token_schema_version, last_used_at)"
            " VALUES (?, ?, ?, ?)",
            (host, token, version, used),
        )
    return database


# Kinds


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("gho_x", Kind.OAUTH),
        ("ghu_x", Kind.APP),
        ("github_pat_x", Kind.FINE_GRAINED),
        ("ghp_x", Kind.CLASSIC),
        ("ghs_x", Kind.INSTALLATION),
        ("tid=1;exp=2;sku=x:mac", Kind.EXCHANGED),
        ("anything", Kind.UNKNOWN),
    ],
)
def test_the_kind_of_a_token_is_told_by_its_beginning(value, kind):
    assert kind_of(Secret(value)) is kind


# Editors


def test_the_newest_plain_login_of_an_editor_is_read_while_another_program_writes(tmp_path):
    folder = editor_folder(tmp_path)
    database = write_auth_db(folder, (b"ghu_old", 0, 1), (b"ghu_new", 0, 2), (b"\x00\x01secret", 1, 3))
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE oauth_tokens SET last_used_at = 9")
    found = editors.editor_tokens("github.com", tmp_path / "home")
    database.execute("ROLLBACK")
    database.close()
    assert [(secret.reveal(), source) for secret, source in found] == [("ghu_new", "editor login (auth.db)")]


def test_in_wsl_the_editors_of_the_windows_side_are_read_from_a_copy(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(editors, "WINDOWS_PROFILES", tmp_path / "Users")
    folder = tmp_path / "Users" / "Ada" / "AppData" / "Local" / "github-copilot"
    folder.mkdir(parents=True)
    (tmp_path / "Users" / "Public").mkdir()
    editor = write_auth_db(folder, (b"ghu_windows", 0, 1))  # still open: its rows stand in the log beside it
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert editors.editor_tokens("github.com") == [], "outside of WSL nobody looks there"
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")
    found = [(secret.reveal(), source) for secret, source in editors.editor_tokens("github.com")]
    assert found == [("ghu_windows", "editor login (auth.db)")]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    editor.close()


def test_an_encrypted_login_and_another_host_are_left_alone(tmp_path):
    write_auth_db(editor_folder(tmp_path), (b"\x00\x01secret", 1, 3)).close()
    assert editors.editor_tokens("github.com", tmp_path / "home") == []
    assert editors.editor_tokens("sub.ghe.com", tmp_path / "home") == []


def test_older_files_are_read_too_and_never_changed(tmp_path):
    folder = editor_folder(tmp_path)
    apps, hosts = folder / "apps.json", folder / "hosts.json"
    apps.write_text(json.dumps({"github.com:Iv1.x": {"user": "o", "oauth_token": "ghu_apps"}}))
    hosts.write_text(json.dumps({"github.com": {"oauth_token": "ghu_hosts"}, "other": 7}))
    hosts.chmod(0o644)
    found = [secret.reveal() for secret, _ in editors.editor_tokens("github.com", tmp_path / "home")]
    assert found == ["ghu_apps", "ghu_hosts"]
    assert stat.S_IMODE(hosts.stat().st_mode) == 0o644


@pytest.mark.parametrize("content", [b"", b"not a database at all, whatever it is called", b"\xff\xfe{", b"[]", b"{}"])
def test_files_of_another_shape_are_no_login(tmp_path, content):
    folder = editor_folder(tmp_path)
    for name in ("auth.db", "apps.json", "hosts.json"):
        (folder / name).write_bytes(content)
    assert editors.editor_tokens("github.com", tmp_path / "home") == []


# gh


def fake_gh(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = tmp_path / "bin" / "gh"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for gh is a shell script")
@pytest.mark.parametrize(
    ("script", "token"),
    [
        ('[ "$*" = "auth token --hostname github.com" ] && [ -z "$GH_TOKEN" ] && echo gho_fromgh', "gho_fromgh"),
        ('echo "no oauth token" >&2; exit 1', None),
        ("exec sleep 30", None),
    ],
)
async def test_gh_is_asked_for_its_token_within_a_limit(tmp_path, monkeypatch, script, token):
    monkeypatch.setattr("gateway_core.tiers.copilot.tokens.GH_LIMIT", 1.0)
    monkeypatch.setenv("GH_TOKEN", "gho_ofsomethingelse")
    fake_gh(tmp_path, monkeypatch, script)
    assert await ask_gh("github.com") == token


async def test_without_gh_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await ask_gh("github.com") is None


# The order of sources


async def test_sources_are_tried_in_order(tmp_path):
    folder = editor_folder(tmp_path)
    (folder / "apps.json").write_text(json.dumps({"github.com:Iv1.x": {"oauth_token": "ghu_editor"}}))
    save_login(tmp_path / "state", "github.com", Secret("gho_saved"), at=0)
    asked = []

    async def gh(host: str) -> str:
        asked.append(host)
        return "gho_gh"

    everything = {
        "copilot_github_token": "gho_first",
        "github_copilot_token": "gho_second",
        "gh_copilot_token": "gho_third",
        "gh_token": "gho_last",
        "github_token": "gho_verylast",
    }
    steps = [
        ("gho_first", {}),
        ("gho_second", {"copilot_github_token": None}),
        ("gho_third", {"github_copilot_token": None}),
        ("gho_saved", {"gh_copilot_token": "ghp_classic"}),
    ]
    for expected, change in steps:
        everything |= change
        assert (await look(tmp_path, gh, **everything)).secret.reveal() == expected
    assert asked == []
    remove_login(tmp_path / "state", "github.com")
    assert (await look(tmp_path, gh, **everything)).secret.reveal() == "gho_gh"
    everything["copilot_use_gh"] = False
    assert (await look(tmp_path, gh, **everything)).secret.reveal() == "ghu_editor"
    everything["copilot_editor_login"] = False
    assert (await look(tmp_path, gh, **everything)).secret.reveal() == "gho_last"
    everything["gh_token"] = "ghp_repository"
    assert (await look(tmp_path, gh, **everything)).secret.reveal() == "gho_verylast"


async def look(tmp_path: Any, gh: Any, **fields: Any) -> Any:
    return await TokenSources(settings_for(tmp_path, **fields), ManualClock(), home=tmp_path / "home", run_gh=gh).look()


async def test_gh_is_asked_once_in_ten_minutes(tmp_path):
    asked = []

    async def gh(host: str) -> None:
        asked.append(host)

    clock = ManualClock()
    sources = TokenSources(settings_for(tmp_path), clock, home=tmp_path / "home", run_gh=gh)
    for _ in range(20):
        await asyncio.gather(*(sources.look() for _ in range(10)))
        clock.advance(29)
    assert len(asked) == 1
    clock.advance(60)
    await sources.look()
    assert len(asked) == 2


async def test_a_login_made_meanwhile_is_found(tmp_path):
    async def gh(host: str) -> None:
        return None

    clock = ManualClock()
    sources = TokenSources(settings_for(tmp_path), clock, home=tmp_path / "home", run_gh=gh)
    assert await sources.look() is None
    save_login(tmp_path / "state", "github.com", Secret("gho_saved"), at=0)
    clock.advance(31)
    found = await sources.look()
    assert found is not None
    assert found.source == "ai-gateway login"


# The saved login


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_the_login_file_is_private_and_repaired(tmp_path):
    path = save_login(tmp_path / "state", "github.com", Secret("gho_mine"), login="octocat", at=1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    assert saved_token(tmp_path / "state", "github.com") == Secret("gho_mine")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_logins_of_several_hosts_are_kept_apart_and_removed_without_a_trace(tmp_path):
    for host in ("github.com", "sub.ghe.com"):
        save_login(tmp_path, host, Secret(f"gho_{host}"), at=1)
    assert saved_token(tmp_path, "sub.ghe.com") == Secret("gho_sub.ghe.com")
    assert remove_login(tmp_path, "github.com")
    assert not remove_login(tmp_path, "github.com")
    assert saved_token(tmp_path, "github.com") is None
    assert remove_login(tmp_path, "sub.ghe.com")
    assert not (tmp_path / "copilot.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{nonsense", '{"accounts": 7}', '{"accounts": {"github.com": {}}}'])
def test_a_damaged_login_file_is_no_login(tmp_path, content):
    (tmp_path / "copilot.json").write_text(content)
    assert saved_token(tmp_path, "github.com") is None


# Device flow


async def login(copilot: CopilotSimulator, http: Any, clock: ManualClock, slept: list[float]) -> Secret:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)
        await asyncio.sleep(copilot.device.interval * 1.05 if len(slept) > 1 else 0)

    client = http.client()
    code = await begin(client, copilot.url, "Ov23own")
    assert code.user_code == "WDJB-MJHT"
    return await wait_for_token(client, copilot.url, "Ov23own", code, clock, sleep)


async def test_a_login_by_code_polls_until_the_code_is_typed(copilot, http):
    copilot.device.interval = 0.05
    copilot.device.approve_after = 2
    slept: list[float] = []
    token = await login(copilot, http, ManualClock(), slept)
    assert token == Secret(copilot.device.token)
    assert len(slept) == 3


async def test_being_told_to_slow_down_is_obeyed(serve, http):
    replies = [
        {"error": "slow_down", "interval": 11},
        {"error": "slow_down"},
        {"access_token": "gho_new"},
    ]

    async def handler(exchange: Any) -> None:
        found: dict[str, Any] = {"device_code": "d" * 40, "user_code": "A", "verification_uri": "u", "interval": 5}
        if exchange.path.endswith("access_token"):
            found = replies.pop(0)
        await exchange.reply(json.dumps(found).encode(), content_type="application/json")

    server = await serve(handler)
    client, clock, slept = http.client(), ManualClock(), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    code = await begin(client, server.url, "id")
    assert await wait_for_token(client, server.url, "id", code, clock, sleep) == Secret("gho_new")
    assert slept == [5.0, 11.0, 16.0]


async def test_a_declined_login_and_an_unknown_app_are_explained(copilot, http):
    copilot.device.interval = 0.01
    copilot.deny_device()
    with pytest.raises(LoginFailed, match="declined"):
        await login(copilot, http, ManualClock(), [])
    copilot.device.client_ids = ["another"]
    with pytest.raises(LoginFailed, match="COPILOT_CLIENT_ID"):
        await login(copilot, http, ManualClock(), [])


async def test_a_code_that_nobody_types_runs_out(copilot, http):
    copilot.device.interval = 0.01
    copilot.device.approve_after = None
    copilot.device.expires_in = 3
    clock = ManualClock()
    client = http.client()
    code = await begin(client, copilot.url, "id")

    async def sleep(seconds: float) -> None:
        clock.advance(1.0)

    with pytest.raises(LoginFailed, match="in time"):
        await wait_for_token(client, copilot.url, "id", code, clock, sleep)
