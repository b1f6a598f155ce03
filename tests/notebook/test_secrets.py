"""A secret never reaches an output, metadata or a question."""

from __future__ import annotations

import pytest

from gateway_core.errors import Unauthorized
from gateway_core.testing import ScriptedTier
from notebook_ext.secrets import is_secret_name, looks_like_a_secret

CANARY = "ghp_canary0123456789abcdefghij0123456789"


@pytest.mark.parametrize(
    "name", ["token", "GITHUB_TOKEN", "password", "dbPassword", "key", "api_key", "apiKey", "openai_api_key", "secret"]
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["tokens", "keyboard", "primary_key", "keys", "monkey", "tokenizer", "notes", "df"])
def test_names_of_no_secrets(name):
    assert not is_secret_name(name)


def test_a_credential_in_a_placeholder_is_not_sent(notebook):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook["login"] = CANARY
    ran = notebook.run("%%ai\nIs {login} valid?")

    assert tier.calls == 0
    assert "holds a credential" in ran.err
    assert CANARY not in ran.out + ran.err


def test_a_secret_looking_variable_is_refused_as_a_document(notebook):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook["api_key"] = CANARY
    ran = notebook.run("%%ai_rag -d api_key\nWhat is it?")

    assert tier.calls == 0
    assert "api_key looks like a secret by its name" in ran.err
    assert CANARY not in ran.out + ran.err


def test_a_pattern_passes_over_secrets_and_says_so(notebook, asked):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook.run("note_one = 'Refunds within 30 days.'")
    notebook["note_token"] = CANARY
    ran = notebook.run("%%ai_rag -d note*\nRefunds?")

    assert "Refunds within" in asked(tier)
    assert CANARY not in asked(tier)
    assert "passed over: note_token" in ran.out


def test_secret_values_within_a_document_are_hidden(notebook, asked):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook.run(
        "import dataclasses\n"
        "@dataclasses.dataclass\nclass Config:\n    host: str\n    api_key: str\n"
        f"config = Config('db.example', {CANARY!r})\n"
        f"tree = {{'db': {{'host': 'db2.example', 'password': {CANARY!r}}}}}\n"
        f"rows = [{{'user': 'ada', 'password': {CANARY!r}}}]"
    )
    notebook.run("%%ai_rag -d config -d tree -d rows --max-context-chars 9000\nWhich hosts?")

    assert {"db.example", "db2.example", "ada"} <= set(asked(tier).replace(";", " ").replace("=", " ").split())
    assert CANARY not in asked(tier)


@pytest.mark.parametrize("expression", ["config['token']", "config.api_key", "os.environ"])
def test_expressions_that_name_secrets_are_refused(notebook, expression):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook.run("import os")
    notebook["config"] = {"token": CANARY}
    ran = notebook.run(f"%%ai_rag -d {expression}\nWhat is it?")

    assert tier.calls == 0
    assert CANARY not in ran.out + ran.err


def test_the_tokens_of_the_settings_are_never_shown(notebook, monkeypatch):
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN", CANARY)
    monkeypatch.setenv("AI_GATEWAY_TOKEN", CANARY)
    notebook.answer_with(ScriptedTier("copilot", [Unauthorized("copilot", "the token was refused")]))
    shown = "".join(
        ran.out + ran.err for ran in map(notebook.run, ["%ai config", "%ai status", "%%ai\nHello", "%ai login"])
    )

    assert "unauthorized" in shown or "the credential was refused" in shown
    assert CANARY not in shown


def test_known_forms_of_credentials():
    assert looks_like_a_secret(CANARY)
    assert not looks_like_a_secret("the token is " + CANARY[:4])
    assert not looks_like_a_secret("a" * 40)
