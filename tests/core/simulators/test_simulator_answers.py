"""An unfinished answer is carried on from where it ends, on every wire."""

from __future__ import annotations

import pytest
from raw_client import HELLO, ask

from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of

WORDS = tokens_of(DEFAULT_ANSWER)
SAID, REST = "".join(WORDS[:20]), "".join(WORDS[20:])
GO_ON = {"role": "user", "content": "Continue exactly from the last character, without repeating anything."}


def prefill(said: str) -> list[dict[str, str]]:
    return [*HELLO, {"role": "assistant", "content": said}]


def instruction(said: str) -> list[dict[str, str]]:
    return [*prefill(said), GO_ON]


@pytest.fixture(params=["openai", "copilot", "responses", "ollama"])
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def say(wire: str, request: pytest.FixtureRequest):
    simulator = request.getfixturevalue({"responses": "copilot"}.get(wire, wire))

    def say(messages, fault="ok", **body):
        simulator.script(fault)
        return ask(simulator, wire, **{"input" if wire == "responses" else "messages": messages}, **body).text

    return say


def quotation(said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"hello\n\nContinue this answer from its last character:\n<<<{said}>>>"}]


def test_an_answer_may_be_quoted_in_the_wish_to_go_on(say):
    assert say(quotation(SAID)) == REST
    assert say(quotation("Something else.")) == DEFAULT_ANSWER


@pytest.mark.parametrize("asked", [prefill, instruction])
@pytest.mark.parametrize(
    ("said", "rest"),
    [
        pytest.param(SAID, REST, id="at a word"),
        pytest.param(SAID + " ", REST[1:], id="after the space"),
        pytest.param(SAID + "\n", REST, id="after a line end too many"),
        pytest.param(SAID[:-2], SAID[-2:] + REST, id="inside a word"),
        pytest.param(DEFAULT_ANSWER, "", id="at the end"),
        pytest.param("Something else.", DEFAULT_ANSWER, id="not this answer"),
    ],
)
def test_an_answer_goes_on_where_it_broke_off(say, asked, said, rest):
    assert say(asked(said)) == rest


def test_an_earlier_turn_is_not_an_unfinished_answer(say):
    assert say([*prefill(SAID), {"role": "user", "content": "And what about Rome?"}]) == DEFAULT_ANSWER


@pytest.mark.parametrize("asked", [prefill, instruction])
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("repeat:5", "".join(WORDS[15:])),
        ("repeat", "".join(WORDS[15:])),
        ("preamble", "Sure, here is the continuation:\n" + REST),
        ("preamble:Of course! ", "Of course! " + REST),
        ("restart_whole", DEFAULT_ANSWER),
        ("bare_start", REST.lstrip()),
        ("repeat:2+preamble", "Sure, here is the continuation:\n" + "".join(WORDS[18:])),
        ("repeat:5+cut_after:7", "".join(WORDS[15:22])),
    ],
)
def test_a_model_may_be_clumsy_at_going_on(say, asked, fault, text):
    assert say(asked(SAID), fault) == text


@pytest.mark.parametrize("fault", ["repeat:5", "preamble", "restart_whole", "bare_start"])
def test_clumsiness_does_not_touch_a_first_answer(say, fault):
    assert say(HELLO, fault) == DEFAULT_ANSWER


def test_a_model_may_not_carry_on_from_an_assistant_turn(openai):
    openai.prefill = "ignore"
    assert ask(openai, messages=prefill(SAID)).text == DEFAULT_ANSWER
    assert ask(openai, messages=instruction(SAID)).text == REST

    openai.prefill = "refuse"
    heard = ask(openai, messages=prefill(SAID))
    assert (heard.status, "prefill" in heard.json["error"]["message"]) == (400, True)


def test_parts_of_a_message_are_read(openai):
    parts = [{"type": "text", "text": SAID[:10]}, {"type": "text", "text": SAID[10:]}]

    assert ask(openai, messages=[*HELLO, {"role": "assistant", "content": parts}]).text == REST


LIMITS = {
    "openai": {"max_completion_tokens": 7},
    "copilot": {"max_tokens": 7},
    "responses": {"max_output_tokens": 7},
    "ollama": {"options": {"num_predict": 7}},
}


def test_a_limit_is_kept_and_told(wire, request):
    simulator = request.getfixturevalue({"responses": "copilot"}.get(wire, wire))

    heard = ask(simulator, wire, **LIMITS[wire])

    assert heard.text == "".join(WORDS[:7])
    assert b"length" in heard.payload or b"max_output_tokens" in heard.payload


def test_a_limit_counts_what_is_new(openai):
    assert ask(openai, messages=prefill(SAID), max_completion_tokens=3).text == "".join(WORDS[20:23])


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "size": {"type": "integer"}, "tags": {"type": "array"}},
    "required": ["city"],
}


@pytest.mark.parametrize(
    ("wire", "wish"),
    [
        ("openai", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}),
        ("copilot", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}),
        ("responses", {"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
        ("ollama", {"format": SCHEMA}),
    ],
)
def test_a_json_answer_fits_its_schema_and_breaks_off_like_any_other(wire, wish, request):
    import json

    simulator = request.getfixturevalue({"responses": "copilot"}.get(wire, wire))
    simulator.script("ok", "cut_after:3")

    whole, cut = (ask(simulator, wire, **wish).text for _ in range(2))

    assert json.loads(whole) == {"city": DEFAULT_ANSWER, "size": 7, "tags": [DEFAULT_ANSWER]}
    assert whole.startswith(cut)
    assert cut != whole
