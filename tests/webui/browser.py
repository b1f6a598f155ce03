"""What the browser tests share: tiers that answer by question, a page to act on, and what it must never do."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway_core import Gateway, Settings
from gateway_core.telemetry import Telemetry
from gateway_core.testing import ScriptedTier
from gateway_core.testing.gate import ScriptedGate
from gateway_core.tiers.base import TierInfo
from server import changes
from tests.missing import missing

from .serving import Served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PICTURES = Path(__file__).parents[2] / ".test-artifacts" / "page"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


class Answers(ScriptedTier):
    """A scripted tier whose script depends on the question. Questions without one are answered "ok"."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.to: dict[str, list[Any]] = {}
        self.cancelled_at = 0.0  # by the calendar, which the browser shares
        self.models: tuple[str, ...] = ()
        self.details: dict[str, Any] = {}

    async def info(self) -> TierInfo:
        return replace(await super().info(), models=self.models, details=self.details)

    def stream(self, prompt: Any, call: Any) -> AsyncGenerator[Any, None]:
        self.prompts.append(prompt)
        return self._timed(self._play(self.to.get(prompt.question, ["ok"]), call))

    async def _timed(self, chunks: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        before = self.cancelled
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        finally:
            if self.cancelled > before:
                self.cancelled_at = time.time()


class Stage:
    """The whole play: three tiers, a network that can be cut, a server, a browser."""

    def __init__(self, state_dir: Path) -> None:
        self.copilot, self.cloud, self.local = Answers("copilot"), Answers("cloud"), Answers("local")
        telemetry = Telemetry(time.time)
        self.network = ScriptedGate(telemetry=telemetry)
        self.copilot.address = self.cloud.address = ("192.0.2.1", 443)
        self.gateway = Gateway(
            (self.copilot, self.cloud, self.local),
            settings=Settings(ai_gateway_store="memory", ai_gateway_state_dir=state_dir, failure_threshold=1),
            telemetry=telemetry,
            network=self.network,
        )
        self.served = Served(self.gateway)
        self.browser: Any = None

    @asynccontextmanager
    async def page(self, **options: Any) -> AsyncIterator[Page]:
        """A new browser profile on the page. Leaving checks that it asked nobody else and complained of nothing."""
        context = await self.browser.new_context(**{"viewport": DESK, **options})
        context.set_default_timeout(90_000)  # a guard against hanging, on machines with much else to do
        await context.add_init_script(NOTE_LEAVING)
        seen = Page(await context.new_page(), self.served.url)
        await seen.open()
        try:
            yield seen
        finally:
            await context.close()
        seen.check()


# When the page itself let go of an answer: pressing Stop aborts, leaving hides.
NOTE_LEAVING = """
const abort = AbortController.prototype.abort;
AbortController.prototype.abort = function (...why) { window.leftAt = Date.now(); return abort.apply(this, why); };
addEventListener("pagehide", () => sessionStorage.setItem("leftAt", Date.now()));
"""


class Page:
    """One tab, in the words of its user."""

    def __init__(self, tab: Any, url: str) -> None:
        self.tab = tab
        self.url = url
        self.beside: list[Page] = []
        self.asked: list[str] = []  # paths
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        tab.on("request", self._note_request)
        tab.on("console", lambda said: said.type == "error" and self._complain(said.text))
        tab.on("pageerror", lambda error: self._complain(str(error)))

    def _note_request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        self.asked.append(parts.path)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.foreign.append(request.url)

    def _complain(self, text: str) -> None:
        if not any(words in text for words in self.expected):
            self.complaints.append(text)

    def check(self) -> None:
        """It asked nobody else, and complained of nothing."""
        assert self.foreign == []
        assert self.complaints == []
        for page in self.beside:
            page.check()

    async def open(self, address: str | None = None) -> None:
        await self.tab.goto(address or f"{self.url}/ui/")
        await self.ready()

    async def another_tab(self, address: str | None = None) -> Page:
        """Of the same browser."""
        page = Page(await self.tab.context.new_page(), self.url)
        page.expected = self.expected
        self.beside.append(page)
        await page.open(address)
        return page

    async def reload(self) -> None:
        await self.tab.reload()
        await self.ready()

    async def ready(self) -> None:
        await self.tab.wait_for_function("window.gateway && window.gateway.status.status")

    @property
    def message(self) -> Any:
        return self.tab.get_by_label("Message", exact=True)

    @property
    def answer(self) -> Any:
        """The last answer."""
        return self.tab.locator(".gw-answer").last

    @property
    def answer_text(self) -> Any:
        return self.answer.locator(".gw-text")

    async def ask(self, question: str, *, wait: bool = True) -> None:
        before = await self.tab.locator(".gw-answer").count()
        await self.message.fill(question)
        await self.message.press("Enter")
        if wait:
            await self.tab.wait_for_function(
                "before => document.querySelectorAll('.gw-answer').length > before && "
                "!document.body.classList.contains('gw-asking')",
                arg=before,
            )

    async def attach(self, *files: tuple[str, bytes]) -> None:
        """And wait until they are read or refused."""
        before = await self.tab.locator(".gw-document").count()
        given = [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files]
        await self.tab.locator("#gw-files").set_input_files(given)
        await self.tab.wait_for_function(
            "count => document.querySelectorAll('.gw-document:not(.gw-loading)').length === count",
            arg=before + len(files),
        )

    async def violations(self) -> list[tuple[str, list[str]]]:
        """What axe has to say."""
        if not await self.tab.evaluate("'axe' in window"):
            package = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
            await self.tab.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
        await self.tab.wait_for_timeout(300)  # colours change gently
        found = await self.tab.evaluate("axe.run(document).then(result => result.violations)")
        return [(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in found]

    async def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.tab.screenshot(path=str(PICTURES / f"{name}.png"))


async def until(claim: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait for something about to become true; how long it took."""
    begun = asyncio.get_running_loop().time()
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110 - what is waited for knows nothing of the test
            await asyncio.sleep(0.01)
    return asyncio.get_running_loop().time() - begun


@asynccontextmanager
async def staged(state_dir: Path) -> AsyncIterator[Stage]:
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    patch = pytest.MonkeyPatch()
    patch.setattr(changes, "SECONDS_BETWEEN_LOOKS", 3600.0)  # what the panel shows was pushed, or it is not there
    async with playwright.async_playwright() as driver:
        try:  # without one of the system's: Playwright's own, if it has been fetched
            browser = await driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        except playwright.Error:
            missing("there is no chromium that starts")
        stage = Stage(state_dir)
        stage.browser = browser
        await stage.served.start()
        try:
            yield stage
        finally:
            await stage.browser.close()
            await stage.served.stop()
            await stage.gateway.aclose()
            patch.undo()
