"""The ladder through `ask`, over simulated providers on real ports; each call builds a gateway of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gateway_core.testing.simulators import OllamaSimulator, OpenAISimulator

from .conftest import HANG, REPOSITORY


@pytest.fixture
def providers(monkeypatch):
    """A cloud and a local model; Copilot is not set up."""
    with OpenAISimulator() as openai, OllamaSimulator() as ollama:
        monkeypatch.setenv("COPILOT_USE_GH", "0")
        monkeypatch.setenv("COPILOT_EDITOR_LOGIN", "0")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-simulated")
        monkeypatch.setenv("OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url)
        monkeypatch.setenv("AI_GATEWAY_STORE", "sqlite")
        yield openai, ollama


def test_three_runs_that_fail_open_the_circuit_for_the_fourth_and_reset_closes_it(cli, providers):
    openai, _ = providers
    openai.script("status_500", "status_500", "status_500")
    backends = [cli("ask", "--json", "hi").json["backend"] for _ in range(3)]
    asked = len(openai.paid_calls)
    fourth = cli("ask", "hi")

    assert backends == ["local"] * 3
    assert (asked, len(openai.paid_calls)) == (3, 3)
    assert fourth.code == 0
    assert "cloud: left alone after" in fourth.err
    assert "cloud" in cli("status").out

    assert cli("reset").code == 0
    assert cli("ask", "--json", "hi").json["backend"] == "cloud"


def test_all_down_is_exit_3_with_a_reason_for_each_tier(cli, providers):
    for simulator in providers:
        simulator.script("status_500")
    ran = cli("ask", "hi")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("no tier could answer\n")
    assert all(f"\n  {name}" in ran.err for name in ("cloud ", "local "))


def test_a_stream_that_breaks_off_goes_on_as_one_text(cli, providers):
    openai, _ = providers
    whole = cli("ask", "Why is the sky blue?").out
    openai.script("cut_after:5")
    ran = cli("ask", "Why is the sky blue?", "--stream")

    assert (ran.code, ran.out) == (0, whole)
    assert "local goes on" in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a child is POSIX")
def test_ctrl_c_closes_the_connection_to_the_provider(providers):
    openai, _ = providers
    openai.script("stall_after:5")
    asking = subprocess.Popen(
        [sys.executable, "-m", "gateway_core", "ask", "--stream", "Why is the sky blue?"],
        cwd=REPOSITORY, env=os.environ.copy(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert asking.stdout.read(5)
        asking.send_signal(signal.SIGINT)
        _, err = asking.communicate(timeout=HANG)
    finally:
        asking.kill()
        asking.wait()
    started = time.monotonic()
    while [call.outcome for call in openai.paid_calls] != ["disconnected"]:
        assert time.monotonic() - started < HANG, openai.paid_calls
        time.sleep(0.02)

    assert asking.returncode == 130
    assert b"Traceback" not in err


def test_a_refused_key_is_told_with_its_cure_for_as_long_as_it_keeps_the_tier_unasked(cli, providers):
    openai, _ = providers
    openai.script("unauthorized", "unauthorized")
    cli("ask", "hi")
    cure = '→ renew its key or login; "ai-gateway reset" asks with this one again'

    assert cure in cli("status").out
    assert cure in cli("ask", "--tier", "cloud", "hi").err
