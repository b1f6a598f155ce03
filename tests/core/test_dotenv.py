"""A folder with a `.env` of its own cannot lead prompts or keys astray."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_core.clock import SystemClock
from gateway_core.errors import SettingsInvalid
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


def told_of(file: str) -> list[str]:
    Path(".env").write_text(file, encoding="utf-8")
    return [str(oddity) for oddity in Settings.load().left_out]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (
            "OLLAMA_BASE_URL=http://ollama.example:11434",
            "OLLAMA_BASE_URL leads off this laptop and was not used; export it in the environment, or put its key"
            " beside it",
        ),
        (
            "AI_GATEWAY_CORS_ORIGINS=https://app.example",
            "AI_GATEWAY_CORS_ORIGINS lets in pages of other hosts and was not used; export it in the environment, or"
            " put AI_GATEWAY_TOKEN beside it",
        ),
        (
            "AI_GATEWAY_STORE=redis://:hidden@redis.example/0",
            "AI_GATEWAY_STORE leads off this laptop and was not used; export it in the environment",
        ),
        ("a line of garbage", "line 1 cannot be read and was left out; write it as NAME=value"),
        ("OPENAI_API_KYE=sk-hidden", "OPENAI_API_KYE is no setting; write OPENAI_API_KEY, if that is what it means"),
    ],
)
def test_what_is_left_out_is_told_once_with_its_reason_and_without_its_value(
    file: str, told: str, capfd: pytest.CaptureFixture[str]
):
    assert told_of(file) == [f".env: {told}"]
    assert "".join(capfd.readouterr()) == ""


def test_what_is_left_out_for_a_key_of_the_environment_does_not_ask_for_the_key_beside_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OPENAI_API_KEY", "mine")

    assert told_of(f"OPENAI_BASE_URL={AWAY}") == [
        ".env: OPENAI_BASE_URL leads off this laptop and was not used; export it in the environment, where its key is"
    ]


def test_nothing_is_told_of_what_the_environment_sets_anyway(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:1")

    assert told_of("OLLAMA_BASE_URL=http://ollama.example:11434\nLOCAL_ONLY=0\nSOMETHING_ELSE=1") == []


@pytest.mark.parametrize(
    ("name", "told"),
    [("OPENAI_API_KYE", True), ("OPENAI_APIKEY", True), ("GROK_API_KEY", False), ("COHERE_API_KEY", False)],
)
def test_a_slip_in_the_name_of_a_key_is_told_and_another_programs_key_is_not(
    name: str, told: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, "sk-hidden")

    assert any(name in str(oddity) for oddity in Settings.load().left_out) is told


def test_a_folder_of_that_name_is_told():
    Path(".env").mkdir()

    assert [str(oddity) for oddity in Settings.load().left_out] == [
        ".env: it is a folder and was not read; make it a file with lines such as NAME=value"
    ]


@pytest.mark.parametrize("name", ["OLLAMA_BASE_URL", "OPENAI_BASE_URL", "AI_GATEWAY_URL", "AI_GATEWAY_STORE"])
@pytest.mark.parametrize("value", ["not a url", "http://not a host:1/v1", "http://[::1"])
@pytest.mark.parametrize("is_exported", [True, False])
def test_an_address_that_makes_no_sense_stops_the_program_wherever_it_stands(
    name: str, value: str, is_exported: bool, monkeypatch: pytest.MonkeyPatch
):
    if is_exported:
        monkeypatch.setenv(name, value)
    else:
        Path(".env").write_text(f'{name}="{value}"', encoding="utf-8")

    with pytest.raises(SettingsInvalid, match=f"^{name}: must be "):
        Settings.load()


@pytest.mark.parametrize("origins", ["not an origin", "http://a b"])
def test_origins_that_make_no_sense_stop_it_too(origins: str):
    Path(".env").write_text(f"AI_GATEWAY_CORS_ORIGINS={origins}", encoding="utf-8")

    with pytest.raises(SettingsInvalid, match=r"^AI_GATEWAY_CORS_ORIGINS: must hold origins"):
        Settings.load()
