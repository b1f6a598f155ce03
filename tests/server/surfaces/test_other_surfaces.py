"""The Anthropic, Responses and Ollama surfaces, on the wire."""

from __future__ import annotations

import json

import pytest
from pydantic import SecretStr

from gateway_core import Message, Usage
from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason

from ..calling import calling, cut_stream, events, gateway, running
from .test_chat_completions import FRAGMENTS, TOOL

USED = Chunk(finish_reason="stop", usage=Usage(7, 2))
CALLS = [*FRAGMENTS, Chunk(finish_reason="tool_calls")]
HELLO = [{"role": "user", "content": "Hello"}]
ASKED = {
    "/v1/messages": {"model": "auto", "max_tokens": 100, "messages": HELLO},
    "/v1/responses": {"model": "auto", "input": "Hello"},
    "/api/chat": {"model": "auto", "messages": HELLO},
    "/api/generate": {"model": "auto", "prompt": "Hello"},
}
MODEL = "local/scripted-local"
PATHS = pytest.mark.parametrize("path", ASKED)


def down() -> TierBroken:
    return TierBroken("copilot", "it broke", reason=Reason.RESET)


def lines(body: str) -> list[dict]:
    return [json.loads(line) for line in body.splitlines()]


@PATHS
@pytest.mark.parametrize("stream", [False, True])
async def test_every_surface_fails_over_and_says_who_answered(path, stream):
    async with calling(ScriptedTier("copilot", [down()]), ScriptedTier("cloud", ["fi", "ne", USED])) as client:
        reply = await client.post(path, json={**ASKED[path], "stream": stream})

    assert reply.status_code == 200
    assert reply.headers["x-ai-gateway-backend"] == "cloud"
    assert '"backend":"cloud"' in reply.text


@pytest.mark.parametrize("path", [*ASKED, "/v1/chat/completions"])
async def test_what_is_not_to_leave_the_laptop_stays_on_every_surface(path):
    cloud, local = ScriptedTier("cloud", ["away"]), ScriptedTier("local", ["here", USED])
    asked = ASKED.get(path, {"messages": HELLO})
    async with calling(cloud, local) as client:
        reply = await client.post(path, json={**asked, "local_only": True})
        refused = await client.post(path, json={**asked, "local_only": "yes"})

    assert '"backend":"local"' in reply.text
    assert (cloud.prompts, "local_only" in local.prompts[0].passthrough) == ([], False)
    assert (refused.status_code, "local_only must be true or false" in refused.text) == (422, True)


@PATHS
@pytest.mark.parametrize("stream", [False, True])
async def test_every_surface_says_a_final_failure_in_its_own_words(path, stream):
    async with calling(ScriptedTier("copilot", [down()])) as client:
        reply = await client.post(path, json={**ASKED[path], "stream": stream})

    assert reply.status_code == 503
    error = reply.json()["error"]
    assert "copilot: it broke" in (error if isinstance(error, str) else error["message"])
    assert path.startswith("/api/") or reply.headers["x-should-retry"] == "false"


@PATHS
async def test_f45_no_surface_ends_cleanly_after_a_cut(path):
    async with running(gateway(ScriptedTier("copilot", ["one ", down()]), ScriptedTier("cloud"))) as server:
        received = await cut_stream(server, path, {**ASKED[path], "stream": True})

    assert received.count('"error"') >= 1
    assert "(ask again)" in received
    assert "on_interrupt" not in received
    for end in ("message_stop", "response.completed", '"done":true'):
        assert end not in received


@PATHS
async def test_a_cure_names_no_field_that_a_surface_does_not_have(path):
    async with calling(ScriptedTier("cloud"), local_only=True) as client:
        reply = await client.post(path, json={**ASKED[path], "model": "cloud"})

    error = reply.json()["error"]
    assert reply.status_code == 422
    assert "(ask for the model auto, or unset LOCAL_ONLY)" in (error if isinstance(error, str) else error["message"])


@PATHS
async def test_no_surface_takes_a_broken_body(path):
    async with calling(ScriptedTier("copilot")) as client:
        replies = [
            await client.post(path, content=body, headers={"content-type": "application/json"})
            for body in (b"", b"[]", b'{"messages":3,"prompt":3,"input":3}', b"\xff", b'{"model":3}')
        ]

    assert {reply.status_code for reply in replies} == {422}
    assert all("error" in reply.json() for reply in replies)


