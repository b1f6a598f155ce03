"""The door: whose requests are let in at all. Attacks on it by raw bytes are in `tests/threats`."""

from __future__ import annotations

import asyncio

import pytest

from gateway_core.testing import ScriptedTier
from server.sign_in import COOKIE, session_of

from .calling import JSON, calling

TOKEN = "s3cret-töken"


@pytest.mark.parametrize(
    ("host", "status"),
    [("gw.lan", 200), ("GW.lan:8123", 200), ("other.lan:9000", 200), ("other.lan:9001", 403), ("x.gw.lan", 403)],
)
async def test_further_hosts_are_allowed_by_name(host, status):
    async with calling(ai_gateway_allowed_hosts="gw.lan, other.lan:9000, *") as client:
        reply = await client.get("/health", headers={"host": host})

    assert reply.status_code == status


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


@pytest.mark.parametrize("by", ["cookie", "x-api-key"])
async def test_a_session_is_as_hard_to_guess_as_the_token_it_is_made_of(by):
    def guess(number: int) -> str:
        token = f"guess-{number}"
        return f"{COOKIE}={session_of(token.encode()).decode()}" if by == "cookie" else token

    async with calling(ScriptedTier("copilot"), ai_gateway_token=TOKEN) as client:
        replies = await asyncio.gather(*(client.get("/status", headers={by: guess(n)}) for n in range(60)))

    assert {reply.status_code for reply in replies} == {401, 429}


async def test_a_request_holds_no_more_than_one_guess():
    wrong = [("x-api-key", f"guess-{number}") for number in range(1000)]
    async with calling(ScriptedTier("copilot"), ai_gateway_token="the-right-one") as client:
        both = [("x-api-key", "none"), ("authorization", "Bearer the-right-one")]
        statuses = [
            (await client.get("/status", headers=headers)).status_code
            for headers in (both, [*wrong, ("x-api-key", "the-right-one")])
        ]

    assert statuses == [200, 401]


async def test_a_session_ends_with_its_token():
    async with calling(ai_gateway_token=TOKEN) as client:
        await client.post("/sign-in", data={"token": TOKEN})
        session = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    async with calling(ai_gateway_token="another") as client:
        reply = await client.get("/status", headers={"cookie": session})

    assert reply.status_code == 401
