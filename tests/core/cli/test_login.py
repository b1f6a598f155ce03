"""`ai-gateway login` and `logout` against GitHub's device log-in, a `gh` of our own, and tokens handed in."""

import json
import os
import stat
from pathlib import Path

import pytest

from gateway_core.testing import CopilotSimulator

TOKEN = "gho_0123456789abcdefghijklmnopqrstuvwx"
PERSONAL = "github_pat_0123456789abcdefghijklmnop"


@pytest.fixture(scope="module")
def simulator():
    with CopilotSimulator() as github:
        yield github


@pytest.fixture
def github(simulator, monkeypatch):
    simulator.reset()
    simulator.configure("device", {"interval": 0.02, "token": TOKEN})
    monkeypatch.setenv("COPILOT_GITHUB_API", simulator.url)
    monkeypatch.setenv("COPILOT_GITHUB_WEB", simulator.url)
    monkeypatch.setenv("COPILOT_USE_GH", "0")
    return simulator


@pytest.fixture
def saved(tmp_path) -> Path:
    return tmp_path / "state" / "copilot.json"


def test_a_code_is_shown_and_the_login_kept_for_its_owner_alone(cli, github, saved, monkeypatch):
    monkeypatch.setenv("COPILOT_CLIENT_ID", "Ov23liOURS")
    ran = cli("login")

    assert ran.code == 0
    assert f"open {github.url}/login/device and enter the code WDJB-MJHT" in ran.err
    assert "logged in as octocat, plan individual" in ran.out
    assert "credits left, reset on 2026-12-01" in ran.out
    entry = json.loads(saved.read_text())["accounts"]["github.com"]
    assert (entry["token"], entry["login"], entry["client_id"]) == (TOKEN, "octocat", "Ov23liOURS")
    assert TOKEN not in ran.out + ran.err
    if os.name == "posix":
        assert stat.S_IMODE(saved.stat().st_mode) == 0o600


def test_the_saved_login_is_used_by_the_next_question(cli, github, monkeypatch):
    monkeypatch.setenv("COPILOT_CLIENT_ID", "Ov23liOURS")
    cli("login")
    ran = cli("ask", "--tier", "copilot", "Tell me.")

    assert ran.code == 0
    assert github.paid_calls[-1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param({"denied": True}, "declined", id="declined"),
        pytest.param({"expires_in": 0.01}, "not entered in time", id="too late"),
        pytest.param({"client_ids": ["another"]}, "check COPILOT_CLIENT_ID", id="unknown app"),
        pytest.param("device_flow_disabled@/login/device/code", "Enable Device Flow", id="no device flow"),
        pytest.param("html_200@/login/device/code", "login page of the network", id="login page of a hotel"),
        pytest.param("bad_json@/login/device/code", "not JSON", id="nonsense"),
        pytest.param("close_before_reply@/login/oauth/access_token", "closed", id="cut while waiting"),
    ],
)
def test_a_login_that_fails_says_why_and_keeps_nothing(cli, github, saved, monkeypatch, fault, told):
    monkeypatch.setenv("COPILOT_CLIENT_ID", "Ov23liOURS")
    if isinstance(fault, dict):
        github.configure("device", fault)
    else:
        github.script(fault)
    ran = cli("login")

    assert (ran.code, ran.out) == (3, "")
    assert told in ran.err
    assert not saved.exists()


def test_an_account_without_copilot_is_told_where_to_get_it_and_not_kept(cli, github, saved, monkeypatch):
    monkeypatch.setenv("COPILOT_CLIENT_ID", "Ov23liOURS")
    github.configure("tokens", {TOKEN: {"has_copilot": False}})
    ran = cli("login")

    assert ran.code == 3
    assert "this account has no Copilot; You do not have access to GitHub Copilot." in ran.err
    assert not saved.exists()


def test_patience_is_kept_when_github_asks_for_it(cli, github, monkeypatch):
    monkeypatch.setenv("COPILOT_CLIENT_ID", "Ov23liOURS")
    github.configure("device", {"approve_after": 3})

    assert cli("login").code == 0
    assert len(github.calls_to("/login/oauth/access_token")) == 4


def test_a_token_from_standard_input_is_checked_and_kept(cli, github, saved):
    ran = cli("login", "--with-token", stdin=f"{PERSONAL}\n".encode())

    assert ran.code == 0
    assert json.loads(saved.read_text())["accounts"]["github.com"]["token"] == PERSONAL
    assert PERSONAL not in ran.out + ran.err


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        pytest.param(b"ghp_0123456789abcdefghijklmnopqrstuvwx\n", 3, "classic", id="classic"),
        pytest.param("gho_0123456789ü\n".encode(), 3, "copy it once more", id="not a token"),
        pytest.param(b"\n", 2, "holds no token", id="nothing"),
    ],
)
def test_a_token_that_copilot_never_takes_is_refused_without_a_call(cli, github, saved, given, code, told):
    ran = cli("login", "--with-token", stdin=given)

    assert ran.code == code
    assert told in ran.err
    assert github.calls == []
    assert not saved.exists()


