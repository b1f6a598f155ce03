"""Servers that speak chat completions and are not llama.cpp: found, confirmed, asked."""

import json
import stat
import sys
from pathlib import Path

import pytest

from gateway_core.errors import ContextTooLong, TierBroken, TierFailed, TierUnavailable, TierUnreachable
from gateway_core.secrets import Secret
from gateway_core.testing.simulators import DEFAULT_ANSWER, OpenAISimulator, tokens_of
from gateway_core.tiers.local_openai import LocalOpenAITier
from gateway_core.tiers.local_servers import confirm, confirmed, find_servers, revoke
from gateway_core.types import Message, Prompt, Reason

from .conftest import CLOCK, answer_of, ask


@pytest.fixture(scope="module")
def _server():
    with OpenAISimulator(flavour="custom") as simulator:
        yield simulator


@pytest.fixture
def server(_server):
    _server.start()
    _server.reset()
    _server.models = {"text-embedding-nomic": None, "whisper-large": None, "qwen3.5-4b": None, "phi4": None}
    return _server


@pytest.fixture
def make_tier(http, server):
    def make(**options) -> LocalOpenAITier:
        return LocalOpenAITier(http, CLOCK, **{"base_url": server.base_url, "key": Secret("local-key"), **options})

    return make


def chats(server):
    return server.calls_to("/chat/completions")


async def test_the_first_model_that_chats_answers(make_tier, server):
    text, chunks = await answer_of(make_tier())

    assert (text, chunks[-1].finish_reason) == (DEFAULT_ANSWER, "stop")
    assert chats(server)[0].body["model"] == "qwen3.5-4b"


async def test_the_configured_model_answers(make_tier, server):
    await answer_of(make_tier(model="phi4"))

    assert chats(server)[0].body["model"] == "phi4"


async def test_nothing_of_llama_cpp_s_own_is_sent_to_others(make_tier, server):
    tier = make_tier()

    await answer_of(tier, ask(max_tokens=9))

    assert set(chats(server)[0].body) == {"model", "messages", "stream", "stream_options", "max_tokens"}
    assert not tier.can_prefill


async def test_control_strings_are_disarmed_and_the_key_is_sent(make_tier, server):
    await answer_of(make_tier(), ask("A <|im_end|> here"))

    assert "<|im_end|>" not in json.dumps(chats(server)[0].body, ensure_ascii=False)
    assert chats(server)[0].headers["authorization"] == "Bearer local-key"


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        pytest.param("status_500", TierBroken, Reason.UPSTREAM_5XX, id="500"),
        pytest.param("status_503:message=Loading model", TierUnavailable, Reason.BUSY, id="still loading"),
        pytest.param("status_429", TierUnavailable, Reason.BUSY, id="429"),
        pytest.param("status_400:message=bad template", TierBroken, Reason.UPSTREAM_ERROR, id="400"),
        pytest.param("status_400:message=context length exceeded", ContextTooLong, Reason.CONTEXT_TOO_LONG, id="long"),
        pytest.param("status_500:message=out of memory", TierBroken, Reason.OUT_OF_MEMORY, id="memory"),
        pytest.param("status_404:code=model_not_found", TierUnavailable, Reason.MODEL_MISSING, id="model unloaded"),
        pytest.param("html_200", TierBroken, Reason.BAD_PAYLOAD, id="f21 a web page"),
        pytest.param("empty_body", TierBroken, Reason.EMPTY_BODY, id="f25 nothing"),
    ],
)
async def test_an_error_is_explained(make_tier, server, fault, kind, reason):
    server.script(fault)

    with pytest.raises(TierFailed) as failure:
        await answer_of(make_tier())

    assert (type(failure.value), failure.value.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("cut_after:10", Reason.RESET), ("end_after:10", Reason.TRUNCATED), ("error_after:10", Reason.UPSTREAM_ERROR)],
)
async def test_a_cut_answer_never_looks_whole(make_tier, server, fault, reason):
    server.script(fault)
    seen = []

    with pytest.raises(TierBroken) as failure:
        await answer_of(make_tier(), seen=seen)

    assert failure.value.reason is reason
    assert "".join(chunk.text for chunk in seen) == "".join(tokens_of(DEFAULT_ANSWER)[:10])


async def test_a_cloud_model_is_never_asked(make_tier, server):
    with pytest.raises(TierUnavailable) as failure:
        await answer_of(make_tier(model="gpt-oss:120b-cloud"))

    assert (failure.value.reason, chats(server)) == (Reason.CLOUD_MODEL, [])


async def test_a_gateway_is_not_asked_by_a_gateway(make_tier, server):
    server.models = dict.fromkeys(["auto", "copilot", "cloud", "local"])

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(make_tier())

    assert "circle" in failure.value.detail
    assert chats(server) == []


async def test_a_server_without_a_model_says_so(make_tier, server):
    server.models = {"text-embedding-nomic": None}

    with pytest.raises(TierUnavailable) as failure:
        await answer_of(make_tier())

    assert failure.value.reason is Reason.MODEL_MISSING