# ---- Anthropic


async def test_an_anthropic_message_whole():
    async with calling(ScriptedTier("copilot", ["Hi ", "there", USED])) as client:
        told = (await client.post("/v1/messages", json=ASKED["/v1/messages"])).json()

    assert (told["type"], told["role"], told["stop_reason"]) == ("message", "assistant", "end_turn")
    assert told["content"] == [{"type": "text", "text": "Hi there"}]
    assert told["usage"] == {"input_tokens": 7, "output_tokens": 2}


async def test_an_anthropic_stream_opens_and_closes_its_block():
    async with calling(ScriptedTier("copilot", ["Hi ", "there", USED])) as client:
        heard = events((await client.post("/v1/messages", json={**ASKED["/v1/messages"], "stream": True})).text)

    assert [e.name for e in heard] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert all(e.name == e.data["type"] for e in heard)
    assert heard[-2].data["delta"]["stop_reason"] == "end_turn"


async def test_anthropic_blocks_and_tools_are_translated_both_ways():
    copilot = ScriptedTier("copilot", ["Let me look.", *CALLS])
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c0", "name": "weather", "input": {"city": "Ur"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c0", "content": "hot"}]},
    ]
    request = {
        **ASKED["/v1/messages"],
        "messages": messages,
        "system": [{"type": "text", "text": "Be brief."}],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
        "stop_sequences": ["END"],
    }
    async with calling(copilot) as client:
        whole = (await client.post("/v1/messages", json=request)).json()
        heard = events((await client.post("/v1/messages", json={**request, "stream": True})).text)

    prompt = copilot.prompts[0]
    call = {"id": "c0", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ur"}'}}
    assert prompt.messages == (
        Message("system", "Be brief."),
        Message("user", "Weather?"),
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "hot", {"tool_call_id": "c0"}),
    )
    assert prompt.passthrough == {"stop": ["END"], "tools": [TOOL], "tool_choice": "required"}
    assert whole["content"][1] == {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}}
    assert whole["stop_reason"] == "tool_use"
    assert [e.data["index"] for e in heard if e.name == "content_block_start"] == [0, 1]
    partial = "".join(e.data["delta"].get("partial_json", "") for e in heard if e.name == "content_block_delta")
    assert json.loads(partial) == {"city": "Rome"}


async def asked_of_anthropic(*tiers: ScriptedTier, **fields):
    async with calling(*(tiers or (ScriptedTier("copilot"),))) as client:
        return await client.post("/v1/messages", json={**ASKED["/v1/messages"], **fields})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [{"name": "weather"}, {"type": "web_search_20260209", "name": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": 7, "name": "x"}]}, "tools[0].type"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "document"}]}]}]},
            "messages[0].content[0].content[0].type",
        ),
    ],
)
async def test_what_the_anthropic_surface_does_not_serve_is_refused_not_lost(fields, field):
    reply = await asked_of_anthropic(**fields)

    error = reply.json()["error"]
    assert (reply.status_code, reply.json()["type"], error["type"]) == (422, "error", "invalid_request_error")
    assert field in error["message"]
    assert error["ai_gateway"]["cure"]


async def test_a_tool_of_ones_own_may_say_that_it_is_one():
    copilot = ScriptedTier("copilot")
    tool = {"type": "custom", "name": "weather", "input_schema": {"type": "object"}}
    assert (await asked_of_anthropic(copilot, tools=[tool])).status_code == 200

    assert copilot.prompts[0].passthrough["tools"] == [TOOL]


