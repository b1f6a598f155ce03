"""The real JupyterLab in a real browser: type a cell, watch it grow, stop it, complete a name, open a source.

Screenshots are kept in `.test-artifacts/`. Needs Chromium (Debian: `apt install chromium`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_core.testing.simulators import CopilotSimulator, OpenAISimulator

from ..missing import missing
from .kernel import environment

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")

ARTIFACTS = Path(__file__).parents[2] / ".test-artifacts" / "notebook"
QUIET = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
HANG = 45_000  # milliseconds
EMPTY = {
    "cells": [],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
# Keeps every visible text of the first output that comes from now on.
WATCH = """() => {
  window.growth = [];
  const before = document.querySelectorAll('.jp-OutputArea-output').length;
  window.watching = setInterval(() => {
    const outputs = document.querySelectorAll('.jp-OutputArea-output');
    const text = outputs.length > before ? outputs[before].innerText : '';
    if (text !== window.growth[window.growth.length - 1]) window.growth.push(text);
  }, 10);
}"""


def words(count: int) -> str:
    return " ".join(f"word{number}" for number in range(count))


@pytest.fixture(scope="module")
def copilot() -> Iterator[CopilotSimulator]:
    with CopilotSimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def openai() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def lab(
    copilot: CopilotSimulator, openai: OpenAISimulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "test.ipynb").write_text(json.dumps(EMPTY), encoding="utf-8")
    notification = folder / "config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    notification.parent.mkdir(parents=True)
    notification.write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
    settings = environment(
        folder,
        COPILOT_GITHUB_API=copilot.url,
        COPILOT_GITHUB_WEB=copilot.url,
        GITHUB_COPILOT_TOKEN=copilot.device.token,
        COPILOT_MAX_RPM="0",
        OPENAI_BASE_URL=openai.base_url,
        OPENAI_API_KEY="sk-simulated",
        JUPYTER_CONFIG_DIR=str(folder / "config"),
        JUPYTER_DATA_DIR=str(folder / "data"),
        JUPYTER_RUNTIME_DIR=str(folder / "runtime"),
    )
    log = (folder / "lab.log").open("w+b")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1",
               "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", 
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
               "--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={folder}"]  # fmt: skip
    process = subprocess.Popen(command, env=settings, cwd=folder, stdout=log, stderr=log)
    try:
        yield _address(process, folder / "lab.log"), folder
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + HANG / 1000
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text(errors="replace"))
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace"))


@pytest.fixture(scope="module")
def page(lab: tuple[str, Path]) -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or os.environ.get("CHROMIUM")
    if chromium is None:
        missing("no Chromium: apt install chromium, or name one in CHROMIUM")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(HANG)
        page.goto(f"{lab[0]}/lab/tree/test.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell .cm-content")
        page.wait_for_function("() => document.querySelector('#jp-main-statusbar').innerText.includes('| Idle')")
        sheet = Sheet(page)
        sheet.run("%load_ext notebook_ext")
        sheet.run("%%ai\nwarm up")
        yield sheet
        browser.close()


@pytest.fixture(autouse=True)
def last_sight(request: pytest.FixtureRequest) -> Iterator[None]:
    """How the page looked at the end of each test, for those that fail."""
    yield
    if "page" in request.fixturenames:
        request.getfixturevalue("page").shot(f"end of {request.node.name}")


class Sheet:
    """The open notebook. Every cell is typed into the last one."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def type(self, text: str) -> None:
        self.page.locator(".jp-Notebook .jp-Cell .cm-content").last.click()
        self.page.keyboard.insert_text(text)

    def start(self, text: str) -> None:
        self.type(text)
        self.page.keyboard.press("Shift+Enter")

    def run(self, text: str) -> None:
        self.start(text)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Every cell but the last, which waits for typing, has its number."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].slice(0, -1)"
            ".every(p => /\\[\\d+\\]/.test(p.innerText))"
        )

    def watch(self) -> None:
        self.page.evaluate(WATCH)

    def growth(self) -> list[str]:
        return list(self.page.evaluate("() => { clearInterval(window.watching); return window.growth; }"))

    def offered(self) -> list[str]:
        """The names in the completer's list."""
        return [text.strip() for text in self.page.locator(".jp-Completer-match").all_inner_texts()]

    def clear(self) -> None:
        """Empty the cell that is being typed."""
        self.page.locator(".jp-Notebook .jp-Cell .cm-content").last.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Delete")

    @property
    def output(self) -> Any:
        return self.page.locator(".jp-OutputArea-output").last

    def shot(self, name: str) -> None:
        self.page.screenshot(path=str(ARTIFACTS / f"{name}.png"))


