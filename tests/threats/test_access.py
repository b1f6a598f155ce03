"""S14: without the token nothing is done; one caller's answer is not another's."""

from __future__ import annotations

import time

import httpx
import pytest

from ..journeys.conftest import Providers
from .live import TOKEN, Live

WRONG = [
    {}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}, {"authorization": TOKEN},
    {"authorization": f"Bearer {TOKEN[:-1]}"}, {"authorization": f"Bearer {TOKEN}x"}, {"x-api-key": TOKEN.upper()},
    {"cookie": f"ai_gateway_session={TOKEN}"}, {"cookie": f"token={TOKEN}"}, {"x-forwarded-for": "127.0.0.1"},
    {"authorization": f"Bearer {TOKEN} x"}, {"x-original-url": "/health"}, {"x-http-method-override": "GET"},
    {"proxy-authorization": f"Bearer {TOKEN}"}, {"cookie": 'ai_gateway_session="\\303\\251"; x="'},
]  # fmt: skip


def test_s14_no_documented_endpoint_but_health_is_open(guarded: Live, providers: Providers):
    told = httpx.get(f"{guarded.url}/openapi.json", headers=guarded.headers).json()["paths"]
    asked = [(method.upper(), path) for path, methods in told.items() for method in methods if path != "/health"]
    assert len([method for method, _ in asked if method != "GET"]) >= 8
    with httpx.Client(base_url=guarded.url, timeout=30) as client:
        for method, path in asked:
            for headers in WRONG if path == "/admin/reset" else WRONG[:2]:  # guesses are slowed down
                body = b'{"prompt":"x","messages":[{"role":"user","content":"x"}],"max_tokens":1}'
                kind = {"content-type": "application/json"}
                reply = client.request(method, path, content=body, headers={**kind, **headers})

                assert (method, path, headers, reply.status_code) in [
                    (method, path, headers, status) for status in (401, 429)
                ]
                assert TOKEN not in reply.text
    assert providers.copilot.paid_calls + providers.cloud.paid_calls + providers.ollama.paid_calls == []


def test_s14_a_token_in_the_address_opens_nothing(guarded: Live):
    """It would stand in histories and logs."""
    for query in (f"token={TOKEN}", f"key={TOKEN}", f"api_key={TOKEN}", f"access_token={TOKEN}"):
        assert httpx.get(f"{guarded.url}/status?{query}", timeout=30).status_code == 401
    assert TOKEN not in guarded.log.read_text("utf-8")


def test_s14_the_sign_in_takes_nothing_but_the_token(guarded: Live):
    forms = [b"", b"token=", b"token=%00", b"token=%ff", b"token=%ED%A0%80", b"token[]=a", b"\xff\xfe", b"a=b&" * 2000,
             f"token={TOKEN[:-1]}".encode(), f"Token={TOKEN}".encode(), f'{{"token":"{TOKEN}"}}'.encode()]  # fmt: skip
    for form in forms:
        reply = httpx.post(f"{guarded.url}/sign-in", content=form, timeout=30)

        assert reply.status_code in (401, 429), form
        assert "set-cookie" not in reply.headers


def test_s14_one_key_for_two_requests_gives_nobody_anothers_answer(server: Live, providers: Providers):
    key = {"idempotency-key": f"shared-{time.time_ns()}"}
    mine = httpx.post(f"{server.url}/ai/query", json={"prompt": "mine"}, headers=key, timeout=30)
    theirs = httpx.post(f"{server.url}/ai/query", json={"prompt": "theirs"}, headers=key, timeout=30)
    elsewhere = httpx.post(f"{server.url}/ai/query/rag", json={"prompt": "mine", "documents": ["x"]}, headers=key)

    assert (mine.status_code, theirs.status_code, elsewhere.status_code) == (200, 422, 200)
    assert mine.json()["response"] not in theirs.text
    assert "idempotency-replayed" not in elsewhere.headers


@pytest.mark.parametrize("key", ["", "a" * 256])
def test_s14_a_key_of_a_wrong_length_is_refused(server: Live, key: str):
    reply = httpx.post(f"{server.url}/ai/query", json={"prompt": "x"}, headers={"idempotency-key": key}, timeout=30)

    assert reply.status_code == 422


def test_s14_the_stream_of_the_status_tells_no_prompt(server: Live, providers: Providers):
    httpx.post(f"{server.url}/admin/reset").raise_for_status()
    providers.copilot.script(then="status_500")
    heard, end = "", time.monotonic() + 20
    with httpx.stream("GET", f"{server.url}/ai/events", timeout=30) as events:
        parts = events.iter_text()
        heard += next(parts)
        for _ in range(3):
            httpx.post(f"{server.url}/ai/query", json={"prompt": "CANARYPROMPT"}, timeout=30).raise_for_status()
        while '"state":"open"' not in heard and time.monotonic() < end:
            heard += next(parts)
    httpx.post(f"{server.url}/admin/reset").raise_for_status()

    assert '"state":"open"' in heard
    assert "CANARY" not in heard