async def test_pictures_and_errors_of_an_anthropic_tools_result_are_told():
    copilot = ScriptedTier("copilot")
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}}
    results = [
        {"type": "tool_result", "tool_use_id": "c0", "content": [{"type": "text", "text": "a map"}, picture]},
        {"type": "tool_result", "tool_use_id": "c1", "is_error": True, "content": "no such city"},
    ]
    await asked_of_anthropic(copilot, messages=[*HELLO, {"role": "user", "content": results}])

    assert copilot.prompts[0].messages[1:] == (
        Message("tool", "a map", {"tool_call_id": "c0"}),
        Message("tool", "Error: no such city", {"tool_call_id": "c1"}),
        Message(
            "user",
            [  # type: ignore[arg-type]
                {"type": "text", "text": "Pictures of the tool result c0:"},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}},
            ],
        ),
    )


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"thinking": {"type": "enabled"}, "top_k": 5}, ["not passed on to the tiers: thinking, top_k"]),
        ({"thinking": {"type": "disabled"}, "metadata": {"user_id": "x"}, "container": None}, []),
    ],
)  # fmt: skip
async def test_what_is_not_passed_on_is_told(fields, notes):
    whole = (await asked_of_anthropic(**fields)).json()
    heard = events((await asked_of_anthropic(**fields, stream=True)).text)

    assert whole["ai_gateway"]["notes"] == heard[-2].data["ai_gateway"]["notes"] == notes


async def test_fragments_of_two_calls_that_come_mixed_are_two_blocks():
    def fragment(index: int, arguments: str, **more) -> Chunk:
        return Chunk(tool_calls=({"index": index, "function": {"arguments": arguments, **more}, "id": f"c{index}"},))

    mixed = [
        fragment(0, '{"a"', name="f"), fragment(1, '{"b"', name="g"), fragment(0, ":1}"), fragment(1, ":2}"),
    ]  # fmt: skip
    copilot = ScriptedTier("copilot", ["Let me look.", *mixed, Chunk(finish_reason="tool_calls")])
    heard = events((await asked_of_anthropic(copilot, stream=True)).text)

    started = [e.data["content_block"] for e in heard if e.name == "content_block_start"]
    assert [(block["type"], block.get("name")) for block in started] == [
        ("text", None), ("tool_use", "f"), ("tool_use", "g"),
    ]  # fmt: skip
    given = {0: "", 1: "", 2: ""}
    for told in (e.data for e in heard if e.name == "content_block_delta"):
        given[told["index"]] += told["delta"].get("partial_json", "")
    assert (given[1], given[2]) == ('{"a":1}', '{"b":2}')
    stopped = [e.data["index"] for e in heard if e.name == "content_block_stop"]
    assert stopped == [0, 1, 2]


# ---- Responses


async def test_a_response_whole():
    async with calling(ScriptedTier("copilot", ["Hi ", "there", USED])) as client:
        told = (await client.post("/v1/responses", json={**ASKED["/v1/responses"], "instructions": "Be brief."})).json()

    assert (told["object"], told["status"], told["error"]) == ("response", "completed", None)
    assert told["output"][0]["content"][0] == {
        "type": "output_text", "text": "Hi there", "annotations": [], "logprobs": [],
    }  # fmt: skip
    assert told["usage"]["total_tokens"] == 9


async def test_a_responses_stream_is_numbered_without_a_gap():
    async with calling(ScriptedTier("copilot", ["Hi ", "there", Chunk(finish_reason="length")])) as client:
        heard = events((await client.post("/v1/responses", json={**ASKED["/v1/responses"], "stream": True})).text)

    assert [e.data["sequence_number"] for e in heard] == list(range(len(heard)))
    assert (heard[0].name, heard[-1].name) == ("response.created", "response.incomplete")
    assert heard[-1].data["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert "".join(e.data["delta"] for e in heard if e.name == "response.output_text.delta") == "Hi there"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
    ],
)
async def test_what_is_not_text_is_refused_not_ignored(fields, param):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.post("/v1/responses", json={**ASKED["/v1/responses"], **fields})

    assert (reply.status_code, reply.json()["error"]["param"]) == (422, param)


async def test_the_items_of_a_responses_input_are_turns():
    copilot = ScriptedTier("copilot")
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]
    async with calling(copilot) as client:
        await client.post("/v1/responses", json={"input": items, "max_output_tokens": 5})

    assert [(m.role, m.content) for m in copilot.prompts[0].messages] == [
        ("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"),
    ]  # fmt: skip
    assert copilot.prompts[0].max_tokens == 5


# ---- Ollama