def test_a_typed_cell_grows_before_the_eye(page, copilot):
    copilot.reset()
    copilot.answer, copilot.token_delay = f"## An answer\n\n{words(88)}", 0.05
    page.watch()
    page.start("%%ai answer\nTell me something long")
    page.page.wait_for_function("() => window.growth.some(text => text.includes('word40'))")
    page.shot("growing")
    page.wait_until_idle()
    page.shot("answered")
    steps = [text for text in page.growth() if "word" in text]

    assert len(steps) >= 30
    assert page.output.locator("h2").inner_text().startswith("An answer")
    assert "word87" in page.output.inner_text()


def test_the_stop_button_keeps_the_text_and_hangs_up(page, copilot):
    copilot.reset()
    copilot.answer, copilot.token_delay = words(400), 0.05
    page.watch()
    page.start("%%ai stopped\nTell me something longer")
    page.page.wait_for_function("() => window.growth.some(text => text.includes('word10'))")
    page.page.locator('[data-command="notebook:interrupt-kernel"], jp-button[title^="Interrupt"]').first.click()
    page.wait_until_idle()
    page.shot("stopped")
    page.growth()
    shown = page.page.locator(".jp-CodeCell").nth(-2).inner_text()

    assert "word10" in shown
    assert "interrupted: the text is not whole" in shown
    assert "Interrupted: stopped" in shown
    assert "Traceback" not in shown
    assert copilot.paid_calls[-1].outcome == "disconnected"


def test_tab_completes_a_document(page):
    page.run("refund_rules = ['Refunds are given within 30 days.', 'Parcels take three days.']")
    page.type("%%ai_rag -d refund_r")
    page.page.keyboard.press("Tab")
    page.page.wait_for_selector(".jp-Completer-item")
    page.shot("completing")
    offered = page.offered()
    page.page.keyboard.press("Enter")
    typed = page.page.locator(".jp-Notebook .jp-Cell .cm-content").last
    playwright.expect(typed).to_have_text("%%ai_rag -d refund_rules")
    page.clear()

    assert offered == ["refund_rules"]


def test_several_names_are_offered_in_a_list_without_foreign_ones(page):
    page.run("order_one = 'a'; order_two = 'b'")
    page.type("%%ai_rag -d order_")
    page.page.keyboard.press("Tab")
    page.page.wait_for_selector(".jp-Completer-item")
    page.shot("choices")
    offered = page.offered()
    page.page.keyboard.press("Enter")
    page.clear()

    assert offered == ["order_one", "order_two"]


def test_sources_are_shown_and_open(page, copilot):
    copilot.reset()
    copilot.answer = "Refunds are given within 30 days [1]."
    page.run("%%ai_rag answer -d refund_rules\nWithin how many days are refunds given?")
    source = page.output.locator("details")
    source.first.locator("summary").click()
    page.shot("sources")

    assert "[1] refund_rules[0]" in source.first.inner_text()
    assert "Refunds are given within 30 days." in source.first.locator("blockquote").inner_text()


def test_a_failover_shows_its_seam(page, copilot, openai):
    copilot.reset()
    openai.reset()
    copilot.answer = openai.answer = "Paris is the capital of France, and its largest city by a wide margin."
    copilot.script("cut_after:7")
    page.run("%ai reset")
    page.run("%%ai answer\nTell me of Paris")
    page.shot("seam")

    assert page.output.locator("sup").inner_text() == "⟫ cloud"
    assert "copilot broke off after" in page.output.inner_text()
    assert "margin." in page.output.inner_text()


def test_an_image_in_an_answer_is_never_fetched(page, copilot):
    copilot.reset()
    fetched: list[str] = []
    page.page.on("request", lambda request: fetched.append(request.url))
    copilot.answer = f"Look: ![chart]({copilot.url}/stolen.png?q=secret) <img src='{copilot.url}/stolen2.png'>"
    page.run("%%ai\nShow me a chart")
    page.shot("image")

    assert page.output.locator("img").count() == 0
    assert [url for url in fetched if "stolen" in url] == []


def test_status_is_a_table(page):
    page.run("%ai status")
    page.shot("status")

    assert page.output.locator("table").count() == 1
    assert "copilot" in page.output.inner_text()


def test_the_saved_notebook_holds_final_outputs_and_no_secret(page, lab, copilot):
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("Control+s")
    path = lab[1] / "test.ipynb"
    deadline = time.monotonic() + 30
    while "Show me a chart" not in path.read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    saved = path.read_text()

    assert "asking ..." not in saved
    assert copilot.device.token not in saved
    assert "sk-simulated" not in saved
    assert str(lab[1]) not in saved
