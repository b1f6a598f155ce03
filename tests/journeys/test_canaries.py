"""Marked tokens, prompts, documents and answers through every fault: they turn up nowhere they should not.

Tokens: in no frame, log line, error, status, pickle or file. Prompts and documents: in no log line, error, status or
file, and in no frame below the public method that was called.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import httpx
import pytest

from gateway_core import Document, Gateway, GatewayError, Settings
from gateway_core.deadline import Deadline
from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator, ScriptedTier
from gateway_core.testing.simulators.script import CONNECTION, LINES, REPLY, STREAM
from gateway_core.tiers.base import Call
from gateway_core.types import Message, Prompt
from server import create_app

from .canaries import (
    ANSWER,
    CLOUD,
    CONTENTS,
    COPILOT,
    DOCUMENT,
    DOOR,
    LOCAL,
    PROMPT,
    PROXY,
    QUICK,
    SYSTEM,
    TOKENS,
    WORDS,
    Blunder,
    Leaks,
    LogFile,
    chain,
    files_below,
    with_locals,
)
from .conftest import SCALED, Providers

SHORTENED = {
    "redirect": "redirect:http://127.0.0.1:9/x",
    "redirect_307": "redirect_307:http://127.0.0.1:9/x",
    "huge_body": "huge_body:9",
    "gzip_bomb": "gzip_bomb:9",
    "drip_headers": "drip_headers:0.2",
    "thinking": "thinking:1",
    "comments": "comments:0.3",
    "slow_first": "slow_first:0.3",
    "hang_after_headers": "hang_after_headers:0.3",
    "long_line": "long_line:9000000",
    "status_NNN": "status_418",
}
STATUSES = (400, 401, 402, 403, 404, 413, 422, 429, 500, 503)
QUOTES = {"keys": f"Incorrect key {CLOUD} or {COPILOT} or {LOCAL}", "prompts": f"You asked: {PROMPT}"}
# Bytes and words are read by the same code for every tier: those faults meet one of them.
OF_THE_WIRE = [
    (tier, SHORTENED.get(name, name))
    for tier in ("copilot", "cloud", "local")
    for name in LINES
    if tier == "copilot" or name in {**CONNECTION, **REPLY, **STREAM, "status_NNN": None}
]


@pytest.fixture(scope="module")
def other_server() -> Iterator[OpenAISimulator]:
    """Another local server, which wants its key."""
    with OpenAISimulator(flavour="openai") as simulator:
        yield simulator


Make = Callable[..., Gateway]


@pytest.fixture
async def make(providers: Providers, other_server: OpenAISimulator, log: LogFile) -> AsyncIterator[Make]:
    """Gateways whose every key is marked, before providers whose every answer is."""
    other_server.reset()
    other_server.configure("api_keys", [LOCAL])
    providers.cloud.configure("api_keys", [CLOUD])
    for simulator in (providers.copilot, providers.cloud, providers.ollama, other_server):
        simulator.configure("answer", ANSWER)
    async with AsyncExitStack() as stack:

        def build(**changes: Any) -> Gateway:
            marked = {
                "github_copilot_token": COPILOT,
                "openai_api_key": CLOUD,
                "local_base_url": other_server.base_url,
                "local_api_key": LOCAL,
                "ai_gateway_token": DOOR,
                "ai_gateway_store": "sqlite",
                "log_level": "DEBUG",
            }
            made = Gateway.from_settings(Settings(**{**SCALED, **QUICK, **providers.settings, **marked, **changes}))
            stack.push_async_callback(made.aclose)
            return made

        yield build


async def read(gateway: Gateway, leaks: Leaks, **options: Any) -> None:
    """One question in each form; what is raised is looked at, frame by frame."""
    for ask in (_whole, _streamed):
        try:
            await ask(gateway, options)
        except (GatewayError, TimeoutError) as error:
            leaks.look_at_error(ask.__name__, error)


async def _whole(gateway: Gateway, options: dict[str, Any]) -> None:
    await gateway.ask_documents(PROMPT, [Document(DOCUMENT, name="pond.txt")], system=SYSTEM, **options)


async def _streamed(gateway: Gateway, options: dict[str, Any]) -> None:
    async for _ in gateway.stream(PROMPT, system=SYSTEM, on_interrupt="stop", **options):
        pass


async def ask_over_rest(gateway: Gateway, leaks: Leaks, tier: str | None) -> None:
    """The same over REST, with the gateway's own token; and without it."""
    transport = httpx.ASGITransport(app=create_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        key = {"authorization": f"Bearer {DOOR}"}
        asked = {"prompt": PROMPT, "system": SYSTEM, "tier": tier}
        for reply in (
            await client.post("/ai/query/rag", json={**asked, "documents": [DOCUMENT]}, headers=key),
            await client.post("/ai/query", json={**asked, "stream": True, "on_interrupt": "stop"}, headers=key),
            await client.post("/ai/query", json=asked, headers={"authorization": "Bearer wrong"}),
            await client.get("/status", headers=key),
            await client.get("/health"),
        ):
            leaks.look(f"reply of {reply.request.url.path}", reply.text, *TOKENS)
            leaks.look("its headers", str(reply.headers), *TOKENS, *CONTENTS)
            if reply.status_code != 200 or reply.request.url.path != "/ai/query/rag":  # which may quote the documents
                leaks.look(f"reply of {reply.request.url.path}", reply.text, *CONTENTS[:3])


def look_around(gateway: Gateway, leaks: Leaks, log: LogFile) -> None:
    """Everything that is left behind."""
    leaks.look_at_value("the gateway", gateway, *TOKENS, *CONTENTS)
    leaks.look_at_value("the settings", gateway.settings, *TOKENS)
    for rung in gateway.router.rungs:
        leaks.look_at_value(f"rung {rung.mode}", rung, *TOKENS, *CONTENTS)
    for happening in gateway.telemetry.recent():
        leaks.look_at_value("telemetry", happening, *TOKENS, *CONTENTS)
    leaks.look("the log", log.text(), *TOKENS, *CONTENTS)
    state = gateway.settings.ai_gateway_state_dir
    for path, content in files_below(state):
        leaks.look(str(path.relative_to(state)), content, *TOKENS, *CONTENTS)


async def walk(gateway: Gateway, log: LogFile, tier: str | None) -> list[str]:
    leaks = Leaks()
    await read(gateway, leaks, tier=tier)
    await ask_over_rest(gateway, leaks, tier)
    look_around(gateway, leaks, log)
    return leaks.places


def script(providers: Providers, other: OpenAISimulator, tier: str, fault: str) -> None:
    """That tier, whoever answers in it, meets nothing but the fault."""
    at_fault = {"copilot": [providers.copilot], "cloud": [providers.cloud], "local": [providers.ollama, other]}[tier]
    for simulator in at_fault:
        name = fault.partition(":")[0].partition("=")[0]
        if name in LINES or name.startswith("status_") or name in simulator.named_errors:
            simulator.script(then=fault)


@pytest.mark.parametrize(("tier", "fault"), OF_THE_WIRE)
async def test_s06_s07_faults_of_the_wire_leak_nothing(
    make: Make, providers: Providers, other_server: OpenAISimulator, log: LogFile, tier: str, fault: str
):
    script(providers, other_server, tier, fault)
    assert await walk(make(), log, tier) == []


ERRORS = [
    (tier, name)
    for tier, simulator in (("copilot", CopilotSimulator), ("cloud", OpenAISimulator), ("local", OllamaSimulator))
    for name in simulator.named_errors
]


@pytest.mark.parametrize(("tier", "fault"), ERRORS)
async def test_s06_s07_errors_in_the_providers_words_leak_nothing(
    make: Make, providers: Providers, other_server: OpenAISimulator, log: LogFile, tier: str, fault: str
):
    script(providers, other_server, tier, fault)
    assert await walk(make(), log, tier) == []


@pytest.mark.parametrize("tier", ["copilot", "cloud", "local"])
@pytest.mark.parametrize("quoted", QUOTES)
async def test_s06_s07_errors_that_quote_keys_and_prompts_leak_nothing(
    make: Make, providers: Providers, other_server: OpenAISimulator, log: LogFile, tier: str, quoted: str
):
    gateway, leaks = make(), Leaks()
    for status in STATUSES:
        for form in (f"status_{status}:message={QUOTES[quoted]}", f"error_after:3,message={QUOTES[quoted]}"):
            await gateway.reset()
            script(providers, other_server, tier, form)
            await read(gateway, leaks, tier=tier)
    await ask_over_rest(gateway, leaks, tier)
    look_around(gateway, leaks, log)
    assert leaks.places == []


@pytest.mark.parametrize("tier", ["copilot", "cloud", "local"])
async def test_s06_no_frame_inside_a_tier_holds_a_token(
    make: Make, providers: Providers, other_server: OpenAISimulator, log: LogFile, tier: str
):
    """Below the public method frames are emptied; here they are looked at as they were left."""
    gateway, leaks = make(), Leaks()
    rungs = [
        rung for rung in gateway.router.rungs if rung.backend == tier and rung.mode not in ("embedded", "extractive")
    ]
    prompt = Prompt((Message("user", PROMPT),))
    failed = 0
    for fault in {**CONNECTION, **REPLY, **STREAM, **dict.fromkeys((f"status_{status}" for status in STATUSES), None)}:
        script(providers, other_server, tier, SHORTENED.get(fault, fault))
        for rung in rungs:
            rung.forget()
            await rung.prepare()
            call = Call(Deadline.after(5, gateway.clock), 1.0, lambda: None)
            try:
                async with asyncio.timeout(0.25), aclosing(rung.stream(prompt, call)) as chunks:
                    async for _ in chunks:
                        pass
            except (GatewayError, TimeoutError) as error:
                failed += 1
                for exc in chain(error):
                    leaks.look(f"{rung.mode}, {fault}", with_locals(exc, exc.__traceback__), *TOKENS)
    assert failed > 20
    assert leaks.places == []


LOOK_UPS = ["/copilot_internal/user", "/copilot_internal/v2/token", "/models"]


@pytest.mark.parametrize("path", LOOK_UPS)
@pytest.mark.parametrize("auth", ["direct", "exchange"])
async def test_failed_look_ups_leak_nothing(make: Make, providers: Providers, log: LogFile, path: str, auth: str):
    leaks = Leaks()
    token = COPILOT.replace("gho_", "ghu_")
    for fault in (
        "status_500",
        "status_401",
        "status_403",
        "status_404",
        "bad_json",
        "html_200",
        "reset_after_request",
    ):
        gateway = make(copilot_auth=auth, github_copilot_token=token)
        providers.copilot.script(free=fault)
        await read(gateway, leaks, tier="copilot")
        await gateway.status()
        look_around(gateway, leaks, log)
    assert leaks.places == []
    assert not [
        path for path, content in files_below(gateway.settings.ai_gateway_state_dir) if token.encode() in content
    ]


async def test_an_exchanged_token_is_kept_in_memory_only(make: Make, providers: Providers, log: LogFile):
    gateway, leaks = make(copilot_auth="exchange", github_copilot_token=COPILOT.replace("gho_", "ghu_")), Leaks()
    await read(gateway, leaks, tier="copilot")
    (bearer,) = {call.headers["authorization"].partition(" ")[2] for call in providers.copilot.paid_calls}
    assert bearer.startswith("tid=")
    for path, content in files_below(gateway.settings.ai_gateway_state_dir):
        leaks.look(path.name, content, bearer)
    leaks.look("the log", log.text(), bearer)
    providers.copilot.script(then="status_500")
    with pytest.raises(GatewayError) as caught:
        await gateway.ask(PROMPT, tier="copilot")
    leaks.look("an error", repr(caught.value), bearer)
    assert leaks.places == []


async def test_nobody_at_home_leaks_nothing(
    make: Make, providers: Providers, other_server: OpenAISimulator, log: LogFile
):
    gateway = make()
    for simulator in (providers.copilot, providers.cloud, providers.ollama, other_server):
        simulator.stop()
    try:
        assert await walk(gateway, log, None) == []
    finally:
        other_server.start()


def until_asked(simulator: CopilotSimulator) -> None:
    until = time.monotonic() + 10
    while not simulator.paid_calls:
        assert time.monotonic() < until
        time.sleep(0.005)


async def test_a_question_that_is_cancelled_leaks_nothing(make: Make, providers: Providers, log: LogFile):
    gateway, leaks = make(first_token_timeout=20), Leaks()
    await gateway.status()
    providers.copilot.script(then="hang")
    asking = asyncio.create_task(gateway.ask_documents(PROMPT, [DOCUMENT], system=SYSTEM))
    await asyncio.to_thread(until_asked, providers.copilot)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await asking
    leaks.look_at_error("cancelled", caught.value)
    look_around(gateway, leaks, log)
    assert leaks.places == []


async def test_a_deadline_leaks_nothing(make: Make, providers: Providers, log: LogFile):
    gateway, leaks = make(first_token_timeout=20), Leaks()
    await gateway.status()
    providers.copilot.script(then="hang")
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.2):
            await gateway.ask(PROMPT, system=SYSTEM)
    leaks.look_at_error("time-out", caught.value)
    with pytest.raises(GatewayError) as failed:
        await gateway.ask(PROMPT, system=SYSTEM, tier="copilot", deadline_s=0.1)
    leaks.look_at_error("deadline", failed.value)
    look_around(gateway, leaks, log)
    assert leaks.places == []


