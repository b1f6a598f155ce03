"""A notebook that is set up by the environment alone: nothing handed in."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gateway_core import SettingsInvalid
from gateway_core.testing.simulators import CopilotSimulator, OpenAISimulator
from notebook_ext import GatewayMagics

from .kernel import environment


@pytest.fixture
def only(monkeypatch, tmp_path, notebook):
    """Set the environment to these settings and none besides."""

    def use(**settings: str) -> dict[str, str]:
        chosen = environment(tmp_path, **settings)
        for name in list(__import__("os").environ):
            if name not in chosen:
                monkeypatch.delenv(name)
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        GatewayMagics(notebook.shell).register()
        return chosen

    return use


def test_a_circuit_that_opens_in_a_notebook_is_open_for_the_command_line(notebook, only):
    with CopilotSimulator() as copilot, OpenAISimulator() as openai:
        copilot.script(then="status_500")
        settings = only(
            AI_GATEWAY_STORE="sqlite", FAILURE_THRESHOLD="1", COPILOT_GITHUB_API=copilot.url,
            COPILOT_GITHUB_WEB=copilot.url, GITHUB_COPILOT_TOKEN=copilot.device.token, OPENAI_BASE_URL=openai.base_url,
            OPENAI_API_KEY="sk-simulated",
        )  # fmt: skip
        ran = notebook.run("%%ai answer\nHello")
        told = subprocess.run(
            [sys.executable, "-m", "gateway_core", "status", "--json"], env=settings, capture_output=True, check=True
        )
        notebook.magics = None

    tiers = {tier["backend"]: tier for tier in json.loads(told.stdout)["tiers"] if tier["backend"] != "local"}
    assert ran.error is None
    assert notebook["answer"].backend == "cloud"
    assert tiers["copilot"]["circuit"]["state"] == "open"
    assert tiers["cloud"]["circuit"]["state"] == "closed"


def test_with_nothing_set_up_documents_are_quoted_and_it_is_said(notebook, only):
    only()
    notebook["notes"] = "Refunds are given within 30 days. Parcels take three days. " + "Nothing else matters. " * 400
    ran = notebook.run("%%ai_rag answer -d notes\nWithin how many days are refunds given?")

    assert ran.error is None
    assert (notebook["answer"].backend, notebook["answer"].mode) == ("local", "extractive")
    assert "Refunds are given within 30 days." in ran.out
    assert "no AI model answered" in ran.out


def test_a_wrong_setting_is_one_line(notebook, only):
    only(FAILURE_THRESHOLD="many")
    ran = notebook.run("%%ai\nHello")

    assert isinstance(ran.error, SettingsInvalid)
    assert "FAILURE_THRESHOLD" in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err
