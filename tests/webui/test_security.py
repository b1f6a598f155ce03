"""What a browser, and a page of somebody else in it, may not do with the page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from gateway_core import Gateway, Settings
from gateway_core.testing import ScriptedTier
from webui.security import POLICY, is_served
from webui.shell import FOREIGN_MANIFEST, HEAD, put_head

from .serving import Served

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/assets/index-abc.js", "/static/img/logo.svg", "/gradio_api/heartbeat/x1", "/chats",
     "/chats/0123456789abcdef/ask", "/page/app.js", "/manifest.json"],
)  # fmt: skip
def test_what_the_page_needs_is_served(path):
    assert is_served(path)


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/upload", "/upload", "/gradio_api/file=http://evil.example/", "/file=/etc/passwd", "/proxy=http://a/",
     "/gradio_api/proxy=https://a/", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/x",
     "/monitoring", "/gradio_api/deep_link", "/login", "/static/../../etc/passwd", "/page/../api.py",
     "/gradio_api/component_server", "/gradio_api/stream/x", "/docs", "/openapi.json",
     "/assets//etc/passwd"],
)  # fmt: skip
def test_everything_else_of_gradio_is_not(path):
    assert not is_served(path)


def test_the_policy_lets_nothing_come_from_or_go_to_another_host():
    sources = {rule.split()[0]: rule.split()[1:] for rule in POLICY.split("; ")}

    assert all("*" not in found and "http" not in found for found in POLICY.split())
    assert (sources["connect-src"], sources["default-src"]) == (["'self'"], ["'self'"])


def test_the_head_is_put_into_the_document_even_if_gradio_changes_it():
    assert put_head(b"<head>" + FOREIGN_MANIFEST + b"</head>") == b"<head>" + HEAD + b"</head>"
    assert put_head(b"<head></head>") == b"<head>" + HEAD + b"</head>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(ai_gateway_store="memory", ai_gateway_state_dir=tmp_path_factory.mktemp("state"))
    served = Served(Gateway((ScriptedTier("copilot"),), settings=settings))
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as client:
        yield client
    await served.stop()


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
class TestServed:
    async def test_the_page_comes_with_its_policy_and_no_path_of_the_machine(self, client):
        reply = await client.get("/ui/")

        assert (reply.status_code, reply.headers["content-security-policy"]) == (200, POLICY)
        assert HEAD.decode() in reply.text
        assert str(REPOSITORY) not in reply.text
        assert FOREIGN_MANIFEST.decode() not in reply.text

    @pytest.mark.parametrize(
        ("method", "path", "headers"),
        [
            pytest.param("GET", "/ui/", {"host": "evil.example"}, id="a foreign name that leads here"),
            pytest.param("GET", "/ui/chats", {"origin": "http://evil.example"}, id="a foreign origin"),
            pytest.param("DELETE", "/ui/chats", {"sec-fetch-site": "cross-site"}, id="a foreign page erases"),
            pytest.param("POST", "/ui/chats", {"origin": "null"}, id="a page without an origin"),
        ],
    )
    async def test_foreign_pages_are_refused(self, client, method, path, headers):
        reply = await client.request(method, path, headers={"content-type": "application/json", **headers})

        assert reply.status_code == 403

    async def test_the_page_can_be_installed(self, client):
        manifest = await client.get("/ui/manifest.json")
        icons = {icon["src"]: icon["type"] for icon in manifest.json()["icons"]}
        found = {src: await client.get(f"/ui/{src}") for src in icons}

        assert (manifest.status_code, manifest.headers["content-type"]) == (200, "application/manifest+json")
        assert {src: reply.headers["content-type"] for src, reply in found.items()} == icons
        assert all(reply.status_code == 200 and reply.content for reply in found.values())
        assert found["page/icon-512.png"].content[:8] == b"\x89PNG\r\n\x1a\n"

    @pytest.mark.parametrize("path", ["/ui/gradio_api/upload", "/ui/upload"])
    async def test_an_html_file_is_not_taken(self, client, path):
        files = {"files": ("page.html", b"<script>alert(1)</script>", "text/html")}
        plain = await client.post(path, files=files)
        foreign = await client.post(path, files=files, headers={"origin": "http://evil.example"})

        assert (plain.status_code, foreign.status_code) == (404, 403)

    @pytest.mark.parametrize(
        "path",
        [
            "/ui/gradio_api/file=http://127.0.0.1:1/",
            "/ui/gradio_api/file=/etc/passwd",
            "/ui/static/..%2f..%2f..%2f..%2fetc/passwd",
            "/ui/page/..%2fapi.py",
            "/ui/page/%2e%2e/api.py",
            "/ui/chats/..%2f..%2fetc/export/md",
            "/ui/gradio_api/proxy=https://example.org/",
        ],
    )
    async def test_no_file_and_no_address_is_fetched(self, client, path):
        assert (await client.get(path)).status_code == 404

    async def test_a_document_of_markup_comes_back_as_text_only(self, client):
        chat = (await client.post("/ui/chats", json={})).json()["id"]
        reply = await client.post(
            f"/ui/chats/{chat}/documents?name=a.html",
            content=b"<p>Hello</p><script>alert(1)</script>",
            headers={"content-type": "application/octet-stream"},
        )

        assert reply.status_code == 201
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.slow
def test_the_api_answers_long_before_the_page_is_loaded(tmp_path):
    """A server in a process of its own, and in order instead of in seconds, which the benchmark measures."""
    code = "from server import serve; serve('127.0.0.1', 0, tell=lambda line: print(line, flush=True))"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AI_GATEWAY_STATE_DIR": str(tmp_path / "state"),
                   "COPILOT_USE_GH": "0", "AI_GATEWAY_STORE": "memory"}  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split(" on ")[1].split()[0]
            health = httpx.get(f"{url}/health")
            waiting = httpx.get(f"{url}/ui/")
        finally:
            server.terminate()

    assert json.loads(health.text)["status"] in ("ok", "degraded")
    assert (waiting.status_code, "is loading" in waiting.text) == (200, True)
