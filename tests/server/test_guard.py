"""The door: whose requests are let in at all."""

from __future__ import annotations

import pytest

from gateway_core.testing import ScriptedTier

from .calling import JSON, calling, gateway, running

TOKEN = "s3cret-töken"
EVIL_HOSTS = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1:evil",
    "127.0.0.1:80:80", "127.0.0.1:", "127.0.0.1:99999", "localhost@evil.example", "evil.example@localhost", "127.1",
    "2130706433", "0x7f.0.0.1", "0.0.0.0", "[::]", "[evil]", "[::1", "::1", "[::1].:80", "[::ffff:127.0.0.1]",
    "localhost evil", "localhost/evil", "localhost#", "local\u212aost", "127.0.0.1..", "*", "",
]  # fmt: skip
OWN_HOSTS = [
    "127.0.0.1", "127.0.0.1:8000", "127.0.0.1:1", "localhost", "LocalHost:65535", "localhost.", "localhost.:8000",
    "[::1]", "[::1]:8000", "127.0.0.1.",
]  # fmt: skip


@pytest.mark.parametrize("host", EVIL_HOSTS)
async def test_a_foreign_host_gets_nothing(host):
    async with calling(ScriptedTier("copilot")) as client:
        replies = [
            await client.get(path, headers={"host": host.encode()}) for path in ("/", "/health", "/status", "/nothing")
        ]
        replies.append(await client.post("/ai/query", json={"prompt": "x"}, headers={"host": host.encode()}))

    assert {(reply.status_code, reply.json()["code"]) for reply in replies} == {(403, "host_refused")}


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_loopback_has_several_spellings_and_any_port(host):
    async with calling() as client:
        reply = await client.get("/health", headers={"host": host})

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("gw.lan", 200), ("GW.lan:8123", 200), ("other.lan:9000", 200), ("other.lan:9001", 403), ("x.gw.lan", 403)],
)
async def test_further_hosts_are_allowed_by_name(host, status):
    async with calling(ai_gateway_allowed_hosts="gw.lan, other.lan:9000, *") as client:
        reply = await client.get("/health", headers={"host": host})

    assert reply.status_code == status


@pytest.mark.parametrize(
    "request_lines",
    [
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: evil.example\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
    ],
)
async def test_exactly_one_host_is_needed_on_the_wire(request_lines):
    async with running(gateway()) as server:
        reader, writer = await server.send(request_lines)
        status = await reader.readline()
        writer.close()

    assert status.split()[1] in (b"403", b"400")


PAGES = [
    pytest.param({"origin": "https://evil.example"}, id="a foreign page"),
    pytest.param({"origin": "null"}, id="a sandboxed page"),
    pytest.param({"origin": "http://localhost:3000"}, id="another program of this laptop"),
    pytest.param({"origin": "https://127.0.0.1:8000.evil.example"}, id="a name that begins like ours"),
    pytest.param({"origin": "http://127.0.0.1"}, id="another port"),
    pytest.param({"origin": "file://"}, id="a file"),
    pytest.param({"sec-fetch-site": "cross-site"}, id="a browser that says so"),
    pytest.param({"sec-fetch-site": "Cross-Site", "sec-fetch-mode": "navigate"}, id="a link"),
]