def test_a_revoked_token_is_refused(cli, github, saved):
    github.revoke(PERSONAL)
    ran = cli("login", "--with-token", stdin=PERSONAL.encode())

    assert ran.code == 3
    assert 'run "ai-gateway login" or "gh auth login"' in ran.err
    assert not saved.exists()


@pytest.fixture
def gh(tmp_path, monkeypatch):
    """A `gh` that prints what is told, on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("COPILOT_USE_GH", "1")

    def install(prints: str) -> None:
        program = folder / "gh"
        program.write_text(f"#!/bin/sh\n{f'echo {prints}' if prints else 'exit 1'}\n")
        program.chmod(0o755)

    return install


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for gh is a shell script")
def test_the_login_of_gh_is_checked_and_nothing_is_kept(cli, github, gh, saved):
    gh(TOKEN)
    ran = cli("login")

    assert ran.code == 0
    assert "logged in as octocat" in ran.out
    assert "by gh; nothing more is needed" in ran.out
    assert not saved.exists()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for gh is a shell script")
def test_without_any_login_the_three_ways_are_told(cli, github, gh):
    gh("")
    ran = cli("login")

    assert (ran.code, ran.out) == (2, "")
    for way in ("gh auth login", "ai-gateway login --with-token", "COPILOT_CLIENT_ID"):
        assert way in ran.err


def test_a_token_that_wins_over_the_login_is_named(cli, github, monkeypatch):
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN", TOKEN)
    ran = cli("login", "--with-token", stdin=PERSONAL.encode())

    assert "GITHUB_COPILOT_TOKEN is set and is used before the saved login" in ran.err


def test_logout_forgets_the_login_and_says_where_to_revoke_it(cli, github, saved):
    cli("login", "--with-token", stdin=PERSONAL.encode())
    ran = cli("logout")

    assert (ran.code, ran.out) == (0, "the saved login is forgotten\n")
    assert f"{github.url}/settings/applications" in ran.err
    assert not saved.exists()
    assert cli("logout").out == "there was no saved login\n"


def test_a_folder_that_takes_no_file_is_told(cli, github, tmp_path):
    (tmp_path / "state").write_text("a file stands there")
    ran = cli("login", "--with-token", stdin=PERSONAL.encode())

    assert ran.code == 1
    assert "the login cannot be kept" in ran.err


def test_a_login_is_never_made_over_plain_http(cli, github, monkeypatch):
    monkeypatch.setenv("COPILOT_CLIENT_ID", "Ov23liOURS")
    monkeypatch.setenv("COPILOT_GITHUB_WEB", "http://github.example")
    ran = cli("login")

    assert ran.code == 3
    assert "plain http" in ran.err


def test_a_token_of_the_environment_is_checked_and_named_where_nothing_else_is_set_up(cli, github, monkeypatch):
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN", TOKEN)
    ran = cli("login")

    assert ran.code == 0
    assert ran.out.startswith("logged in as octocat, plan individual")
    assert ran.out.endswith("by GITHUB_COPILOT_TOKEN; nothing more is needed\n")
    assert TOKEN not in ran.out + ran.err


def test_a_host_that_cannot_be_found_is_named_with_a_cure(cli, monkeypatch):
    monkeypatch.setenv("COPILOT_GITHUB_API", "https://api.github.invalid")
    ran = cli("login", "--with-token", stdin=TOKEN.encode())

    assert ran.code == 3
    assert ran.err == (
        "ai-gateway: api.github.invalid: its name has no address; check the network, or COPILOT_API_BASE and"
        " COPILOT_GITHUB_API\n"
    )


def test_a_state_folder_that_is_a_file_is_named_with_a_cure(cli, github, tmp_path):
    (tmp_path / "state").write_text("")
    told = f"{tmp_path / 'state'} is a file, not a folder"
    cure = "set AI_GATEWAY_STATE_DIR to a folder of your own"

    assert f"the login cannot be kept: {told}; {cure}\n" in cli("login", "--with-token", stdin=TOKEN.encode()).err
    assert f"!! state folder: {told}\n     → {cure}\n" in cli("doctor").out
    assert f"{told}; {cure}\n" in cli("explain").err
