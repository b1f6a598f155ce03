"""Answers as they grow, and what a client sees when one breaks off."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway_core.errors import RateLimited, TierBroken, TierUnreachable
from gateway_core.testing import ScriptedTier, run_virtual
from gateway_core.tiers.local_queue import LocalQueue
from gateway_core.types import Chunk, Reason
from server import create_app

from .calling import BASE, calling, events, gateway, shown

WORDS = [f"word{n} " for n in range(20)]
TEXT = "".join(WORDS)


def cut(tier: str = "copilot", reason: Reason = Reason.RESET) -> TierBroken:
    return TierBroken(tier, "the connection broke", reason=reason, may_have_billed=True)


async def stream(client, **fields):
    reply = await client.post("/ai/query", json={"prompt": "Count.", "stream": True, **fields})
    return reply, events(reply.content) if reply.status_code == 200 else []


async def test_an_answer_comes_as_meta_deltas_and_done():
    async with calling(ScriptedTier("copilot", ["Par", "is"])) as client:
        reply, heard = await stream(client)

    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["x-ai-gateway-backend"] == "copilot"
    assert [(e.name, e.data) for e in heard[1:]] == [
        ("delta", {"text": "Par", "segment": 0, "seq": 0}),
        ("delta", {"text": "is", "segment": 0, "seq": 1}),
        ("done", {"response": "Paris", "backend": "copilot", "state": "closed"}),
    ]
    assert heard[0].name == "meta"
    assert heard[0].data.items() >= {"backend": "copilot", "state": "closed"}.items()
    assert set(heard[0].data) == {"id", "backend", "state"}


async def test_done_holds_the_details_when_asked():
    async with calling(ScriptedTier("copilot")) as client:
        _, heard = await stream(client, details=True)

    assert heard[-1].data["details"]["id"] == heard[0].data["id"]


CUTS = [
    pytest.param(Reason.RESET, id="f45"),
    pytest.param(Reason.TRUNCATED, id="f46"),
    pytest.param(Reason.UPSTREAM_ERROR, id="f47"),
    pytest.param(Reason.STALLED, id="f48"),
    pytest.param(Reason.BAD_PAYLOAD, id="f49"),
]


@pytest.mark.parametrize("reason", CUTS)
async def test_f45_stop_ends_in_an_error_event_after_exactly_the_text_sent(reason):
    cloud = ScriptedTier("cloud", WORDS)
    async with calling(ScriptedTier("copilot", [*WORDS[:10], cut(reason=reason)]), cloud) as client:
        reply, heard = await stream(client, on_interrupt="stop")

    assert (reply.status_code, shown(heard), cloud.calls) == (200, "".join(WORDS[:10]), 0)
    assert [e.name for e in heard].count("error") == 1
    assert heard[-1].name == "error"
    assert heard[-1].data.items() >= {"status": 503, "code": "stream_interrupted"}.items()
    assert heard[-1].data["attempts"][0]["reason"] == reason


@pytest.mark.parametrize("reason", CUTS)
async def test_f45_continue_is_finished_by_the_next_tier_without_gap_or_repeat(reason):
    tiers = ScriptedTier("copilot", [*WORDS[:10], cut(reason=reason)]), ScriptedTier("cloud", WORDS[10:])
    async with calling(*tiers) as client:
        _, heard = await stream(client, details=True)

    assert shown(heard) == heard[-1].data["response"] == TEXT
    (seam,) = (e.data for e in heard if e.name == "segment")
    assert seam == {"segment": 1, "backend": "cloud", "reason": str(reason), "action": "continue"}
    assert [s["backend"] for s in heard[-1].data["details"]["segments"]] == ["copilot", "cloud"]
    assert [e.data["seq"] for e in heard if e.name == "delta"] == list(range(20))


@pytest.mark.parametrize("reason", CUTS)
async def test_f54_restart_tells_the_client_to_discard(reason):
    tiers = ScriptedTier("copilot", [*WORDS[:10], cut(reason=reason)]), ScriptedTier("cloud", ["All ", "anew."])
    async with calling(*tiers) as client:
        _, heard = await stream(client, on_interrupt="restart", details=True)

    assert shown(heard) == heard[-1].data["response"] == "All anew."
    assert [e.data["action"] for e in heard if e.name == "segment"] == ["restart"]
    assert heard[-1].data["details"]["segments"] == [{"backend": "cloud", "start": 0, "end": 9}]


@pytest.mark.parametrize(
    "script", [pytest.param([cut()], id="f43"), pytest.param([Chunk(), cut()], id="f44 after a sign of life")]
)
async def test_f43_a_failure_before_the_first_text_is_never_seen(script):
    async with calling(ScriptedTier("copilot", script), ScriptedTier("cloud", ["clean"])) as client:
        reply, heard = await stream(client)

    assert [e.name for e in heard] == ["meta", "delta", "done"]
    assert (reply.headers["x-ai-gateway-backend"], heard[0].data["backend"]) == ("cloud", "cloud")


async def test_f95_two_cuts_make_three_segments():
    tiers = (
        ScriptedTier("copilot", [*WORDS[:7], cut()]),
        ScriptedTier("cloud", [*WORDS[7:14], cut("cloud")]),
        ScriptedTier("local", WORDS[14:]),
    )
    async with calling(*tiers) as client:
        _, heard = await stream(client, details=True)

    assert shown(heard) == TEXT
    segments = heard[-1].data["details"]["segments"]
    assert [s["backend"] for s in segments] == ["copilot", "cloud", "local"]
    assert [s["end"] for s in segments[:-1]] == [s["start"] for s in segments[1:]]


async def test_f96_max_tokens_counts_over_all_segments():
    cloud = ScriptedTier("cloud", [*WORDS[12:15], Chunk(finish_reason="length")])
    async with calling(ScriptedTier("copilot", [*WORDS[:12], cut()]), cloud) as client:
        _, heard = await stream(client, max_tokens=60, details=True)

    assert 0 < cloud.prompts[0].max_tokens < 60
    assert heard[-1].data["details"]["finish_reason"] == "length"


@pytest.mark.parametrize("opening", ["word6 word7 word8 word9 ", "Sure, here is the rest:\n\n"])
async def test_f97_neither_repetition_nor_announcement_is_shown(opening):
    tiers = ScriptedTier("copilot", [*WORDS[:10], cut()]), ScriptedTier("cloud", [opening, *WORDS[10:]])
    async with calling(*tiers) as client:
        _, heard = await stream(client)

    assert shown(heard) == TEXT


async def test_a_final_failure_before_any_text_is_a_plain_problem():
    async with calling(ScriptedTier("copilot", [RateLimited("copilot", "slow down", wait=9)])) as client:
        reply, _ = await stream(client)

    assert (reply.status_code, reply.headers["retry-after"]) == (503, "9")
    assert reply.headers["content-type"] == "application/problem+json"


async def test_when_nobody_goes_on_the_stream_ends_in_one_error_event():
    tiers = ScriptedTier("copilot", [*WORDS[:3], cut()]), ScriptedTier("cloud", [TierUnreachable("cloud", "refused")])
    async with calling(*tiers) as client:
        _, heard = await stream(client)

    assert shown(heard) == "".join(WORDS[:3])
    assert [e.name for e in heard[-1:]] == ["error"]
    assert "partial" not in heard[-1].data


class Listener:
    """Calls the application by ASGI in virtual time and notes when it said what."""

    def __init__(self) -> None:
        self.said: list[tuple[float, dict[str, Any]]] = []

    async def takes(self, message: dict[str, Any]) -> None:
        """The client's side of the connection."""

    async def post(self, app: Any, body: bytes, path: str = "/ai/query") -> None:
        begun = asyncio.get_running_loop().time()
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})

        async def send(message: dict[str, Any]) -> None:
            await self.takes(message)
            self.said.append((round(asyncio.get_running_loop().time() - begun, 1), message))

        headers = [(b"host", BASE.removeprefix("http://").encode()), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": headers, "scheme": "http", "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
            "root_path": "", "http_version": "1.1", "asgi": {"version": "3.0"},
        }  # fmt: skip
        await app(scope, inbox.get, send)

    @property
    def head(self) -> tuple[float, dict[str, Any]]:
        return self.said[0]

    @property
    def header_names(self) -> set[bytes]:
        return {name for name, _ in self.head[1]["headers"]}

    @property
    def comments(self) -> list[float]:
        return [at for at, _ in self.words]

    @property
    def words(self) -> list[tuple[float, str]]:
        """The comments, and when they were said."""
        bodies = [(at, message.get("body", b"").decode()) for at, message in self.said]
        return [(at, body) for at, body in bodies if body.startswith(":")]

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for _, message in self.said).decode()


