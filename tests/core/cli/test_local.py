"""`ai-gateway local`: found servers are named, and used only after a yes."""

import json

import pytest

from gateway_core import Settings
from gateway_core.cli.local import lines_of
from gateway_core.testing import OllamaSimulator, OpenAISimulator
from gateway_core.tiers import local_servers


@pytest.fixture(scope="module")
def ollama():
    with OllamaSimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def server():
    """Another local server that asks for no key."""
    with OpenAISimulator(flavour="custom") as simulator:
        yield simulator


@pytest.fixture
def settings(ollama, server, monkeypatch):
    for simulator in (ollama, server):
        simulator.start()
        simulator.reset()
    server.configure("models", {"tiny-chat": None})
    monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url)
    monkeypatch.setenv("COPILOT_USE_GH", "0")
    return Settings()


def ports(server):
    return [(server.port, "/v1", "LM Studio")]


async def test_servers_are_named_with_the_command_that_uses_them(settings, server):
    lines = await lines_of(settings, ports(server))

    assert "other servers on this laptop" in lines
    assert any(line.startswith(f"  {server.base_url}  LM Studio, with ") for line in lines)
    assert f"    not used → ai-gateway local use {server.base_url}" in lines


async def test_ollamas_models_files_and_advice_are_shown(settings, server):
    models = settings.ai_gateway_state_dir / "models"
    models.mkdir(parents=True)
    (models / "tiny.gguf").write_bytes(b"GGUF" * 50_000_000)
    lines = await lines_of(settings, [])

    assert "  llama3:latest" in lines
    assert "  qwen3.5:2b, the one that answers" in lines
    assert f"model files in {models}" in lines
    assert "  tiny.gguf, 0.2 GB" in lines
    assert lines[-1].startswith("advice ")
    assert "ollama pull " in lines[-1]


async def test_without_ollama_the_cure_is_shown(settings, ollama):
    ollama.stop()
    lines = await lines_of(settings, [])

    assert lines[0] == f"Ollama is not running at {ollama.url}"
    assert "ollama serve" in lines[1]
    assert "no other server answers on this laptop" in lines


async def test_a_yes_can_be_given_and_taken_back(settings, cli_in_thread, server):
    said = await cli_in_thread("local", "use", server.base_url)
    assert said.code == 0
    assert f"{server.base_url} is used from now on" in said.out
    lines = await lines_of(settings, ports(server))
    assert f"  {server.base_url}  is used; to take that back: ai-gateway local forget {server.base_url}" in lines

    server.stop()
    assert f"  {server.base_url}  you said yes to it, but it does not answer" in await lines_of(settings, ports(server))

    assert (await cli_in_thread("local", "forget", server.base_url)).code == 0
    assert local_servers.confirmed(settings.ai_gateway_state_dir) == ()


def test_a_prompt_goes_to_a_found_server_only_after_the_yes(cli, settings, server, ollama):
    ollama.stop()
    assert cli("ask", "--tier", "local", "Tell me.").code == 3
    assert server.paid_calls == []

    cli("local", "use", server.base_url)
    assert cli("ask", "--tier", "local", "Tell me.").code == 0
    assert len(server.paid_calls) == 1


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("https://api.example/v1", 2, "set LOCAL_BASE_URL"),
        ("http://127.0.0.1:9/v1", 3, "start the server"),
    ],
)
def test_what_cannot_be_used_is_refused(cli, settings, url, code, told):
    ran = cli("local", "use", url)

    assert ran.code == code
    assert told in ran.err
    assert local_servers.confirmed(settings.ai_gateway_state_dir) == ()


def test_an_address_without_models_is_refused(cli, settings, server, ollama):
    ran = cli("local", "use", f"{server.url}/nothing")

    assert ran.code == 3
    assert "/v1" in ran.err


def test_a_server_that_wants_a_key_names_the_settings_for_it(cli, settings):
    with OpenAISimulator() as strict:
        strict.configure("api_keys", ["secret-key-of-theirs"])
        ran = cli("local", "use", strict.base_url)

    assert ran.code == 3
    assert "LOCAL_BASE_URL and LOCAL_API_KEY" in ran.err


def test_forgetting_what_was_never_used_is_no_fault(cli, settings):
    ran = cli("local", "forget", "http://127.0.0.1:1234/v1")

    assert (ran.code, ran.out) == (0, "http://127.0.0.1:1234/v1 was not in use\n")


def test_list_runs(cli, settings, monkeypatch):
    ran = cli("local", "list")

    assert ran.code == 0
    assert "Ollama 0.33.0 at " in ran.out


def test_confirmations_are_a_file_of_plain_addresses(cli, settings, server):
    cli("local", "use", server.base_url + "/")

    found = json.loads((settings.ai_gateway_state_dir / "local_servers.json").read_text())
    assert found == {"confirmed": [server.base_url]}


@pytest.mark.parametrize(
    ("content", "told"), [(None, "there is no such file; check the path"), (b"PK", "is no model file (GGUF); name one")]
)
def test_a_file_that_cannot_be_installed_is_told_before_anybody_is_asked(cli, tmp_path, content, told):
    if content is not None:
        (tmp_path / "x.gguf").write_bytes(content)
    ran = cli("local", "install", "x.gguf")

    assert ran.code == 3
    assert told in ran.err
    assert "--yes" not in ran.err