@pytest.mark.parametrize("after", [(), ("some", "text")])
async def test_a_bug_in_a_tier_leaks_nothing(log: LogFile, after: tuple[str, ...]):
    tier = ScriptedTier("copilot", [*after, Blunder(WORDS)])
    gateway, leaks = Gateway([tier], settings=Settings(openai_api_key=CLOUD)), Leaks()
    gateway.telemetry.listen(_blunders)
    await read(gateway, leaks)
    leaks.look("the log", log.text(), *TOKENS, *CONTENTS)
    for happening in gateway.telemetry.recent():
        leaks.look_at_value("telemetry", happening, *TOKENS, *CONTENTS)
    assert leaks.places == []


def _blunders(happening: object) -> None:
    raise Blunder(WORDS)


async def test_a_bug_above_the_tiers_has_empty_frames(log: LogFile):
    class Composer:
        def compose(self, question: str, **options: Any) -> Any:
            text = options["documents"]
            raise Blunder(len(text))

    gateway, leaks = Gateway([], settings=Settings(), composer=Composer()), Leaks()  # type: ignore[arg-type]
    for ask in (_whole, _streamed):
        with pytest.raises((Blunder, TypeError)) as caught:
            await ask(gateway, {"documents": [DOCUMENT]} if ask is _streamed else {})
        leaks.look_at_error("a bug", caught.value)
    assert leaks.places == []