@pytest.mark.parametrize(("path", "field"), [("/api/chat", "message"), ("/api/generate", "response")])
async def test_ollama_streams_lines_unless_told_otherwise(path, field):
    def said(line: dict) -> str:
        return line[field]["content"] if field == "message" else line[field]

    async with calling(ScriptedTier("copilot", ["Hi ", "there", USED])) as client:
        grown = await client.post(path, json=ASKED[path])
        whole = (await client.post(path, json={**ASKED[path], "stream": False})).json()

    told = lines(grown.text)
    assert grown.headers["content-type"] == "application/x-ndjson"
    assert "".join(map(said, told)) == said(whole) == "Hi there"
    assert [line["done"] for line in told] == [False, False, True]
    assert (whole["done"], whole["done_reason"], whole["prompt_eval_count"], whole["eval_count"]) == (
        True,
        "stop",
        7,
        2,
    )


async def test_ollama_options_tools_and_pictures_are_translated():
    copilot = ScriptedTier("copilot", CALLS)
    request = {
        "model": "auto:latest",
        "messages": [
            {"role": "user", "content": "What is it?", "images": ["QUJD"]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {}}}]},
            {"role": "tool", "content": "hot", "tool_name": "weather"},
        ],
        "options": {"temperature": 0.5, "num_predict": 9, "num_ctx": 4096, "top_p": 0.9},
        "format": {"type": "object"},
        "tools": [TOOL],
        "stream": False,
    }
    async with calling(copilot) as client:
        told = (await client.post("/api/chat", json=request)).json()

    prompt = copilot.prompts[0]
    assert prompt.messages[0].content[1]["image_url"]["url"] == "data:image/png;base64,QUJD"
    assert prompt.messages[2].extra["tool_call_id"] == prompt.messages[1].extra["tool_calls"][0]["id"]
    assert (prompt.max_tokens, prompt.temperature) == (9, 0.5)
    assert prompt.passthrough["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert set(prompt.passthrough) == {"top_p", "tools", "response_format"}
    called = {"id": "c1", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    assert told["message"]["tool_calls"] == [called]


def called(*names: str, **ids: str) -> dict:
    calls = [{"function": {"name": name, "arguments": {}}} for name in names]
    return {"role": "assistant", "content": "", "tool_calls": [{**c, **ids} for c in calls]}


async def paired(*turns: dict) -> tuple[list[str], list[str]]:
    """The ids of the calls, and those that the results name, as a tier is told them."""
    copilot = ScriptedTier("copilot")
    async with calling(copilot) as client:
        reply = await client.post("/api/chat", json={"messages": [*HELLO, *turns], "stream": False})
    assert reply.status_code == 200, reply.text
    told = copilot.prompts[0].messages
    made = [call["id"] for turn in told for call in turn.extra.get("tool_calls", ())]
    return made, [turn.extra["tool_call_id"] for turn in told if turn.role == "tool"]


def result(**fields: str) -> dict:
    return {"role": "tool", "content": "x", **fields}


async def test_ollama_results_of_two_calls_at_once_are_told_apart():
    by_order = await paired(called("a", "b"), result(), result())
    by_name = await paired(called("a", "b"), result(tool_name="b"), result(tool_name="a"))
    same_name = await paired(called("a", "a"), result(tool_name="a"), result(tool_name="a"))
    first = {"id": "1", **called("a")["tool_calls"][0]}
    second = {"id": "2", **called("a")["tool_calls"][0]}
    by_id = await paired(
        {**called("a"), "tool_calls": [first, second]}, result(tool_call_id="2"), result(tool_call_id="1")
    )

    assert by_order == same_name == (["call_0", "call_1"], ["call_0", "call_1"])
    assert by_name == (["call_0", "call_1"], ["call_1", "call_0"])
    assert by_id == (["1", "2"], ["2", "1"])


@pytest.mark.parametrize("sent", [{}, {"id": "call_0"}])
async def test_ollama_results_of_two_rounds_name_different_calls(sent):
    given = {"tool_call_id": sent["id"]} if sent else {}
    rounds = [called("a", **sent), result(**given), called("a", **sent), result(**given)]

    made, answered = await paired(*rounds)

    assert made == answered
    assert len(set(made)) == 2


async def test_an_ollama_result_that_answers_nothing_is_passed_on():
    assert await paired(result(tool_name="a")) == ([], ["call_0"])


@pytest.mark.parametrize(
    ("begins", "kind"),
    [("/9j/4AAQ", "jpeg"), ("R0lGODlh", "gif"), ("UklGRiQA", "webp"), ("iVBORw0K", "png"), ("Qk0=", "png")],
)
async def test_a_picture_is_called_what_it_is(begins, kind):
    copilot = ScriptedTier("copilot")
    async with calling(copilot) as client:
        await client.post("/api/generate", json={"prompt": "What is it?", "images": [begins]})

    assert copilot.prompts[0].messages[0].content[1]["image_url"]["url"] == f"data:image/{kind};base64,{begins}"


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_an_empty_ollama_request_only_loads(path):
    copilot = ScriptedTier("copilot")
    async with calling(copilot) as client:
        told = (await client.post(path, json={"model": "auto"})).json()

    assert (told["done"], told["done_reason"], copilot.calls) == (True, "load", 0)


async def test_ollama_clients_find_version_names_and_abilities():
    async with calling(ScriptedTier("local")) as client:
        version = (await client.get("/api/version")).json()["version"]
        tags = (await client.get("/api/tags")).json()["models"]
        show = (await client.post("/api/show", json={"model": "auto"})).json()

    assert version.count(".") == 2
    assert [m["name"] for m in tags] == [f"{n}:latest" for n in ("auto", "copilot", "cloud", "local", MODEL)]
    assert "completion" in show["capabilities"]


@pytest.mark.parametrize(
    ("name", "status"),
    [("auto", 200), ("local:latest", 200), (MODEL, 200), (f"{MODEL}:latest", 200), ("", 200), ("local/x", 404),
     ("gpt-99", 404), ("auto:8b", 404)],
)  # fmt: skip
async def test_ollama_clients_hear_which_models_there_are_not(name, status):
    async with calling(ScriptedTier("local")) as client:
        reply = await client.post("/api/show", json={"model": name})

    assert reply.status_code == status
    assert status == 200 or reply.json() == {"error": f"model '{name}' not found"}


async def test_a_listed_ollama_name_is_the_name_that_is_asked_for():
    local = ScriptedTier("local", ["Hi"])
    async with calling(local) as client:
        name = (await client.get("/api/tags")).json()["models"][-1]["model"]
        told = (await client.post("/api/chat", json={**ASKED["/api/chat"], "model": name, "stream": False})).json()

    assert (told["message"]["content"], told["ai_gateway"]["notes"]) == ("Hi", [])
    assert local.prompts[-1].model == MODEL.partition("/")[2]


async def test_no_model_in_memory_is_an_ollama_clients_to_unload():
    async with calling(ScriptedTier("local")) as client:
        assert (await client.get("/api/ps")).json() == {"models": []}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("/v1/chat/completions", lambda told: told["error"]["message"], id="openai"),
        pytest.param("/v1/nothing", lambda told: told["error"]["message"], id="openai, no such path"),
        pytest.param("/v1/messages", lambda told: told["error"]["message"], id="anthropic"),
        pytest.param("/api/chat", lambda told: told["error"], id="ollama"),
        pytest.param("/ai/query", lambda told: told["detail"], id="our own"),
    ],
)
async def test_a_wrong_token_is_told_in_the_clients_words(path, words):
    async with calling(ScriptedTier("copilot"), ai_gateway_token=SecretStr("right")) as client:
        reply = await client.post(path, json={}, headers={"authorization": "Bearer wrong"})

    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert "the gateway's token is missing or wrong" in words(reply.json())


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("GET", "/v1/x", 404)])
async def test_what_is_not_served_is_told_in_the_clients_words(method, path, status):
    async with calling(ScriptedTier("copilot")) as client:
        reply = await client.request(method, path)

    assert reply.status_code == status
    assert "served" in reply.json()["error"]["message"]


async def test_ollama_reads_any_type_but_not_from_a_page():
    own = {"origin": "http://127.0.0.1:8000"}
    body = json.dumps({**ASKED["/api/chat"], "stream": False})
    async with calling(ScriptedTier("copilot")) as client:
        program = await client.post("/api/chat", content=body)
        page = await client.post("/api/chat", content=body, headers=own)
        polite_page = await client.post("/api/chat", json=ASKED["/api/chat"], headers=own)

    assert [r.status_code for r in (program, page, polite_page)] == [200, 415, 200]
