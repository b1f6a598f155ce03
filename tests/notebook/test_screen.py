"""A growing answer in a notebook: updates of one output, few enough, and one clean output at the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway_core import Answer, Attempt, AttemptOutcome, Reason, Segment, Source, Usage
from notebook_ext.result import AIResult
from notebook_ext.screen import Finished, Live
from notebook_ext.story import WHY, lines_about


class Publisher:
    """Counts what a front end would receive."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def publish(self, data: Any, metadata: Any = None, **rest: Any) -> None:
        self.sent.append({"data": data, "metadata": metadata, **rest})

    @property
    def bytes(self) -> int:
        return sum(len(json.dumps(message)) + 500 for message in self.sent)  # and about 500 of headers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def result(text: str = "Paris is the capital.", **fields: Any) -> AIResult:
    given: dict[str, Any] = {
        "id": "ans_1", "text": text, "backend": "cloud", "mode": "cloud", "model": "m1", "state": "closed",
        "finish_reason": "stop", "segments": (Segment("cloud", 0, len(text)),), "attempts": (), "usage": Usage(3, 5),
        "total_ms": 812.0,
    }  # fmt: skip
    return AIResult.of(Answer(**(given | fields)), "Capital?")


def watch(tokens: int, per_second: float) -> tuple[Publisher, str]:
    publisher, clock = Publisher(), Clock()
    screen = Live(publisher, True, clock)
    text = ""
    for number in range(tokens):
        word = f"word{number % 97} " if number % 12 != 11 else "\n\n"
        text += word
        screen.grow(word)
        for _ in range(4):
            clock.now += 1 / per_second / 4
            screen.tick()
    screen.finish(result(text))
    return publisher, text


def test_90_tokens_at_20_a_second_grow_in_at_least_30_steps():
    publisher, _ = watch(90, 20)

    assert len(publisher.sent) >= 30


@pytest.mark.parametrize("per_second", [200, 50, 20, 10])
def test_2000_tokens_cost_at_most_a_megabyte(per_second):
    publisher, _ = watch(2000, per_second)

    assert publisher.bytes <= 1_000_000


def test_the_last_output_is_whole_with_plain_text_beside_it():
    publisher, text = watch(90, 20)
    last = publisher.sent[-1]

    assert last["data"]["text/plain"] == text
    assert last["data"]["text/markdown"].startswith("word0 word1 ")
    assert last["update"]
    assert len({message["transient"]["display_id"] for message in publisher.sent}) == 1
    assert [message["update"] for message in publisher.sent[:2]] == [False, True]


def test_while_it_grows_only_markdown_is_sent():
    publisher, _ = watch(90, 20)

    assert {tuple(message["data"]) for message in publisher.sent[:-1]} == {("text/markdown",)}


def test_a_long_wait_says_so_and_leaves_nothing_behind_when_it_fails():
    publisher, clock = Publisher(), Clock()
    screen = Live(publisher, True, clock)
    screen.tick()
    clock.now += 1
    screen.tick()
    screen.finish(None)

    assert [m["data"]["text/markdown"] for m in publisher.sent] == ["*asking ...*", ""]


def test_text_that_waits_is_shown_even_if_nothing_more_comes():
    publisher, clock = Publisher(), Clock()
    screen = Live(publisher, True, clock)
    screen.grow("one ")
    screen.grow("two")
    clock.now += 0.1
    screen.tick()

    assert publisher.sent[-1]["data"]["text/markdown"] == "one two"


def test_a_restart_clears_what_was_shown():
    publisher, clock = Publisher(), Clock()
    screen = Live(publisher, True, clock)
    screen.grow("wrong")
    screen.seam("cloud", "restart")
    clock.now += 1
    screen.grow("right")

    assert publisher.sent[-1]["data"]["text/markdown"] == "right"


def test_finished_sends_one_output():
    publisher = Publisher()
    screen = Finished(publisher, footer=True)
    screen.grow("Paris")
    screen.finish(result("Paris"))

    (only,) = publisher.sent
    assert only["data"]["text/plain"] == "Paris"
    assert "cloud · m1 · 812 ms · 5 tokens" in only["data"]["text/markdown"]


def test_the_footer_can_be_left_out():
    publisher = Publisher()
    Finished(publisher, footer=False).finish(result("Paris"))

    assert publisher.sent[0]["data"]["text/markdown"] == "Paris"


def test_the_metadata_tell_of_the_answer_and_nothing_of_the_question():
    publisher = Publisher()
    Finished(publisher, footer=True).finish(result("Paris"))
    kept = publisher.sent[0]["metadata"]["ai_gateway"]

    assert (kept["backend"], kept["usage"]["output_tokens"]) == ("cloud", 5)
    assert "Capital?" not in json.dumps(kept)


def test_a_seam_stands_where_the_other_tier_went_on():
    text = "Paris is the capital."
    cut = Attempt("copilot", AttemptOutcome.INTERRUPTED, Reason.RESET, may_have_billed=True)
    publisher = Publisher()
    Finished(publisher, True).finish(
        result(text, segments=(Segment("copilot", 0, 9), Segment("cloud", 9, 21)), attempts=(cut,))
    )
    markdown = publisher.sent[0]["data"]["text/markdown"]

    assert "Paris is <sup>⟫ cloud</sup>the capital." in markdown
    assert "> copilot broke off after 9 characters (the connection broke); cloud went on" in markdown
    assert publisher.sent[0]["data"]["text/plain"] == text


def test_sources_can_be_opened_and_cannot_break_out():
    sources = (Source(1, "df", 0, 5, "<img src=x> | $x$", cited=True, place="row 7"), Source(2, "notes", 0, 5, "other"))
    publisher = Publisher()
    Finished(publisher, True).finish(result("It is so [1].", sources=sources))
    markdown = publisher.sent[0]["data"]["text/markdown"]

    assert "[1] df, row 7" in markdown
    assert "<img" not in markdown
    assert "and 1 more read, not cited" in markdown


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"finish_reason": "length"}, "the answer was cut at the length limit"),
        ({"finish_reason": "content_filter"}, "the provider's content filter ended the answer"),
        ({"mode": "extractive"}, "no AI model answered: these are quotations"),
        ({"grounding": {"invalid_citations": [7]}}, "cites passages that do not exist: 7"),
        ({"notes": ("model x is gone; y answers",)}, "model x is gone; y answers"),
    ],
)
def test_whatever_is_not_as_asked_is_told(fields, told):
    assert told in lines_about(result(**fields))


def test_every_reason_a_tier_can_have_has_words():
    reasons = [str(reason) for reason in Reason]

    assert [reason for reason in reasons[: reasons.index("cancelled")] if reason not in WHY] == []
