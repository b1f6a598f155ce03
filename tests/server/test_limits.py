"""How much a caller may ask, where the owner has set a limit, and how often a token may be guessed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway_core.testing import ManualClock, ScriptedTier, run_virtual
from server import create_app
from server.front_ends import FrontEnd
from server.limits import Window

from .calling import BASE, called, calling, gateway, running, until

QUESTION = {"prompt": "x"}
CHAT = {"messages": [{"role": "user", "content": "x"}]}
TOKEN = "a-token-of-some-length"
RIGHT = {"authorization": f"Bearer {TOKEN}"}
WRONG = {"authorization": "Bearer wrong"}


async def test_a_caller_may_send_so_many_within_any_minute():
    clock = ManualClock()
    copilot = ScriptedTier("copilot")
    async with calling(copilot, clock=clock, ai_gateway_max_rpm=3) as client:
        statuses = []
        for seconds in (0, 20, 20, 10, 9, 1, 1):
            clock.advance(seconds)
            statuses.append((await client.post("/ai/query", json=QUESTION)).status_code)

    assert statuses == [200, 200, 200, 429, 429, 200, 429]
    assert copilot.calls == 4


async def test_who_is_refused_hears_why_and_until_when():
    clock = ManualClock()
    async with calling(ScriptedTier("copilot"), clock=clock, ai_gateway_max_rpm=1) as client:
        await client.post("/ai/query", json=QUESTION)
        clock.advance(12.5)
        reply = await client.post("/ai/query", json=QUESTION)

    told = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status_code, told["code"], told["retry_after"]) == (429, "too_many_requests", 47.5)
    assert reply.headers["retry-after"] == "48"
    assert "AI_GATEWAY_MAX_RPM" in told["cure"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/chat/completions", CHAT, lambda error: error["code"]),
        ("/v1/responses", {"input": "x"}, lambda error: error["code"]),
        ("/v1/embeddings", {"input": "x"}, lambda error: error["code"]),
        ("/v1/messages", {**CHAT, "max_tokens": 9}, lambda error: error["ai_gateway"]["code"]),
    ],
)
async def test_each_surface_says_it_in_its_own_words(path, body, code):
    async with calling(ScriptedTier("copilot"), ai_gateway_max_rpm=1) as client:
        await client.post(path, json=body)
        reply = await client.post(path, json=body)

    error = reply.json()["error"]
    assert (reply.status_code, error["type"], code(error)) == (429, "rate_limit_error", "too_many_requests")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert "x-should-retry" not in reply.headers


async def test_the_ollama_surface_says_it_as_one_line():
    async with calling(ScriptedTier("copilot"), ai_gateway_max_rpm=1) as client:
        await client.post("/api/chat", json=CHAT)
        reply = await client.post("/api/chat", json=CHAT)

    assert reply.status_code == 429
    assert "AI_GATEWAY_MAX_RPM" in reply.json()["error"]


async def test_looking_is_never_counted():
    async with calling(ScriptedTier("copilot"), ai_gateway_max_rpm=1, ai_gateway_max_in_flight=1) as client:
        await client.post("/ai/query", json=QUESTION)
        looks = ("/health", "/status", "/metrics", "/", "/v1/models", "/api/tags", "/api/version", "/openapi.json")
        replies = [await client.get(path) for path in looks for _ in range(3)]

    assert {reply.status_code for reply in replies} == {200}


async def test_without_a_token_each_address_is_a_caller_of_its_own():
    app = create_app(gateway(ScriptedTier("copilot"), ai_gateway_max_rpm=1))
    statuses = []
    for host, port in (("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.2", 1)):
        transport = httpx.ASGITransport(app=app, client=(host, port))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            statuses.append((await client.post("/ai/query", json=QUESTION)).status_code)

    assert statuses == [200, 429, 200]


async def test_who_holds_the_token_is_one_caller_from_wherever():
    app = create_app(gateway(ScriptedTier("copilot"), ai_gateway_max_rpm=1, ai_gateway_token=TOKEN))
    statuses = []
    for host in ("127.0.0.1", "127.0.0.2"):
        transport = httpx.ASGITransport(app=app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            statuses.append((await client.post("/ai/query", json=QUESTION, headers=RIGHT)).status_code)

    assert statuses == [200, 429]


async def test_a_wrong_token_takes_no_place_from_the_right_one():
    async with calling(ScriptedTier("copilot"), ai_gateway_max_rpm=1, ai_gateway_token=TOKEN) as client:
        for _ in range(3):
            await client.post("/ai/query", json=QUESTION, headers=WRONG)
        reply = await client.post("/ai/query", json=QUESTION, headers=RIGHT)

    assert reply.status_code == 200


async def test_only_so_many_are_answered_at_a_time():
    copilot = ScriptedTier("copilot", [0.3, "ok"])
    async with calling(copilot, ai_gateway_max_in_flight=2) as client:
        under_way = [asyncio.create_task(client.post("/ai/query", json=QUESTION)) for _ in range(2)]
        await until(lambda: copilot.calls == 2)
        over = await client.post("/v1/chat/completions", json=CHAT)
        replies = await asyncio.gather(*under_way)
        after = await client.post("/ai/query", json=QUESTION)

    assert (over.status_code, over.json()["error"]["code"]) == (429, "too_many_requests")
    assert [reply.status_code for reply in (*replies, after)] == [200, 200, 200]


async def test_an_answer_that_waits_for_its_client_keeps_its_place():
    copilot = ScriptedTier("copilot", *[["one ", 60.0]] * 6)
    statuses = []
    async with running(gateway(copilot, ai_gateway_max_in_flight=2)) as server:
        for number in range(6):
            request = server.post("/ai/query", {**QUESTION, "stream": True}, idempotency_key=f"k{number}")
            reader, writer = await server.send(request)
            statuses.append(int((await reader.readuntil(b"\r\n")).split()[1]))
            if statuses[-1] == 200:
                await reader.readuntil(b"one ")
            writer.close()
            await asyncio.sleep(0.05)

    assert (statuses, copilot.calls) == ([200, 200, 429, 429, 429, 429], 2)


async def test_a_place_is_free_again_after_an_error():
    async with calling(ScriptedTier("copilot"), ai_gateway_max_in_flight=1) as client:
        statuses = [(await client.post("/ai/query", json={})).status_code for _ in range(3)]

    assert statuses == [422, 422, 422]


async def test_a_question_of_the_page_counts_and_its_files_do_not(tmp_path: Path):
    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    front_end = FrontEnd("ui", lambda: lambda gateway: page)
    app = create_app(gateway(ScriptedTier("copilot"), ai_gateway_max_rpm=2), front_ends=[front_end])
    front_end._app = page
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
        paths = ("chats/1/ask", "chats", "chats/1/documents", "chats/1/ask", "queue/join", "chats/1/ask")
        posts = [(await client.post(f"/ui/{path}", content=b"{}")).status_code for path in paths]
        gets = [(await client.get("/ui/static/page.js")).status_code for _ in range(3)]

    assert posts == [200, 200, 200, 200, 200, 429]
    assert gets == [200, 200, 200]


def test_the_window_never_lets_in_more_than_its_number_within_any_minute():
    window, let_in = Window(5), []
    for moment in range(0, 1000, 3):
        if not window.enter(float(moment)):
            let_in.append(moment)

    assert len(let_in) > 60
    assert max(sum(start <= moment < start + 60 for moment in let_in) for start in range(1000)) == 5


def test_a_wait_is_exactly_long_enough():
    window = Window(2)
    assert (window.enter(0.0), window.enter(10.0), window.enter(30.0)) == (0.0, 0.0, 30.0)
    assert window.enter(60.0) == 0.0


# Guesses


def in_virtual_time(story):
    async def told():
        async with called(gateway(ScriptedTier("copilot"), ai_gateway_token=TOKEN)) as client:
            return await story(client)

    return run_virtual(told())


async def _guess(client: httpx.AsyncClient, headers: dict[str, str] = WRONG) -> tuple[int, float]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    reply = await client.get("/status", headers=headers)
    return reply.status_code, loop.time() - begun


def test_the_first_wrong_tokens_are_answered_at_once_and_later_ones_slowly():
    async def story(client):
        return [await _guess(client) for _ in range(30)]

    guesses = in_virtual_time(story)

    assert {status for status, _ in guesses} == {401}
    assert [seconds for _, seconds in guesses[:10]] == [0] * 10
    assert all(seconds >= 0.2 for _, seconds in guesses[10:])


def test_a_flood_of_guesses_gets_a_few_looks_a_second():
    async def story(client):
        loop = asyncio.get_running_loop()
        for _ in range(10):
            await _guess(client)
        begun, looked, refused = loop.time(), 0, []
        while loop.time() - begun < 10:
            replies = await asyncio.gather(*(client.get("/status", headers=WRONG) for _ in range(50)))
            looked += sum(reply.status_code == 401 for reply in replies)
            refused += [reply for reply in replies if reply.status_code == 429]
        return looked / (loop.time() - begun), refused

    looks_a_second, refused = in_virtual_time(story)

    assert looks_a_second <= 4.1
    assert len(refused) > 100
    assert refused[0].json()["code"] == "too_many_guesses"
    assert refused[0].headers["retry-after"] == "2"


def test_the_right_token_is_let_in_after_any_number_of_wrong_ones():
    async def story(client):
        for _ in range(50):
            await _guess(client)
        return [await _guess(client, RIGHT) for _ in range(3)]

    (first, wait), *others = in_virtual_time(story)

    assert (first, others) == (200, [(200, 0), (200, 0)])
    assert wait <= 2


def test_a_connection_that_has_shown_the_token_does_not_notice_a_flood():
    async def story(client):
        others = httpx.ASGITransport(app=client._transport.app, client=("127.0.0.1", 999))
        async with httpx.AsyncClient(transport=others, base_url=BASE) as attacker:
            before = await _guess(client, RIGHT)
            flood = [asyncio.create_task(attacker.get("/status", headers=WRONG)) for _ in range(100)]
            await asyncio.sleep(0.1)
            during = await _guess(client, RIGHT)
            await asyncio.gather(*flood)
        return before, during

    assert in_virtual_time(story) == ((200, 0), (200, 0))


def test_another_address_does_not_notice_either():
    async def story(client):
        for _ in range(30):
            await _guess(client)
        elsewhere = httpx.ASGITransport(app=client._transport.app, client=("192.0.2.7", 5))
        async with httpx.AsyncClient(transport=elsewhere, base_url=BASE) as other:
            return await _guess(other), await _guess(other, RIGHT)

    assert in_virtual_time(story) == ((401, 0), (200, 0))


def test_guessing_in_the_form_is_limited_too():
    async def story(client):
        for _ in range(10):
            await client.post("/sign-in", data={"token": "wrong"})
        loop = asyncio.get_running_loop()
        begun = loop.time()
        wrong = await client.post("/sign-in", data={"token": "wrong"})
        right = await client.post("/sign-in", data={"token": TOKEN})
        return wrong.status_code, right.status_code, loop.time() - begun

    wrong, right, seconds = in_virtual_time(story)

    assert (wrong, right) == (401, 303)
    assert seconds >= 0.5


def test_a_request_without_any_token_is_no_guess():
    async def story(client):
        for _ in range(30):
            await client.get("/status")
            await client.get("/status", headers={"cookie": "ai_gateway_session=0"})
        return await _guess(client), await _guess(client, RIGHT)

    assert in_virtual_time(story) == ((401, 0), (200, 0))


def test_wrong_tokens_are_forgotten_with_time():
    async def story(client):
        for _ in range(20):
            await _guess(client)
        await asyncio.sleep(300)
        return [await _guess(client) for _ in range(10)]

    assert {seconds for _, seconds in in_virtual_time(story)} == {0}
