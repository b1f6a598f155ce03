"""The chat page at the end of a real cable: server and browser run on the laptop, the providers beyond the wire."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway_core.testing.simulators import DEFAULT_ANSWER as WHOLE
from tests.missing import missing
from tests.webui.browser import CHROMIUM, DESK, FLAGS, Page

from .test_rest import Client, serving
from .world import World

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)

pytestmark = pytest.mark.slow

PORT = 8177
URL = f"http://127.0.0.1:{PORT}"
# What Chromium asks for itself, whatever page it shows. These names alone lead nowhere; others are looked up, and seen.
BROWSERS_OWN = (
    "accounts.google.com", "clients2.google.com", "android.clients.google.com", "mtalk.google.com",
    "update.googleapis.com", "content-autofill.googleapis.com", "optimizationguide-pa.googleapis.com",
    "safebrowsing.googleapis.com", "edgedl.me.gvt1.com", "redirector.gvt1.com",
)  # fmt: skip
QUIET = "--host-resolver-rules=" + ",".join(f"MAP {name} ~NOTFOUND" for name in BROWSERS_OWN)
# Where to whatever leaves the laptop by a cable goes, from whomever; looking up a name counts too.
COUNTED = """
table inet counted {
  set left { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 1000; }
  set left6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 1000; }
  chain output {
    type filter hook output priority 0;
    oifname != "lo" meta l4proto { tcp, udp } update @left { ip daddr . meta l4proto . th dport }
    oifname != "lo" meta l4proto { tcp, udp } update @left6 { ip6 daddr . meta l4proto . th dport }
  }
}
"""


@asynccontextmanager
async def browsing(world: World, folder: Path) -> AsyncIterator[Page]:
    """A browser whose every socket is made in the laptop's namespace, on the page."""
    if CHROMIUM is None:
        missing("chromium is not installed")
    there = folder / "chromium-on-the-laptop"
    there.write_text(f'#!/bin/sh\nexec {shutil.which("ip")} netns exec {world.wires.laptop} {CHROMIUM} "$@"\n')
    there.chmod(0o755)
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=str(there), args=[*FLAGS, QUIET])
        context = await browser.new_context(viewport=DESK)
        context.set_default_timeout(60_000)
        page = Page(await context.new_page(), URL)
        await page.open()
        try:
            yield page
        finally:
            await browser.close()
        page.check()


