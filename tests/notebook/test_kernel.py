"""A real kernel, real tiers, simulated providers on real ports."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gateway_core.testing.simulators import CopilotSimulator, OpenAISimulator

from .kernel import Kernel, Outcome

HEAVY = ["gradio", "fastapi", "pandas", "httpx", "pydantic", "gateway_core.gateway", "asyncio.windows_events"]


@pytest.fixture(scope="module")
def openai() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def copilot() -> Iterator[CopilotSimulator]:
    with CopilotSimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def started(
    openai: OpenAISimulator, copilot: CopilotSimulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kernel]:
    kernel = Kernel(
        tmp_path_factory.mktemp("kernel"),
        COPILOT_GITHUB_API=copilot.url,
        COPILOT_GITHUB_WEB=copilot.url,
        GITHUB_COPILOT_TOKEN=copilot.device.token,
        COPILOT_MAX_RPM="0",
        OPENAI_BASE_URL=openai.base_url,
        OPENAI_API_KEY="sk-simulated",
    )
    try:
        before = set(kernel.value("list(__import__('sys').modules)"))
        assert kernel.run("%load_ext notebook_ext").status == "ok"
        kernel.imported = set(kernel.value("list(__import__('sys').modules)")) - before  # type: ignore[attr-defined]
        yield kernel
    finally:
        kernel.close()


@pytest.fixture
def kernel(started: Kernel, openai: OpenAISimulator, copilot: CopilotSimulator) -> Kernel:
    openai.reset()
    copilot.reset()
    if started.value("'gateway_core.gateway' in __import__('sys').modules"):
        started.run("%ai reset")
    return started


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def test_loading_imports_nothing_heavy(kernel):
    assert [name for name in HEAVY if name in kernel.imported] == []


def test_an_answer_grows_and_ends_in_one_clean_output(kernel, copilot):
    copilot.answer, copilot.token_delay = words(40), 0.03
    outcome = kernel.run("%%ai answer\nHello")

    assert outcome.status == "ok"
    assert len(set(outcome.growth)) >= 10
    assert outcome.display["data"]["text/plain"] == words(40)
    assert outcome.display["metadata"]["ai_gateway"]["backend"] == "copilot"
    assert [m["msg_type"] for m in outcome.messages].count("display_data") == 1
    assert kernel.value("[str(answer), answer.interrupted, answer.first_token_ms > 0]") == [words(40), False, True]


def test_an_interrupt_closes_the_upstream_and_keeps_the_text(kernel, copilot):
    copilot.answer, copilot.token_delay = words(400), 0.03
    pressed: list[float] = []

    def stop(outcome: Outcome) -> None:
        if not pressed and any("w5" in text for text in outcome.growth):
            pressed.append(time.time())
            kernel.interrupt()

    outcome = kernel.run("%%ai answer\nHello", stop)

    assert outcome.status == "error"
    assert outcome.error[0].startswith("Interrupted: stopped; the ")
    text, interrupted = kernel.value("[answer.text, answer.interrupted]")
    assert words(400).startswith(text)
    assert "w5" in text
    assert interrupted
    assert "interrupted: the text is not whole" in outcome.display["data"]["text/markdown"]
    deadline = time.monotonic() + 5
    while copilot.paid_calls[-1].ended is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert copilot.paid_calls[-1].outcome == "disconnected"
    assert copilot.paid_calls[-1].ended - pressed[0] < 0.3  # the promise is 0.1; three times that on a busy machine

    copilot.reset()
    assert kernel.run("%%ai\nAgain").status == "ok"


def test_a_cut_on_the_wire_is_carried_on_with_a_seam(kernel, copilot, openai):
    copilot.answer = "Paris is the capital of France and its largest city by far."
    copilot.script("cut_after:6")
    openai.answer = copilot.answer
    outcome = kernel.run("%%ai answer\nTell me of Paris")

    assert outcome.status == "ok"
    assert kernel.value("[s.backend for s in answer.segments]") == ["copilot", "cloud"]
    assert kernel.value("answer.text") == outcome.display["data"]["text/plain"]
    assert "<sup>⟫ cloud</sup>" in outcome.display["data"]["text/markdown"]


def test_run_all_stops_at_a_cell_that_nobody_answers(kernel, copilot, openai):
    copilot.script(then="status_500")
    openai.script(then="status_500")
    first, second = kernel.send("%%ai\nHello"), kernel.send("print('went on')")
    outcome = kernel.follow(first)

    assert outcome.status == "error"
    assert outcome.error[0].startswith("AllTiersFailed: no tier could answer")
    assert not any("Traceback" in line or 'File "' in line for line in outcome.error)
    assert kernel.reply(second)["status"] == "aborted"


def test_an_async_cell_may_ask(kernel):
    outcome = kernel.run(
        "import asyncio\nawait asyncio.sleep(0)\nget_ipython().run_cell_magic('ai', 'answer', 'Hello')\n"
        "await asyncio.sleep(0)\nprint(answer.backend)"
    )

    assert (outcome.status, outcome.stdout.strip()) == ("ok", "copilot")


def test_a_forked_child_asks_with_a_gateway_of_its_own(kernel):
    kernel.run("%%ai\nHello")
    outcome = kernel.run(
        "import os, sys\nchild = os.fork()\nif child == 0:\n    try:\n"
        "        gateway = get_ipython()._ai_gateway_magics.session.asked\n"
        "        os._exit(0 if gateway.ask('Hello').text else 1)\n    finally:\n        os._exit(2)\n"
        "print(os.waitpid(child, 0)[1])"
    )

    assert outcome.stdout.strip() == "0"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%%ai_rag -d my_no", ["my_notes"]),
        ("%%ai_rag answer -d my_notes -d 'my fi", ["'my file.md"]),
        ("%%ai --tier ", ["copilot", "cloud", "local"]),
        ("%%ai --on", ["--on-interrupt"]),
        ("%ai st", ["status"]),
        ("%%ai -c trip", ["trip_one"]),
        ("%%ai\nWhat of {my_n", ["my_notes"]),
    ],
)
def test_completion_offers_ours_and_nothing_else(kernel, typed, offered):
    kernel.run("my_notes = ['a']; from pathlib import Path; Path('my file.md').write_text('x');")
    if "-c" in typed:
        kernel.run("%%ai -c trip_one\nHello")
    kernel.complete(typed)

    assert kernel.complete(typed)["matches"] == offered


def test_text_mode_prints_and_updates_nothing(kernel, copilot):
    copilot.answer = "Paris"
    outcome = kernel.run("%%ai --stream text\nCapital?")

    assert outcome.stdout.startswith("Paris\n")
    assert outcome.growth == []


def test_help_by_question_mark(kernel):
    reply = kernel.reply(kernel.send("%%ai?"))

    assert "--on-interrupt" in str(reply.get("payload"))
