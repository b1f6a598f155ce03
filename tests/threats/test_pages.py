"""S1, S3: what a web page can make a browser send to this laptop, header by header, and what it gets for it."""

from __future__ import annotations

import httpx
import pytest

from ..journeys.conftest import Providers
from .live import Live

EVIL = "https://evil.example"
FORM = "application/x-www-form-urlencoded"
PROMPT = '{"prompt":"what does it cost?"}'
# What browsers add by themselves; older ones send no Sec-Fetch-... at all, so both are tried.
CROSS = {"origin": EVIL, "referer": f"{EVIL}/", "sec-fetch-site": "cross-site"}
REQUESTS = [
    pytest.param("POST", "/admin/reset", {**CROSS, "sec-fetch-mode": "no-cors"}, "", id="fetch without a body"),
    pytest.param("POST", "/ai/query", {**CROSS, "content-type": "text/plain"}, PROMPT, id="fetch of plain text"),
    pytest.param("POST", "/ai/query", {**CROSS, "content-type": "application/json"}, PROMPT, id="fetch of JSON"),
    pytest.param("OPTIONS", "/ai/query", {**CROSS, "access-control-request-method": "POST",
                 "access-control-request-headers": "content-type"}, "", id="its preflight"),
    pytest.param("OPTIONS", "/ai/query", {**CROSS, "access-control-request-method": "POST",
                 "access-control-request-private-network": "true"}, "", id="a preflight into the private network"),
    pytest.param("POST", "/ai/query", {**CROSS, "content-type": FORM, "sec-fetch-mode": "navigate"}, "prompt=x",
                 id="a form"),
    pytest.param("POST", "/ai/query/rag", {**CROSS, "content-type": "multipart/form-data; boundary=b"},
                 '--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--', id="a form with a file"),
    pytest.param("POST", "/ai/query", {**CROSS, "content-type": "text/plain;charset=UTF-8"}, PROMPT, id="a beacon"),
    pytest.param("POST", "/v1/chat/completions", {**CROSS, "content-type": "text/plain"},
                 '{"model":"auto","messages":[{"role":"user","content":"x"}]}', id="a client of OpenAI in a page"),
    pytest.param("POST", "/api/generate", {**CROSS, "content-type": FORM}, '{"model":"auto","prompt":"x"}',
                 id="a client of Ollama in a page"),
    pytest.param("GET", "/status", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors",
                 "sec-fetch-dest": "image"}, "", id="an image"),
    pytest.param("GET", "/status", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors",
                 "sec-fetch-dest": "script"}, "", id="a script"),
    pytest.param("GET", "/ui/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate",
                 "sec-fetch-dest": "iframe"}, "", id="a frame"),
    pytest.param("GET", "/ai/events", {**CROSS, "accept": "text/event-stream"}, "", id="an event source"),
    pytest.param("POST", "/ai/query", {"origin": "null", "content-type": "text/plain"}, PROMPT, id="a sandboxed frame"),
    pytest.param("POST", "/sign-in", {**CROSS, "content-type": FORM}, "token=x", id="a sign-in"),
    pytest.param("POST", "/admin/reset", {"origin": "http://127.0.0.1:{port}", "sec-fetch-site": "cross-site"}, "",
                 id="an origin that does not fit"),
    pytest.param("GET", "/status", {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors",
                 "sec-fetch-dest": "image"}, "", id="an image in a page of this laptop"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers", "body"), REQUESTS)
def test_s01_what_a_page_can_send_is_refused(
    server: Live, simulators: Providers, method: str, path: str, headers: dict[str, str], body: str
):
    sent = {name: value.replace("{port}", str(server.port)) for name, value in headers.items()}
    kinds = [sent]
    if "origin" in sent and sent["origin"] != server.url:  # old browsers say only this
        kinds.append({name: value for name, value in sent.items() if not name.startswith("sec-fetch")})
    for kind in kinds:
        reply = httpx.request(method, server.url + path, content=body.encode(), headers=kind)

        assert (reply.status_code, "page of another site" in reply.text) == (403, True)
        assert not [name for name in reply.headers if name.startswith("access-control")]
    assert not simulators.copilot.paid_calls + simulators.cloud.paid_calls + simulators.ollama.paid_calls


@pytest.mark.parametrize(
    "path", ["/ai/query", "/ai/query/rag", "/v1/chat/completions", "/v1/responses", "/v1/messages"]
)
@pytest.mark.parametrize("kind", ["text/plain", FORM, "multipart/form-data; boundary=b", "", "text/json"])
def test_s01_even_without_an_origin_only_json_is_read(server: Live, simulators: Providers, path: str, kind: str):
    reply = httpx.post(server.url + path, content=PROMPT.encode(), headers={"content-type": kind} if kind else {})

    assert reply.status_code == 415
    assert not simulators.copilot.paid_calls


def test_s01_a_reset_by_a_page_changes_nothing(server: Live, simulators: Providers):
    simulators.copilot.script(then="status_500")
    for _ in range(3):
        httpx.post(f"{server.url}/ai/query", json={"prompt": "x"}).raise_for_status()
    httpx.post(f"{server.url}/admin/reset", headers={"origin": EVIL})
    circuit = httpx.get(f"{server.url}/health").json()["circuit_state"]
    httpx.post(f"{server.url}/admin/reset").raise_for_status()

    assert circuit == "open"


def test_s01_a_link_from_another_page_of_this_laptop_leads_here(server: Live):
    """From a notebook's page, say: the user came by a click, and nothing is embedded."""
    headers = {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    assert httpx.get(f"{server.url}/health", headers=headers).status_code == 200


ORIGINS = [
    (EVIL, 403), ("http://evil.example", 403), ("null", 403), ("", 403), ("file://", 403), ("about:blank", 403),
    ("http://localhost:3000", 403), ("http://127.0.0.1", 403), ("https://127.0.0.1:{port}.evil.example", 403),
    ("http://127.0.0.1:{port}.evil.example", 403), ("http://evil.example:{port}", 403),
    ("http://127.0.0.1.evil.example:{port}", 403), ("http://localhost:{port}", 403), ("http://[::1]:{port}", 403),
    ("http://127.0.0.1:{port}@evil.example", 403), ("http://evil.example/127.0.0.1:{port}", 403),
    ("http://2130706433:{port}", 403), ("http://127.1:{port}", 403), ("http://0.0.0.0:{port}", 403),
    ("chrome-extension://abcdefghijklmnop", 403), ("vscode-webview://abc", 403), ("ftp://127.0.0.1:{port}", 403),
    ("javascript://127.0.0.1:{port}", 403), ("http://127.0.0.1:99999", 403), ("http://[", 403), ("http://", 403),
    ("127.0.0.1:{port}", 403), ("http://127.0.0.1:{port}, https://evil.example", 403),
    ("http://127.0.0.1:{port}", 200), ("HTTP://127.0.0.1:{port}", 200),
]  # fmt: skip


@pytest.mark.parametrize(("origin", "status"), ORIGINS)
def test_s03_only_our_own_origin_may_call_and_no_reply_opens_a_door(server: Live, origin: str, status: int):
    headers = {"origin": origin.replace("{port}", str(server.port))}
    replies = [
        httpx.get(f"{server.url}/health", headers=headers),
        httpx.get(f"{server.url}/nothing", headers=headers),
        httpx.post(f"{server.url}/admin/reset", headers=headers),
        httpx.post(f"{server.url}/ai/query", json={}, headers=headers),
        httpx.options(f"{server.url}/ai/query", headers={**headers, "access-control-request-method": "POST"}),
    ]

    assert [reply.status_code for reply in replies] == ([403] * 5 if status == 403 else [200, 404, 200, 422, 405])
    assert not [name for reply in replies for name in reply.headers if name.startswith("access-control")]


def test_s03_two_origins_are_foreign(server: Live):
    own = f"http://127.0.0.1:{server.port}"
    reply = httpx.get(f"{server.url}/health", headers=[("origin", own), ("origin", EVIL)])
    sites = httpx.get(f"{server.url}/health", headers=[("sec-fetch-site", "cross-site"), ("sec-fetch-site", "none")])

    assert (reply.status_code, sites.status_code) == (403, 403)
