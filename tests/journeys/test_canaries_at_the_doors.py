"""Marked tokens and prompts at the outer doors: settings, the blocking face, the command line, the login."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway_core import BlockingGateway, Gateway, GatewayError, Settings, SettingsInvalid
from gateway_core.cli import main
from gateway_core.cli.remote import GatewayUnreachable, call

from .canaries import (
    CLOUD,
    CONTENTS,
    COPILOT,
    DOCUMENT,
    DOOR,
    LOCAL,
    PROMPT,
    QUICK,
    SYSTEM,
    TOKENS,
    Blunder,
    Leaks,
    LogFile,
    files_below,
)
from .conftest import SCALED, Providers


def test_a_wrong_setting_leaks_nothing(monkeypatch: pytest.MonkeyPatch, log: LogFile, empty_home: Path):
    leaks = Leaks()
    monkeypatch.setenv("OPENAI_API_KEY", CLOUD)
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN", COPILOT)
    for name, value in (("FAILURE_THRESHOLD", "none"), ("LOCAL_BASE_URL", f"http://me:{LOCAL}@127.0.0.1/v1")):
        with monkeypatch.context() as wrong:
            wrong.setenv(name, value)
            with pytest.raises(SettingsInvalid, match=name) as told:
                Settings.load()
            leaks.look_at_error("load", told.value)
            with pytest.raises(ValueError, match="validation error") as raised:
                Settings()
            leaks.look_at_error("Settings()", raised.value)
    (empty_home / ".env").write_bytes(b"LOCAL_API_KEY=" + LOCAL.encode() + b"\nX=\xff\n")
    with pytest.raises(SettingsInvalid, match="UTF-8") as told:
        Settings.load()
    leaks.look_at_error(".env", told.value)
    leaks.look("the log", log.text(), *TOKENS)
    assert leaks.places == []


def test_the_blocking_face_leaks_nothing(providers: Providers, log: LogFile):
    marked = {"github_copilot_token": COPILOT, "openai_api_key": CLOUD, "copilot_model": "gone"}
    settings, leaks = Settings(**{**SCALED, **QUICK, **providers.settings, **marked}), Leaks()
    with BlockingGateway.from_settings(settings) as gateway:
        for fault in ("status_500", "cut_after:3", "off_topic", "status_401", "hang"):
            providers.copilot.script(then=fault)
            with pytest.raises(GatewayError) as caught:
                gateway.ask_documents(PROMPT, [DOCUMENT], system=SYSTEM, tier="copilot")
            leaks.look_at_error("ask", caught.value)
            with pytest.raises(GatewayError) as caught:
                list(gateway.stream(PROMPT, system=SYSTEM, tier="copilot"))
            leaks.look_at_error("stream", caught.value)
            gateway.reset()
        leaks.look_at_value("the gateway", gateway, *TOKENS, *CONTENTS)
        leaks.look_at_value("the status", gateway.status(), *TOKENS, *CONTENTS)
    leaks.look("the log", log.text(), *TOKENS, *CONTENTS)
    assert leaks.places == []


COMMANDS: list[list[str]] = [
    ["ask", PROMPT, "--tier", "copilot"],
    ["ask", PROMPT, "--tier", "cloud", "--json"],
    ["ask", PROMPT, "--tier", "copilot", "--stream"],
    ["status"],
    ["status", "--json"],
    ["reset"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("fault", ["ok", "status_401", "cut_after:3", "off_topic", "bug", "remote"])
def test_s06_s07_the_command_line_leaks_nothing(
    providers: Providers,
    log: LogFile,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    fault: str,
):
    marked = {"github_copilot_token": COPILOT, "openai_api_key": CLOUD, "ai_gateway_token": DOOR, "log_level": "DEBUG"}
    for name, value in {**SCALED, **QUICK, **providers.settings, **marked}.items():
        monkeypatch.setenv(name.upper(), str(value))
    providers.cloud.configure("api_keys", [CLOUD])
    build: Any = None
    if fault == "bug":

        def build(settings: Settings) -> Gateway:
            raise Blunder(f"{PROMPT} {settings.github_copilot_token and COPILOT}")
    elif fault == "remote":
        monkeypatch.setenv("AI_GATEWAY_URL", providers.cloud.url)  # no gateway: it refuses
    else:
        providers.copilot.script(then=fault)
        providers.cloud.script(then=fault if fault != "off_topic" else "content_policy_violation")
    main(command, build=build)
    shown = capsys.readouterr()
    leaks = Leaks()
    leaks.look("standard output", shown.out, *TOKENS, *CONTENTS[:3])
    leaks.look("standard error", shown.err, *TOKENS, *CONTENTS)
    leaks.look("the log", log.text(), *TOKENS, *CONTENTS)
    assert leaks.places == []


def test_a_gateway_that_refuses_its_token_leaks_nothing(providers: Providers):
    leaks = Leaks()
    for url in (providers.cloud.url, "http://127.0.0.1:9"):
        settings = Settings(ai_gateway_url=url, ai_gateway_token=DOOR)
        with pytest.raises(GatewayUnreachable) as caught:
            call(settings, "GET", "/status")
        leaks.look_at_error(url, caught.value)
    assert leaks.places == []


@pytest.mark.parametrize("fault", ["ok", "status_500", "html_200", "bad_json", "reset_after_request", "hang"])
@pytest.mark.parametrize("path", ["/login/device/code", "/login/oauth/access_token", "/copilot_internal/user"])
def test_s06_a_login_leaves_its_token_in_its_own_file_and_nowhere_else(
    providers: Providers,
    log: LogFile,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    fault: str,
):
    if fault == "hang":
        monkeypatch.setattr("gateway_core.tiers.copilot.login.ASK_LIMIT", 0.2)
        monkeypatch.setattr("gateway_core.tiers.copilot.account.LOOK_LIMIT", 0.2)
    for name, value in {**providers.settings, "copilot_client_id": "Ov23liOURS", "log_level": "DEBUG"}.items():
        monkeypatch.setenv(name.upper(), str(value))
    monkeypatch.delenv("GITHUB_COPILOT_TOKEN")
    providers.copilot.configure("device", {"interval": 0.01, "token": COPILOT})
    providers.copilot.script(f"{fault}@{path}")
    commands = [["login"], ["status"], ["status", "--json"], ["doctor", "--live"], ["logout"]]
    state, leaks = Settings().ai_gateway_state_dir, Leaks()
    for command in commands:
        main(command)
        for file, content in files_below(state):
            if file.name != "copilot.json":
                leaks.look(file.name, content, COPILOT)
    shown = capsys.readouterr()
    leaks.look("standard output", shown.out, COPILOT)
    leaks.look("standard error", shown.err, COPILOT)
    leaks.look("the log", log.text(), COPILOT)
    assert leaks.places == []
    assert not (state / "copilot.json").exists()