def listened(*tiers: ScriptedTier, listener: Listener | None = None, **settings: Any) -> Listener:
    listener = listener or Listener()

    async def play() -> None:
        core = gateway(*tiers, clock=asyncio.get_running_loop(), **settings)
        await listener.post(create_app(core), b'{"prompt":"x","stream":true}')

    run_virtual(play())
    return listener


def test_the_head_waits_for_the_first_text():
    listener = listened(ScriptedTier("copilot", [7.5, "late"]))

    assert (listener.head[0], listener.head[1]["status"], listener.comments) == (7.5, 200, [])
    assert b"x-ai-gateway-backend" in listener.header_names


def test_the_head_waits_for_the_final_failure():
    listener = listened(ScriptedTier("copilot", [7.5, cut()]))

    assert (listener.head[0], listener.head[1]["status"]) == (7.5, 503)


def test_f75_after_eight_seconds_the_head_leaves_and_comments_follow_every_ten():
    listener = listened(ScriptedTier("local", [30.0, "warm at last"]))

    assert (listener.head[0], listener.comments) == (8.0, [8.0, 18.0, 28.0])
    assert b"x-ai-gateway-backend" not in listener.header_names
    assert shown(events(listener.text)) == "warm at last"


class OneAtATime(ScriptedTier):
    """A local model that answers one question at a time."""

    def __init__(self, *scripts: Any) -> None:
        super().__init__("local", *scripts)
        self.queue = LocalQueue()

    async def stream(self, prompt: Any, call: Any) -> Any:
        async with self.queue.turn("local", call.in_line):
            async for chunk in super().stream(prompt, call):
                yield chunk