async def test_the_callers_own_errors_keep_their_frames():
    gateway = Gateway([], settings=Settings())

    def stumble() -> None:
        mine = "a variable of the caller"
        raise KeyError(mine)

    try:
        stumble()
    except KeyError as own:
        with pytest.raises(GatewayError):
            await gateway.ask("?")
        at = own.__traceback__
        assert at is not None
        assert at.tb_next is not None
        assert at.tb_next.tb_frame.f_locals["mine"] == "a variable of the caller"


async def test_the_passwords_of_proxies_leak_nothing(make: Make, log: LogFile, monkeypatch: pytest.MonkeyPatch):
    replies = [b"HTTP/1.1 407 Proxy Authentication Required", b"HTTP/1.1 502 Bad Gateway", b"nonsense", b""]

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(replies[len(heads) % len(replies)] + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    heads: list[bytes] = []
    leaks = Leaks()
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PROXY}@127.0.0.1:{port}")
        gateway = make(openai_base_url="https://cloud.invalid/v1")
        for _ in replies:
            await read(gateway, leaks, tier="cloud")
        await ask_over_rest(gateway, leaks, "cloud")
        look_around(gateway, leaks, log)
    assert heads
    assert leaks.places == []


async def test_the_search_finds_what_leaks(log: LogFile):
    """Else all of the above would prove nothing."""
    leaks = Leaks()

    def careless(prompt: str) -> None:
        headers = {"authorization": f"Bearer {CLOUD}"}
        raise Blunder(len(headers))

    logging.getLogger("httpcore.anything").debug("sent %s", COPILOT)
    try:
        careless(PROMPT)
    except Blunder as error:
        leaks.look_at_error("careless", error)
    leaks.look("log", log.text(), *TOKENS)
    leaks.look_at_value("a value", {"key": DOOR}, *TOKENS)
    assert {place.partition(" ")[0] for place in leaks.places} == {CLOUD, COPILOT, DOOR, CONTENTS[0]}
