"""Real clients against a live gateway: the table of docs/clients.md row by row, and what only some of them can do."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .running import Child, running
from .table import CLIENTS, CUT, EXPLANATION, PAGE, WHOLE, Client, measured, rows_of
from .world import World

pytestmark = pytest.mark.slow
BY_NAME = {client.name: client for client in CLIENTS}


@pytest.mark.parametrize("client", [pytest.param(c, id=c.name) for c in CLIENTS])
def test_the_page_tells_what_the_client_does(client: Client, children: Callable[[Client], Child], world: World):
    row = measured(client, children(client), world)
    told = rows_of(PAGE.read_text(encoding="utf-8")).get(client.name)

    assert str(row) == told, f"run: python -m tests.clients '{client.name}' - seen: {row.seen}"


def test_no_client_takes_a_cut_for_an_answer_or_misses_a_failover():
    """What the page may not come to say, whatever a client does."""
    rows = rows_of(PAGE.read_text(encoding="utf-8"))

    assert list(rows) == list(BY_NAME)
    cells = {name: [cell.strip() for cell in row.split("|")[4:9]] for name, row in rows.items()}
    assert {name: row[:4] for name, row in cells.items() if row[:4] != ["yes"] * 4} == {}
    assert {name: row[4] for name, row in cells.items() if not row[4].startswith("explained")} == {}
    retrying = {name for name, row in cells.items() if row[4] != "explained, 1 request"}
    assert retrying == {"ai (Vercel) for JavaScript", "llama-index-llms-openai-like"}


@pytest.fixture
def child(request: pytest.FixtureRequest, children: Callable[[Client], Child], world: World) -> Child:
    return children(BY_NAME[request.param])


def client_is(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("child", [name], indirect=True)


def a_call_of(name: str, calls: list[dict]) -> bool:
    """One call of the tool, with whole arguments."""
    function = calls[0]["function"]
    given = function["arguments"]
    return (
        len(calls) == 1
        and function["name"] == name
        and "city" in (json.loads(given) if isinstance(given, str) else given)
    )


@client_is("openai, async")
def test_openai_tools_are_called_whole_and_streamed_also_through_a_failover(child: Child, world: World):
    for act in ("tools", "tools_streamed"):
        for copilot, cloud in (("tool_call", "ok"), ("status_500", "tool_call")):
            world.meet(copilot, cloud)
            told = child.do(act)

            assert told.error is None, (act, copilot, told)
            assert told.result["finish"] == "tool_calls"
            assert a_call_of("weather", told.result["calls"])


@client_is("openai, async")
def test_openai_sees_a_tool_call_that_is_cut_as_an_error(child: Child, world: World):
    world.meet("tool_call_cut")
    told = child.do("tools_streamed")

    assert told.result is None
    assert CUT in told.message


@client_is("openai, async")
def test_openai_sends_a_tools_result_back(child: Child, world: World):
    assert child.do("tool_results").result == WHOLE
    assert "sunny" in json.dumps(world.providers.copilot.paid_calls[-1].body)


@client_is("openai, async")
def test_openai_structured_answers_are_parsed_whole_and_streamed(child: Child, world: World):
    for act in ("parsed", "parsed_streamed"):
        for copilot in ("ok", "status_500"):
            world.meet(copilot)
            told = child.do(act)

            assert told.error is None, (act, copilot, told)
            assert told.result == {"name": WHOLE, "inhabitants": 7}


@client_is("openai, async")
def test_openai_hears_of_tokens_used_and_of_models(child: Child, world: World):
    assert child.do("usage").result == [60, 60]
    names = child.do("models").result

    assert names[:4] == ["auto", "copilot", "cloud", "local"]
    assert any(name.startswith("copilot/") for name in names)
    assert child.do("unknown_model").result == "model_not_found"


@client_is("openai, responses")
def test_openai_responses_are_parsed(child: Child):
    assert child.do("parsed").result == {"name": WHOLE}


@client_is("openai for JavaScript")
def test_openai_for_javascript_speaks_responses(child: Child):
    assert child.do("responses").result == WHOLE


@client_is("langchain-openai")
def test_langchain_binds_tools_and_parses(child: Child, world: World):
    parsed = child.do("parsed").result
    world.meet("tool_call")
    calls = child.do("tools").result

    assert parsed == {"name": WHOLE}
    assert [(call["name"], list(call["args"])) for call in calls] == [("City", ["name"])]


@client_is("pydantic-ai")
def test_pydantic_ai_runs_a_tool_and_goes_on_with_its_result(child: Child, world: World):
    world.providers.copilot.script("tool_call", then="ok")
    told = child.do("tools")

    assert told.result == {"output": WHOLE, "calls": 1}, told
    assert world.requests == 2
    assert child.do("parsed").result == {"name": WHOLE}


@client_is("anthropic")
def test_anthropic_tools_are_called_whole_and_streamed(child: Child, world: World):
    for act in ("tools", "tools_streamed"):
        for copilot, cloud in (("tool_call", "ok"), ("status_500", "tool_call")):
            world.meet(copilot, cloud)
            told = child.do(act)

            assert told.error is None, (act, copilot, told)
            assert told.result["stop"] == "tool_use"
            assert [(call["name"], list(call["input"])) for call in told.result["calls"]] == [("weather", ["city"])]


@client_is("anthropic")
def test_anthropic_hears_of_models(child: Child):
    names = child.do("models").result

    assert names[:4] == ["auto", "copilot", "cloud", "local"]
    assert any("/" in name for name in names)
    assert child.do("unknown_model").result == "not_found_error"


@client_is("anthropic")
def test_anthropic_sees_a_tool_call_that_is_cut_as_an_error(child: Child, world: World):
    world.meet("tool_call_cut")
    told = child.do("tools_streamed")

    assert told.result is None
    assert CUT in told.message


@client_is("ollama")
def test_ollama_tools_and_structured_answers(child: Child, world: World):
    parsed = json.loads(child.do("parsed").result)
    for act in ("tools", "tools_streamed"):
        world.meet("tool_call")
        assert a_call_of("weather", child.do(act).result), act
    world.meet("tool_call_cut")
    cut = child.do("tools_streamed")

    assert parsed == {"name": WHOLE}
    assert cut.result is None
    assert CUT in cut.message


@client_is("ollama")
def test_ollama_finds_what_it_asks_besides(child: Child):
    names = child.do("names").result

    assert names[0] == "auto:latest"
    assert all(":" in name for name in names)
    assert "completion" in child.do("abilities").result
    assert child.do("running").result == []
    assert child.do("generated").result == WHOLE


REFUSED = "the gateway's token is missing or wrong"


MAKERS_OF_REQUESTS = ["openai", "openai for JavaScript", "ai (Vercel) for JavaScript", "anthropic", "ollama"]


@pytest.mark.parametrize("name", MAKERS_OF_REQUESTS)
def test_a_wrong_token_is_explained_by_the_client(name: str, world: World):
    client = BY_NAME[name]
    with running(client.environment, client.script, world, token="wrong") as child:
        told = child.do("stream")

    assert told.error is not None
    assert REFUSED in told.message
    assert EXPLANATION not in told.message