def loaded(client: Client) -> None:
    """Wait until the page is there; the API is before."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        with client.reply("GET", "/ui/") as reply:
            if b"is loading" not in reply.read():
                return
        time.sleep(0.2)
    raise AssertionError("the page did not load")


def in_namespace(world: World, *command: str, text: str | None = None) -> str:
    whole = ["ip", "netns", "exec", world.wires.laptop, *command]
    return subprocess.run(whole, check=True, capture_output=True, text=True, input=text, timeout=30).stdout


def destinations(world: World) -> list[object]:
    """What left since `COUNTED` is in force: address, protocol, port."""
    rows = json.loads(in_namespace(world, "nft", "-j", "list", "table", "inet", "counted"))["nftables"]
    return [element["concat"] for row in rows for element in row.get("set", {}).get("elem", [])]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


async def test_the_cable_is_cut_and_mended_under_the_page(made_world: World, home: Path):
    made_world.restore()
    with serving(made_world, home, PORT, ui=True) as client:
        loaded(client)
        async with browsing(made_world, home) as page:
            network = page.tab.locator("#gw-network")
            await expect(network).to_have_text("Online")
            await page.ask("Tell me.")
            await expect(page.answer.locator(".gw-badge")).to_contain_text("Copilot")

            made_world.wires.cut()
            await expect(network).to_contain_text("Offline")
            await page.ask("Tell me more.")
            await expect(page.answer.locator(".gw-badge")).to_contain_text("This laptop")
            await expect(page.answer).to_contain_text("copilot: this laptop is offline; cloud: this laptop is offline")
            assert await page.answer_text.inner_text() == WHOLE
            first_word = await told_first_word(client, page)
            await page.picture("real-link-offline")

            made_world.wires.mend()
            await expect(network).to_have_text("Online")
            await page.ask("And now?")
            await expect(page.answer.locator(".gw-badge")).to_contain_text("Copilot")
            await page.picture("real-link-online-again")

            made_world.copilot.token_delay = 0.2
            await page.ask("Once more.", wait=False)
            await expect(page.tab.locator(".gw-answer")).to_have_count(4)
            await expect(page.answer_text).not_to_be_empty()
            made_world.wires.cut()  # in the middle of a sentence
            await expect(page.answer.locator(".gw-seam")).to_have_attribute("aria-label", "This laptop goes on here")
            await expect(page.answer).to_contain_text("in all")
            assert (await page.answer_text.inner_text()) == WHOLE
            await page.picture("real-link-cut-in-mid-answer")

    assert first_word < 3 * 0.1  # seconds, by the server's own count: nobody was waited for


async def told_first_word(client: Client, page: Page) -> float:
    """Of the last answer, in seconds."""
    chat = page.tab.url.rpartition("#chat=")[2]
    return float(client.get(f"/ui/chats/{chat}")["turns"][-1]["about"]["first_token_ms"]) / 1000


async def test_a_killed_server_loses_no_conversation(made_world: World, home: Path):
    made_world.restore()
    made_world.copilot.token_delay = 0.3
    with serving(made_world, home, PORT, ui=True) as client:
        loaded(client)
        chat = client.post("/ui/chats")["id"]
        with client.reply("POST", f"/ui/chats/{chat}/ask", prompt="Tell me.") as reply:
            text, end = "", time.monotonic() + 20
            while time.monotonic() < end and len(client.get(f"/ui/chats/{chat}")["turns"]) < 2:
                text += reply.readline().decode()
            client.kill()
    made_world.restore()
    with serving(made_world, home, PORT, ui=True) as client:
        loaded(client)
        kept = client.get(f"/ui/chats/{chat}")["turns"]

    assert [turn["role"] for turn in kept] == ["user", "assistant"]
    assert kept[1]["about"]["is_cut"] is True
    assert kept[1]["text"] != ""
    assert WHOLE.startswith(kept[1]["text"])


@pytest.mark.parametrize("way_out", ["none", "watched"])
async def test_nothing_leaves_the_laptop(made_world: World, home: Path, way_out: str):
    """The network itself is the witness: with no way out all works, and with a way out nothing takes it.

    Only the local model is set up, so that the gateway has no reason to leave either; the browser has none ever.
    """
    made_world.restore()
    if way_out == "none":
        in_namespace(made_world, "ip", "link", "set", "wire0", "down")
        in_namespace(made_world, "ip", "route", "flush", "table", "main")
    with serving(made_world, home, PORT, ui=True, **NO_CLOUD) as client:
        loaded(client)
        in_namespace(made_world, "nft", "-f", "-", text=COUNTED)
        made_world.names.asked.clear()
        async with browsing(made_world, home) as page:
            await page.attach(("pump.txt", b"The oil filter of the pump must be changed every 250 hours of work."))
            await page.ask("Tell me.")
            await expect(page.answer.locator(".gw-badge")).to_contain_text("This laptop")
            await page.tab.keyboard.press("Alt+s")
            await expect(page.tab.locator(".gw-card").first).to_be_focused()
            await page.tab.get_by_role("tab", name="Tiers").click()
            await page.tab.get_by_role("button", name="Settings").click()
            await page.tab.get_by_role("button", name="Drill: break something").click()
            await page.tab.get_by_role("button", name="Dark colours").click()
            await page.reload()
            await page.tab.get_by_role("button", name="New chat").click()
            await page.tab.get_by_role("button", name="Erase everything …").click()
            await page.tab.get_by_role("button", name="Erase everything", exact=True).click()
            await expect(page.tab.locator("#gw-banner")).to_contain_text("Everything was erased")
            left, looked_up = destinations(made_world), sorted(set(made_world.names.asked))
            await page.picture(f"real-link-{way_out}")
        in_namespace(made_world, "bash", "-c", "echo -n x > /dev/udp/10.78.0.1/9 || true")
        noticed = destinations(made_world)

    assert (looked_up, left) == ([], [])
    assert noticed == ([["10.78.0.1", "udp", 9]] if way_out == "watched" else [])  # the witness is awake


NO_CLOUD = dict.fromkeys(
    ("GITHUB_COPILOT_TOKEN", "CLOUD_PROVIDER", "OPENAI_BASE_URL", "OPENAI_API_KEY", "COPILOT_GITHUB_API",
     "COPILOT_GITHUB_WEB"), "",
)  # fmt: skip
