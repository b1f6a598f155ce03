"""`ai-gateway doctor`: each thing a request depends on, with its cure; `--live` asks, and shows no secret."""

import os
from email.utils import formatdate

import pytest

from gateway_core.cli.doctor import _skew
from gateway_core.secrets import write_private
from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator
from gateway_core.testing.simulators.__main__ import environment

SECRET = "sk-simulated-0123456789abcdefghijklmnop"


@pytest.fixture(scope="module")
def simulators():
    with CopilotSimulator() as copilot, OpenAISimulator() as cloud, OllamaSimulator() as ollama:
        yield copilot, cloud, ollama


@pytest.fixture
def providers(simulators, monkeypatch):
    for simulator in simulators:
        simulator.start()
        simulator.reset()
        simulator.configure("answer", "pong")
    for name, value in (environment(*simulators) | {"OPENAI_API_KEY": SECRET, "COPILOT_USE_GH": "0"}).items():
        monkeypatch.setenv(name, value)
    return simulators


def test_what_is_well_is_told_with_its_source_host_and_models(cli, providers):
    copilot, cloud, ollama = providers
    ran = cli("doctor")

    assert (ran.code, ran.err) == (0, "")
    for told in (
        "ok GITHUB_COPILOT_TOKEN: gho_…0000 (used)",
        f"ok copilot: ready gpt-6-luna {copilot.url}",
        "copilot models: gpt-6-luna, ",
        "login octocat, plan individual, credits left",
        f"ok cloud openai: ready gpt-6-luna {cloud.base_url}",
        f"ok local ollama: ready qwen3.5:2b {ollama.url}",
        "local ollama details: version 0.33.0",
        f"ok {copilot.url}: answers",
    ):
        assert told in ran.out
    assert SECRET not in ran.out
    assert not any(simulator.paid_calls for simulator in providers)


def test_what_is_not_well_has_a_mark_and_a_cure(cli, providers, monkeypatch):
    _, cloud, ollama = providers
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN", "ghp_0123456789abcdefghijklmnopqrstuvwx")
    monkeypatch.delenv("OPENAI_API_KEY")
    ollama.stop()
    cloud.stop()
    ran = cli("doctor")

    assert ran.code == 3
    for told in (
        "GITHUB_COPILOT_TOKEN: ghp_…uvwx cannot be used: Copilot takes no classic personal access token",
        "!! copilot: Copilot takes no classic personal access token",
        "   → set OPENAI_API_KEY",
        f"!! local ollama: it does not answer ({ollama.url})",
        f"!! {cloud.base_url}: the connection was refused\n     → start what should listen there",
    ):
        assert told in ran.out


def test_a_hidden_source_is_shown_as_there_and_not_used(cli, providers, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", "gho_9999999999999999999999999999999999")
    ran = cli("doctor")

    assert "   GITHUB_TOKEN: gho_…9999\n" in ran.out


def test_an_old_ollama_is_named(cli, providers):
    providers[2].configure("version", "0.9.0")

    assert "Ollama 0.9.0 has known holes" in cli("doctor").out


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_files_that_others_may_read_are_named_with_the_command_that_closes_them(cli, providers, tmp_path):
    path = tmp_path / "state" / "conversations" / "one.json"
    write_private(path, b"{}")
    path.parent.chmod(0o755)
    ran = cli("doctor")

    assert f"!! conversations: {path.parent} (drwxr-xr-x), others may read it" in ran.out
    assert f"   → chmod go= {path.parent}" in ran.out


@pytest.mark.parametrize(
    ("off", "told"),
    [(0, None), (59, None), (120, "120 s ahead of"), (-7200, "7200 s behind"), (None, None)],
)
def test_a_clock_that_is_wrong_is_told_by_the_date_of_the_reply(off, told):
    now = 1_800_000_000.0
    found = _skew("https://api.example", None if off is None else formatdate(now, usegmt=True), now + (off or 0))

    assert [told in finding.told for finding in found] == ([True] if told else [])


def test_local_only_asks_no_distant_host(cli, providers, monkeypatch):
    monkeypatch.setenv("LOCAL_ONLY", "1")
    monkeypatch.setenv("COPILOT_GITHUB_API", "https://api.github.invalid")
    ran = cli("doctor")

    assert "github.invalid: " not in ran.out


def test_a_proxy_is_named_without_its_password(cli, providers, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2hunter2@127.0.0.1:9")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://cloud.invalid/v1")
    ran = cli("doctor")

    assert "through the proxy http://127.0.0.1:9 of the environment" in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_live_asks_each_path_once_and_shows_no_secret(cli, providers):
    copilot, cloud, ollama = providers
    ran = cli("doctor", "--live")

    assert ran.code == 0
    assert "live: 4 of 4 paths answered" in ran.out
    assert [call.path for call in copilot.paid_calls] == ["/responses", "/chat/completions"]
    assert len(cloud.paid_calls) == len(ollama.paid_calls) == 1
    assert "= 'pong' by gpt-6-luna" in ran.out
    assert "  >   not shown: authorization, " in ran.out
    for secret in (SECRET, copilot.device.token):
        assert secret not in ran.out + ran.err


def test_live_tells_which_path_fails_and_why(cli, providers):
    providers[0].script("status_402")
    ran = cli("doctor", "--live")

    assert ran.code == 3
    assert "live: 3 of 4 paths answered" in ran.out
    assert "  < 402 after" in ran.out


def test_live_does_not_charge_the_shared_circuits(cli, providers, monkeypatch):
    monkeypatch.setenv("AI_GATEWAY_STORE", "sqlite")
    providers[0].script(then="status_402")
    cli("doctor", "--live")
    providers[0].script()

    assert cli("ask", "Tell me.", "--json").json["backend"] == "copilot"


def test_what_ollama_holds_in_memory_is_told_in_plain_words(cli, providers):
    cli("ask", "--tier", "local", "hi")

    assert "loaded qwen3.5:2b context 16384" in cli("doctor").out