@pytest.mark.parametrize("path", ["/ai/query", "/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_f79_comments_tell_the_place_in_the_line_for_the_local_model(path):
    said = {"input": "x", "messages": [{"role": "user", "content": "x"}], "model": "auto", "max_tokens": 9}
    body = json.dumps({**({"prompt": "x"} if path == "/ai/query" else said), "stream": True}).encode()
    listeners = [Listener() for _ in range(3)]

    async def play() -> None:
        tier = OneAtATime([9.0, "first"], [11.0, "second"], ["third"])
        app = create_app(gateway(tier, clock=asyncio.get_running_loop()))
        await asyncio.gather(*(listener.post(app, body, path) for listener in listeners))

    run_virtual(play())
    place = ": waiting for the local model, {} before this one\n\n"
    working = ": still working\n\n"
    assert [listener.words for listener in listeners] == [
        [(8.0, working)],
        [(8.0, place.format(1)), (18.0, working)],
        [(8.0, place.format(2)), (18.0, place.format(1))],
    ]


def test_a_failure_after_the_head_is_an_error_event():
    listener = listened(ScriptedTier("copilot", [12.0, cut()]))

    assert listener.head[1]["status"] == 200
    assert [e.name for e in events(listener.text)] == ["error"]
    assert events(listener.text)[0].data["status"] == 503


def test_f48_comments_fill_a_silence_after_the_first_text():
    listener = listened(ScriptedTier("copilot", ["a ", 19.0, "b"]))

    assert listener.comments == [10.0]
    assert shown(events(listener.text)) == "a b"


def test_f93_a_model_that_thinks_for_40_s_is_not_cut():
    thinking = [part for _ in range(8) for part in (5.0, Chunk())]
    copilot = ScriptedTier("copilot", [*thinking, "at last"])
    listener = listened(copilot, ScriptedTier("cloud"))

    assert shown(events(listener.text)) == "at last"
    assert copilot.calls == 1


def test_a_reader_that_takes_nothing_for_minutes_is_given_up():
    class Asleep(Listener):
        async def takes(self, message: dict[str, Any]) -> None:
            if b"two" in message.get("body", b""):
                await asyncio.sleep(100_000)

    copilot = ScriptedTier("copilot", ["one ", "two ", "three"])
    listener = listened(copilot, listener=Asleep(), request_deadline=80_000)

    assert copilot.cancelled == 1
    assert shown(events(listener.text)) == "one "


def test_f57_a_reader_that_is_only_slow_gets_everything():
    class Slow(Listener):
        async def takes(self, message: dict[str, Any]) -> None:
            await asyncio.sleep(60)

    words = [f"{n} " for n in range(20)]
    listener = listened(ScriptedTier("copilot", words), listener=Slow(), request_deadline=80_000)

    assert shown(events(listener.text)) == "".join(words)
    assert listener.comments == []