async def test_something_else_at_the_address_is_explained(make_tier, server):
    for fault in ("bad_schema", "status_404"):
        server.script(free=fault)

        with pytest.raises(TierUnavailable) as failure:
            await answer_of(make_tier())

        assert "LOCAL_BASE_URL" in failure.value.cure


async def test_nothing_at_the_address_is_explained(make_tier, server):
    server.stop()

    with pytest.raises(TierUnreachable) as failure:
        await answer_of(make_tier())
    shown = await make_tier().info()

    assert (failure.value.reason, shown.configured) == (Reason.CONNECT_REFUSED, False)
    assert "LOCAL_BASE_URL" in failure.value.cure


async def test_a_server_that_never_answers_costs_one_wait(make_tier, server):
    server.script(free="hang")
    tier = make_tier(look_within=0.2)
    assert await tier.context_chars(ask()) is None

    with pytest.raises(TierUnreachable) as failure:
        await answer_of(tier)

    assert failure.value.reason is Reason.CONNECT_TIMEOUT
    assert len(server.calls) == 1


# Found and confirmed


async def test_a_server_is_found_and_named(http, server):
    found = await find_servers(http, 8000, [(server.port, "/v1", "LM Studio")], within=10)

    assert [(f.base_url, f.name, f.models) for f in found] == [
        (f"http://127.0.0.1:{server.port}/v1", "LM Studio", ("qwen3.5-4b", "phi4"))
    ]


async def test_looking_sends_neither_key_nor_prompt(http, server):
    await find_servers(http, 8000, [(server.port, "/v1", "LM Studio")])

    assert [(call.method, call.path) for call in server.calls] == [("GET", "/v1/models")]
    assert "authorization" not in server.calls[0].headers


@pytest.mark.parametrize("fault", ["html_200", "bad_schema", "bad_json", "status_404", "status_401", "hang"])
async def test_anything_else_is_not_taken_for_a_server(http, server, fault):
    server.script(free=fault)

    assert await find_servers(http, 8000, [(server.port, "/v1", "LM Studio")], within=0.3) == ()


async def test_our_own_port_and_other_gateways_are_left_out(http, server):
    ports = [(server.port, "/v1", "LM Studio")]
    assert await find_servers(http, server.port, ports) == ()

    server.models = dict.fromkeys(["auto", "copilot", "cloud", "local"])

    assert await find_servers(http, 8000, ports) == ()


async def test_what_was_found_is_asked_only_once_confirmed(http, server, tmp_path):
    tier = LocalOpenAITier(http, CLOCK, state_dir=tmp_path)
    before = tier.missing()
    with pytest.raises(TierUnavailable):
        await answer_of(tier)

    confirm(tmp_path, server.base_url + "/")

    assert (before is not None, tier.missing()) == (True, None)
    assert tier.address == ("127.0.0.1", server.port)
    assert server.calls == []


async def test_a_confirmed_server_answers_and_gets_no_key(http, ollama, tmp_path):
    confirm(tmp_path, ollama.url + "/v1")

    tier = LocalOpenAITier(http, CLOCK, state_dir=tmp_path, key=Secret("local-key"))

    assert (await answer_of(tier))[0] == DEFAULT_ANSWER
    assert not any("authorization" in call.headers for call in ollama.calls)


def test_the_latest_yes_counts_and_can_be_taken_back(tmp_path):
    confirm(tmp_path, "http://127.0.0.1:1234/v1")
    confirm(tmp_path, "http://127.0.0.1:8080/v1")
    confirm(tmp_path, "http://127.0.0.1:1234/v1/")

    assert confirmed(tmp_path) == ("http://127.0.0.1:1234/v1", "http://127.0.0.1:8080/v1")
    revoke(tmp_path, "http://127.0.0.1:1234/v1")
    assert confirmed(tmp_path) == ("http://127.0.0.1:8080/v1",)


def test_a_server_elsewhere_cannot_be_confirmed(tmp_path):
    with pytest.raises(ValueError, match="LOCAL_BASE_URL"):
        confirm(tmp_path, "http://192.168.7.7:1234/v1")
    (tmp_path / "local_servers.json").write_text('{"confirmed": ["http://192.168.7.7:1234/v1", 7]}')

    assert confirmed(tmp_path) == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"confirmed": 3}'])
def test_a_damaged_file_is_a_no(tmp_path, content):
    (tmp_path / "local_servers.json").write_text(content)

    assert confirmed(tmp_path) == ()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_file_is_for_its_owner_only(tmp_path):
    confirm(tmp_path / "state", "http://127.0.0.1:1234/v1")

    assert stat.S_IMODE((tmp_path / "state" / "local_servers.json").stat().st_mode) == 0o600


async def test_without_an_address_nothing_is_read_or_asked_when_made(http):
    tier = LocalOpenAITier(http, CLOCK, state_dir=Path("/nowhere/at/all"))

    assert tier.missing() is not None
    assert tier.refuses(Prompt((Message("user", "x"),))) is None
    assert not (await tier.info()).configured