@pytest.mark.parametrize("headers", PAGES)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/ai/query"), ("POST", "/admin/reset"), ("GET", "/health"), ("GET", "/status"), ("OPTIONS", "/ai/query")],
)
async def test_a_foreign_page_is_refused_everywhere(method, path, headers):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.request(method, path, content=b'{"prompt":"x"}', headers={**JSON, **headers})

    assert (reply.status_code, reply.json()["code"]) == (403, "cross_site")
    assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_a_page_cannot_slip_in_by_a_simple_request():
    """The shapes a browser sends without asking first; even one that hides its origin reads nothing and asks nobody."""
    copilot = ScriptedTier("copilot")
    async with calling(copilot) as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            reply = await client.post("/ai/query", content=b'{"prompt":"x"}', headers={"content-type": kind})
            assert reply.status_code == 415

    assert copilot.calls == 0


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9123", "[::1]:8000"])
async def test_our_own_page_may_call(host):
    async with calling(ScriptedTier("copilot")) as client:
        headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        replies = [
            await client.post("/ai/query", json={"prompt": "x"}, headers=headers),
            await client.post("/admin/reset", headers=headers),
        ]

    assert [reply.status_code for reply in replies] == [200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {TOKEN}".encode()},
        {"authorization": TOKEN.encode()},
        {"x-api-key": "wrong"},
        {"x-api-key": TOKEN.encode()[:-1]},
        {"cookie": f"token={TOKEN}".encode()},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/ai/query"), ("POST", "/ai/query/rag"), ("POST", "/admin/reset"), ("GET", "/status"),
        ("GET", "/ai/events"), ("GET", "/"), ("GET", "/openapi.json"), ("GET", "/nothing"), ("GET", "/health/"),
    ],
)  # fmt: skip
async def test_with_a_token_set_nothing_but_health_is_open(method, path, headers):
    async with calling(ScriptedTier("copilot"), ai_gateway_token=TOKEN) as client:
        reply = await client.request(method, path, content=b'{"prompt":"x"}', headers={**JSON, **headers})
        health = await client.get("/health", headers=headers)

    assert (reply.status_code, reply.json()["code"], health.status_code) == (401, "token_needed", 200)
    assert reply.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in reply.text


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}".encode()},
        {"authorization": f"bearer {TOKEN}".encode()},
        {"x-api-key": TOKEN.encode()},
    ],
)
async def test_the_token_opens_by_either_header(headers):
    async with calling(ScriptedTier("copilot"), ai_gateway_token=TOKEN) as client:
        reply = await client.post("/ai/query", json={"prompt": "x"}, headers=headers)

    assert reply.status_code == 200


async def test_no_reply_carries_a_cors_header():
    async with calling(ScriptedTier("copilot")) as client:
        replies = [
            await client.get("/health"),
            await client.post("/ai/query", json={"prompt": "x"}),
            await client.options("/ai/query"),
        ]

    assert not [name for reply in replies for name in reply.headers if name.startswith("access-control")]


PAGE = {"accept": "text/html,*/*"}


async def test_a_browser_is_asked_for_the_token_once():
    own = {"origin": "http://127.0.0.1:8000"}
    async with calling(ai_gateway_token=TOKEN) as client:
        asked = await client.get("/", headers=PAGE)
        wrong = await client.post("/sign-in", data={"token": "wrong"}, headers=own)
        right = await client.post("/sign-in", data={"token": TOKEN}, headers=own)
        cookie = right.headers["set-cookie"]
        status = await client.get("/status")

    assert (asked.status_code, wrong.status_code, right.status_code, status.status_code) == (401, 401, 303, 200)
    assert 'type="password"' in asked.text
    assert "not right" in wrong.text
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert "script" not in asked.text


async def test_a_program_is_told_in_json_and_no_foreign_page_signs_in():
    async with calling(ai_gateway_token=TOKEN) as client:
        program = await client.get("/")
        foreign = await client.post("/sign-in", data={"token": TOKEN}, headers={"origin": "http://evil.example"})
        guessed = await client.get("/status", headers={"cookie": "ai_gateway_session=0; x=\x01;;="})

    assert program.json()["code"] == "token_needed"
    assert (foreign.status_code, guessed.status_code) == (403, 401)
    assert "set-cookie" not in foreign.headers


async def test_a_session_ends_with_its_token():
    async with calling(ai_gateway_token=TOKEN) as client:
        await client.post("/sign-in", data={"token": TOKEN})
        session = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    async with calling(ai_gateway_token="another") as client:
        reply = await client.get("/status", headers={"cookie": session})

    assert reply.status_code == 401
