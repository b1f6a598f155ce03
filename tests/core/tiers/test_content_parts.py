"""Turns that hold a list of parts instead of a text: every role on every wire, and what a wire has no words for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway_core.clock import SystemClock
from gateway_core.errors import TierUnavailable
from gateway_core.gateway import Gateway
from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator
from gateway_core.testing.clock import ManualClock
from gateway_core.testing.simulators import DEFAULT_ANSWER
from gateway_core.testing.simulators.ollama import LocalModel
from gateway_core.tiers.cloud import build_cloud
from gateway_core.tiers.complaints import Complaint, Cures, Kind, failure_from
from gateway_core.tiers.copilot import CopilotTier
from gateway_core.tiers.copilot.responses_wire import responses_body
from gateway_core.tiers.embedded import EmbeddedTier
from gateway_core.tiers.http import Http
from gateway_core.tiers.local_openai import LocalOpenAITier
from gateway_core.tiers.ollama import OllamaTier
from gateway_core.types import Message, Prompt, Reason

from .asking import ask, settings_for

DATA = "data:image/png;base64,iVBORw0KGgo="
PICTURE = {"type": "image_url", "image_url": {"url": DATA, "detail": "low"}}
REMOTE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
SEEING = LocalModel("llava:7b", ("completion", "vision"), size=4_000_000_000)


def said(*words: str) -> Any:
    return [{"type": "text", "text": word} for word in words]


CONVERSATION = (
    Message("system", said("Be ", "brief.")),
    Message("user", said("The weather ", "in Rome?")),
    Message("assistant", said("Let me ", "look."), {"tool_calls": [CALL]}),
    Message("tool", said("sun", "ny"), {"tool_call_id": "c1"}),
    Message("user", said("And ", "tomorrow?")),
)
PIECES = ["Be ", "brief.", "The weather ", "in Rome?", "Let me ", "look.", "sun", "ny", "And ", "tomorrow?"]


def asks(*parts: Any) -> Prompt:
    return Prompt((Message("user", [*said("What is it?"), *parts]),))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def copilot() -> Iterator[CopilotSimulator]:
    with CopilotSimulator() as simulator:
        yield simulator


@pytest.fixture
def openai() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def ollama() -> Iterator[OllamaSimulator]:
    with OllamaSimulator() as simulator:
        yield simulator


Make = Callable[..., Any]


@pytest.fixture
async def tier_of(
    http: Http, tmp_path: Any, copilot: CopilotSimulator, openai: OpenAISimulator, ollama: OllamaSimulator
) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def make(wire: str) -> Any:
            fields: dict[str, Any] = {
                "github_copilot_token": "gho_CANARYs3cr3tOfTheUser0000000001", "copilot_github_api": copilot.url,
                "copilot_use_gh": False, "copilot_editor_login": False, "copilot_max_rpm": 0,
                "cloud_provider": "openai", "cloud_base_url": openai.base_url, "openai_api_key": "sk-CANARY",
                "copilot_model": "gpt-6-luna" if wire == "responses" else "claude-sonnet-5.5",
            }  # fmt: skip
            settings, clock = settings_for(tmp_path, **fields), ManualClock()
            made: Any
            if wire in ("responses", "copilot's chat"):
                made = CopilotTier(settings, clock, http)
            elif wire == "chat":
                made = build_cloud(settings, clock, http)
            elif wire == "ollama":
                made = OllamaTier(http, SystemClock(), base_url=ollama.url, free_memory=lambda: 16 * 1024**3)
            else:
                openai.configure("flavour", "custom")
                openai.models = {"phi4": None}
                made = LocalOpenAITier(http, SystemClock(), base_url=openai.base_url)
            stack.push_async_callback(made.aclose)
            return made

        yield make


WIRES = ["responses", "copilot's chat", "chat", "ollama", "openai_compatible"]


@pytest.mark.parametrize("wire", WIRES)
async def test_every_role_may_hold_a_list_of_texts(wire, tier_of, copilot, openai, ollama):
    prompt = Prompt(CONVERSATION)
    found = await ask(tier_of(wire), prompt)

    assert found.text == DEFAULT_ANSWER
    (body,) = [c.body for s in (copilot, openai, ollama) for c in s.paid_calls]
    assert [words for words in PIECES if words not in json.dumps(body)] == []


async def test_the_parts_of_each_role_on_the_responses_wire():
    body = responses_body(Prompt(CONVERSATION), "gpt-6-luna", efforts=None)

    assert body["instructions"] == "Be brief."
    user, assistant, call, result, _ = body["input"]
    assert user["content"][0] == {"type": "input_text", "text": "The weather "}
    assert assistant["content"] == [
        {"type": "output_text", "text": "Let me "},
        {"type": "output_text", "text": "look."},
    ]
    assert call["call_id"] == "c1"
    assert result == {"type": "function_call_output", "call_id": "c1", "output": "sunny"}


async def test_pictures_and_files_on_the_responses_wire(tier_of, copilot):
    await ask(tier_of("responses"), asks(PICTURE, FILE))

    (call,) = copilot.paid_calls
    assert call.body["input"][0]["content"][1:] == [
        {"type": "input_image", "image_url": DATA, "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ]


async def test_a_tools_result_with_a_picture_on_the_responses_wire(tier_of, copilot):
    turns = (*CONVERSATION[:3], Message("tool", [*said("look"), PICTURE], {"tool_call_id": "c1"}))  # type: ignore[arg-type]
    await ask(tier_of("responses"), Prompt(turns))

    output = copilot.paid_calls[0].body["input"][-1]["output"]
    assert [part["type"] for part in output] == ["input_text", "input_image"]


@pytest.mark.parametrize(
    ("wire", "role", "part", "words"),
    [
        ("responses", "user", AUDIO, "input_audio"),
        ("responses", "user", {"type": "what\never"}, "such a part"),
        ("responses", "system", PICTURE, "image_url"),
        ("responses", "assistant", PICTURE, "image_url"),
        ("ollama", "user", REMOTE, "only as data: URLs"),
        ("ollama", "user", AUDIO, "cannot take input_audio"),
        ("ollama", "user", FILE, "cannot take file"),
        ("ollama", "tool", REMOTE, "only as data: URLs"),
    ],
)
async def test_a_part_without_words_for_it_leaves_the_tier_out(wire, role, part, words, tier_of, copilot, ollama):
    turns = (Message("user", "Hello"), Message(role, [*said("x"), part]))  # type: ignore[arg-type]
    with pytest.raises(TierUnavailable, match=words) as raised:
        await ask(tier_of(wire), Prompt(turns))

    assert raised.value.reason is Reason.UNSUPPORTED
    assert raised.value.cure
    assert (copilot.paid_calls, ollama.paid_calls) == ([], [])


async def test_a_refusal_that_quotes_an_address_or_a_file_is_not_repeated():
    secret = {"type": "image_url", "image_url": {"url": "https://example.com/my-secret-picture.png"}}
    complaint = Complaint(Kind.CONTENT, 400, message="cannot load https://example.com/my-secret-picture.png")
    prompt = asks(secret, {"type": "file", "file": {"file_data": "data:," + "A" * 5_000_000}})

    assert "my-secret" not in str(failure_from("cloud", complaint, Cures(), prompt=prompt))


# ---- pictures on this laptop


async def test_a_model_that_cannot_look_is_not_shown_pictures(tier_of, ollama):
    with pytest.raises(TierUnavailable, match="cannot look at pictures") as raised:
        await ask(tier_of("ollama"), asks(PICTURE))

    assert raised.value.reason is Reason.UNSUPPORTED
    assert ollama.paid_calls == []


@pytest.mark.parametrize("old_server", [False, True])
async def test_an_installed_model_that_can_look_is_preferred_for_pictures(old_server, tier_of, ollama):
    ollama.models = {**ollama.models, SEEING.name: SEEING}
    tier = tier_of("ollama")
    shown, plain = await ask(tier, asks(PICTURE)), await ask(tier, Prompt((Message("user", "Hello"),)))

    first, second = ollama.paid_calls
    assert (first.body["model"], second.body["model"]) == ("llava:7b", "qwen3.5:2b")
    assert first.body["messages"][0]["images"] == ["iVBORw0KGgo="]
    assert shown.notes == ["qwen3.5:2b cannot look at pictures; llava:7b answers instead"]
    assert plain.notes == []


async def test_a_list_of_models_without_abilities_is_looked_up(tier_of, ollama, monkeypatch):
    row = LocalModel.row.fget
    monkeypatch.setattr(
        LocalModel, "row", property(lambda self: {k: v for k, v in row(self).items() if k != "capabilities"})
    )
    ollama.models = {**ollama.models, SEEING.name: SEEING}
    await ask(tier_of("ollama"), asks(PICTURE))

    assert ollama.paid_calls[0].body["model"] == "llava:7b"


async def test_a_server_without_a_word_on_abilities_is_asked_all_the_same(tier_of, ollama):
    ollama.old_server = True
    await ask(tier_of("ollama"), asks(PICTURE))

    assert ollama.paid_calls[0].body["messages"][0]["images"] == ["iVBORw0KGgo="]


async def test_the_embedded_engine_says_beforehand_that_it_cannot_look(http):
    tier = EmbeddedTier(http)
    refused = [tier.refuses(asks(part)) for part in (PICTURE, AUDIO)]
    await tier.aclose()

    assert refused == ["it cannot look at pictures", "it cannot take input_audio"]
    assert tier.refuses(Prompt(CONVERSATION)) is None


LLAMA_CPP = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"


@pytest.mark.parametrize("says_so_beforehand", [True, False])
async def test_another_local_server_that_cannot_look_is_left_out(says_so_beforehand, serve, http):
    async def handler(exchange: Any) -> None:
        row = {"id": "phi4", **({"architecture": {"input_modalities": ["text"]}} if says_so_beforehand else {})}
        listed = json.dumps({"data": [row]}).encode()
        if exchange.path.endswith("/models"):
            await exchange.reply(listed, content_type="application/json")
        else:
            error = json.dumps({"error": {"code": 500, "message": LLAMA_CPP, "type": "server_error"}}).encode()
            await exchange.reply(error, 500, content_type="application/json")

    server = await serve(handler)
    tier = LocalOpenAITier(http, SystemClock(), base_url=f"{server.url}/v1")
    with pytest.raises(TierUnavailable, match="phi4 cannot look at pictures") as raised:
        await ask(tier, asks(PICTURE))
    await tier.aclose()

    assert raised.value.reason is Reason.UNSUPPORTED
    assert len(server.exchanges) == (1 if says_so_beforehand else 2)


async def test_with_the_clouds_down_a_picture_is_refused_rather_than_dropped(
    tier_of, copilot, openai, ollama, tmp_path
):
    copilot.script(then="status_500")
    openai.script(then="status_500")
    rungs = [tier_of("responses"), tier_of("chat"), tier_of("ollama")]
    gateway = Gateway(rungs, settings=settings_for(tmp_path, ai_gateway_store="memory"))
    turns = asks(PICTURE).messages
    with pytest.raises(Exception, match="cannot look at pictures"):
        await gateway.ask(None, messages=turns)
    ollama.models = {**ollama.models, SEEING.name: SEEING}
    await gateway.reset()
    answer = await gateway.ask(None, messages=turns)
    await gateway.aclose()

    assert (answer.text, answer.model) == (DEFAULT_ANSWER, "llava:7b")
