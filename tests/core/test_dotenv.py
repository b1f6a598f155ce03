"""A folder with a `.env` of its own cannot lead prompts or keys astray."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_core.clock import SystemClock
from gateway_core.settings import Settings
from gateway_core.tiers.copilot.tokens import TokenSources

AWAY = "https://away.example/v1"


@pytest.mark.parametrize(
    ("environment", "file", "field", "believed"),
    [
        ({}, f"CLOUD_BASE_URL={AWAY}", "cloud_base_url", False),
        ({}, f"CLOUD_BASE_URL={AWAY}\nCLOUD_API_KEY=own", "cloud_base_url", True),
        ({}, f"CLOUD_BASE_URL={AWAY}\nOPENAI_API_KEY=own", "cloud_base_url", True),
        ({}, f"CLOUD_BASE_URL={AWAY}\nGROQ_API_KEY=own", "cloud_base_url", False),
        ({"OPENAI_API_KEY": "mine"}, f"CLOUD_BASE_URL={AWAY}\nCLOUD_API_KEY=own", "cloud_base_url", False),
        ({"OPENAI_API_KEY": "mine"}, f"CLOUD_BASE_URL={AWAY}\nOPENAI_API_KEY=own", "cloud_base_url", False),
        ({"OPENAI_API_KEY": "own"}, f"CLOUD_BASE_URL={AWAY}\nOPENAI_API_KEY=own", "cloud_base_url", True),
        (
            {"OPENAI_API_KEY": "mine"},
            f"CLOUD_PROVIDER=custom\nCLOUD_BASE_URL={AWAY}\nCLOUD_API_KEY=own",
            "cloud_base_url",
            True,
        ),
        ({"OPENAI_API_KEY": "mine"}, f"OPENAI_BASE_URL={AWAY}\nOPENAI_API_KEY=own", "openai_base_url", False),
        ({"CLOUD_API_KEY": "mine"}, f"OPENAI_BASE_URL={AWAY}\nOPENAI_API_KEY=own", "openai_base_url", False),
        ({"LOCAL_API_KEY": "mine"}, f"LOCAL_BASE_URL={AWAY}\nLOCAL_API_KEY=own", "local_base_url", False),
        ({"AI_GATEWAY_TOKEN": "mine"}, f"AI_GATEWAY_URL={AWAY}\nAI_GATEWAY_TOKEN=own", "ai_gateway_url", False),
        ({}, f"COPILOT_API_BASE={AWAY}\nGH_COPILOT_TOKEN=own", "copilot_api_base", True),
        (
            {"COPILOT_GITHUB_TOKEN": "mine"},
            f"COPILOT_API_BASE={AWAY}\nGH_COPILOT_TOKEN=own",
            "copilot_api_base",
            False,
        ),
        ({}, "LOCAL_BASE_URL=http://127.0.0.1:1234/v1", "local_base_url", True),
    ],
)
def test_an_address_is_believed_only_with_all_the_keys_that_would_go_there(
    environment: dict[str, str], file: str, field: str, believed: bool, monkeypatch: pytest.MonkeyPatch
):
    Path(".env").write_text(file, encoding="utf-8")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert (getattr(Settings.load(), field) is not None) is believed


def test_a_host_of_github_is_believed_as_little(monkeypatch: pytest.MonkeyPatch):
    Path(".env").write_text("GH_HOST=away.example", encoding="utf-8")
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN", "gho_mine")

    assert Settings.load().gh_host == "github.com"


def test_a_table_of_clouds_that_came_with_the_folder_is_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AI_GATEWAY_STATE_DIR")
    Path("state").mkdir()
    Path(".env").write_text("AI_GATEWAY_STATE_DIR=state", encoding="utf-8")
    assert Settings.load().ai_gateway_state_dir == Path("state")

    Path("state/providers.toml").write_text(f'[openai]\nbase_url = "{AWAY}"', encoding="utf-8")
    assert Settings.load().ai_gateway_state_dir != Path("state")


@pytest.mark.parametrize(("base", "found"), [(AWAY, None), ("https://api.githubcopilot.com", "gho_of_gh")])
async def test_tokens_of_other_programs_go_to_github_only(base: str, found: str | None):
    async def gh(host: str) -> str:
        return "gho_of_gh"

    settings = Settings(copilot_use_gh=True, copilot_api_base=base)
    sources = TokenSources(settings, SystemClock(), run_gh=gh)

    token = await sources.look()

    assert (token and token.secret.reveal()) == found


@pytest.mark.parametrize(
    ("address", "believed"),
    [("redis://user:own@away.example/0", False), ("redis://127.0.0.1:6379/0", True), ("unix:///run/redis", True),
     ("memory", True)],
)  # fmt: skip
def test_a_server_for_circuits_is_believed_only_on_this_laptop(address: str, believed: bool):
    Path(".env").write_text(f"AI_GATEWAY_STORE={address}", encoding="utf-8")

    assert Settings.load().ai_gateway_store == (address if believed else "sqlite")
