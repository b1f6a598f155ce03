"""Pages of other origins: only those named, only where one asks, and never by cookie."""

from __future__ import annotations

import pytest

from gateway_core import Settings, SettingsInvalid
from gateway_core.testing import ScriptedTier

from .calling import calling

APP = "https://app.example"
TOKEN = "a-token-of-some-length"
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
    "sec-fetch-site": "cross-site",
}
FROM_THE_PAGE = {"origin": APP, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}


def cors(reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control")}


def talking(*tiers, **settings):
    return calling(*tiers, ai_gateway_cors_origins=f"{APP}, http://localhost:3000", **settings)


@pytest.mark.parametrize("path", ["/ai/query", "/v1/chat/completions", "/v1/embeddings", "/api/chat", "/status"])
async def test_a_browser_is_told_what_a_named_page_may_do(path):
    async with talking(ai_gateway_token=TOKEN) as client:
        reply = await client.options(path, headers=PREFLIGHT)

    assert reply.status_code == 204
    assert cors(reply) == {
        "access-control-allow-origin": APP,
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization,content-type,x-stainless-os",
        "access-control-max-age": "600",
    }
    assert "Origin" in reply.headers["vary"]


async def test_a_named_page_asks_and_reads_who_answered():
    async with talking(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", json={"prompt": "x"}, headers=FROM_THE_PAGE)

    assert (reply.status_code, reply.json()["response"]) == (200, "ok")
    assert reply.headers["access-control-allow-origin"] == APP
    assert "x-ai-gateway-backend" in reply.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in reply.headers
    assert reply.headers["vary"] == "Origin"


async def test_a_named_page_reads_a_stream():
    async with talking(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", json={"prompt": "x", "stream": True}, headers=FROM_THE_PAGE)

    assert reply.headers["access-control-allow-origin"] == APP
    assert "event: done" in reply.text


async def test_a_named_page_reads_refusals_too():
    async with talking(ScriptedTier("copilot"), ai_gateway_token=TOKEN, ai_gateway_max_rpm=1) as client:
        with_token = {**FROM_THE_PAGE, "authorization": f"Bearer {TOKEN}"}
        unknown = await client.post("/ai/query", json={"prompt": "x"}, headers=FROM_THE_PAGE)
        faulty = await client.post("/ai/query", json={}, headers=with_token)
        too_many = await client.post("/ai/query", json={"prompt": "x"}, headers=with_token)

    assert [r.status_code for r in (unknown, faulty, too_many)] == [401, 422, 429]
    assert {r.headers["access-control-allow-origin"] for r in (unknown, faulty, too_many)} == {APP}
    assert "retry-after" in too_many.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://app.example", "https://app.example:8443", "https://app.example.evil.example",
     "https://sub.app.example", "https://APP.example", "https://app.example/", "http://localhost:3001", "*"],
)  # fmt: skip
async def test_any_other_page_is_refused_as_before(origin):
    async with talking(ScriptedTier("copilot")) as client:
        headers = {**PREFLIGHT, "origin": origin}
        replies = [
            await client.options("/ai/query", headers=headers),
            await client.post("/ai/query", json={"prompt": "x"}, headers={"origin": origin}),
        ]

    assert [(reply.status_code, reply.json()["code"]) for reply in replies] == [(403, "cross_site")] * 2
    assert not any(map(cors, replies))


async def test_a_browser_that_names_no_origin_is_refused_as_before():
    async with talking(ScriptedTier("copilot")) as client:
        reply = await client.post("/ai/query", json={"prompt": "x"}, headers={"sec-fetch-site": "cross-site"})

    assert reply.status_code == 403


async def test_two_origins_are_none():
    async with talking(ScriptedTier("copilot")) as client:
        headers = [("origin", APP), ("origin", APP), ("content-type", "application/json")]
        reply = await client.post("/ai/query", content=b'{"prompt":"x"}', headers=headers)

    assert reply.status_code == 403


@pytest.mark.parametrize(
    "path", ["/admin/reset", "/metrics", "/sign-in", "/", "/ui/", "/openapi.json", "/ai", "/statusx"]
)
async def test_the_rest_stays_closed_to_named_pages(path):
    async with talking() as client:
        replies = [
            await client.options(path, headers=PREFLIGHT),
            await client.post(path, headers=FROM_THE_PAGE),
            await client.get(path, headers=FROM_THE_PAGE),
        ]

    assert {(reply.status_code, reply.json()["code"]) for reply in replies} == {(403, "cross_site")}
    assert not any(map(cors, replies))


async def test_a_session_is_worth_nothing_in_a_named_page():
    """`http://localhost:3000` is the same site as we are: its requests can carry our cookie."""
    page = {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}
    async with talking(ScriptedTier("copilot"), ai_gateway_token=TOKEN) as client:
        await client.post("/sign-in", data={"token": TOKEN})
        own = await client.get("/status")
        foreign = await client.get("/status", headers=page)

    assert (own.status_code, foreign.status_code) == (200, 401)


async def test_a_named_page_still_needs_a_name_of_ours():
    async with talking(ScriptedTier("copilot")) as client:
        reply = await client.options("/ai/query", headers={**PREFLIGHT, "host": "evil.example"})

    assert (reply.status_code, reply.json()["code"]) == (403, "host_refused")


async def test_replies_differ_by_origin_even_where_none_was_sent():
    async with talking() as client:
        open_to_pages = await client.get("/health")
        closed = await client.get("/metrics")

    assert open_to_pages.headers["vary"] == "Origin"
    assert not cors(open_to_pages)
    assert "vary" not in closed.headers


async def test_wished_headers_that_are_none_are_not_repeated():
    async with talking() as client:
        for wish in ("x: y", "a,,b", "a" * 3000, 'x"', "x;y"):
            reply = await client.options("/ai/query", headers={**PREFLIGHT, "access-control-request-headers": wish})
            assert (reply.status_code, "access-control-allow-headers" in reply.headers) == (204, False)


async def test_without_a_named_origin_nothing_changes():
    async with calling(ScriptedTier("copilot")) as client:
        replies = [await client.options("/ai/query", headers=PREFLIGHT), await client.get("/health")]

    assert [reply.status_code for reply in replies] == [403, 200]
    assert not any(map(cors, replies))
    assert "vary" not in replies[1].headers


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("https://App.Example", ("https://app.example",)),
        ("https://app.example:443,http://app.example:80", ("https://app.example", "http://app.example")),
        (" http://localhost:3000 ,, http://[::1]:3000 ", ("http://localhost:3000", "http://[::1]:3000")),
        ("", ()),
    ],
)
def test_origins_are_kept_as_browsers_write_them(told, kept):
    assert Settings.load(ai_gateway_cors_origins=told).cors_origins == kept


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("*", "every web page"),
        ("https://app.example, *", "every web page"),
        ("https://*.example", "every web page"),
        ("null", "sandboxed"),
        ("app.example", "https://app.example"),
        ("https://app.example/", "without a path"),
        ("https://app.example/x", "without a path"),
        ("https://app.example?", "without a path"),
        ("https://me@app.example", "https://app.example"),
        ("ftp://app.example", "https://app.example"),
        ("file://", "https://app.example"),
        ("https://app.example:99999", "65535"),
        ("https://bücher.example", "xn--"),
        ("https://", "https://app.example"),
    ],
)
def test_a_wrong_origin_stops_the_program_with_one_line(told, words):
    with pytest.raises(SettingsInvalid) as caught:
        Settings.load(ai_gateway_cors_origins=told)

    line = str(caught.value)
    assert line.startswith("AI_GATEWAY_CORS_ORIGINS: ")
    assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("https://evil.example", ()),
        ("http://localhost:3000,https://evil.example", ()),
        ("http://localhost:3000", ("http://localhost:3000",)),
    ],
)
def test_a_folder_does_not_open_the_gateway_to_its_author(empty_home, told, kept):
    (empty_home / ".env").write_text(f"AI_GATEWAY_CORS_ORIGINS={told}\n", encoding="utf-8")

    assert Settings.load().cors_origins == kept


def test_a_folder_that_brings_its_own_token_may(empty_home):
    (empty_home / ".env").write_text(
        f"AI_GATEWAY_CORS_ORIGINS=https://app.example\nAI_GATEWAY_TOKEN={TOKEN}\n", encoding="utf-8"
    )

    assert Settings.load().cors_origins == (APP,)
