"""What stands under an answer."""

from __future__ import annotations

import pytest

from gateway_core import Attempt, AttemptOutcome, Reason, Source
from webui.story import cited_words, in_words, why

FAILED = AttemptOutcome.FAILED


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        pytest.param(Attempt("cloud", FAILED, Reason.CONNECT_REFUSED), "could not be reached", id="a failure"),
        pytest.param(
            Attempt("cloud", AttemptOutcome.INTERRUPTED, Reason.STALLED), "broke off (fell silent)", id="a break"
        ),
        pytest.param(Attempt("cloud", FAILED, Reason.OUT_OF_MEMORY), "out of memory", id="a reason without words"),
        pytest.param(
            Attempt("cloud", FAILED, Reason.RATE_LIMITED, retry_after=30), "rate limited, again in 30 s", id="soon"
        ),
    ],
)
def test_reasons_are_told_in_words(attempt, words):
    assert in_words(attempt, wall=0.0) == words


def test_a_long_wait_is_told_as_a_time_of_day(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    __import__("time").tzset()

    told = in_words(Attempt("cloud", FAILED, Reason.RATE_LIMITED, retry_after=1800), wall=14 * 3600.0 + 120)

    assert told == "rate limited until 14:32"


def test_only_those_who_could_have_answered_are_named():
    attempts = (
        Attempt("copilot", AttemptOutcome.SKIPPED, Reason.NOT_CONFIGURED),
        Attempt("cloud", AttemptOutcome.SKIPPED, Reason.OFFLINE),
        Attempt("local", AttemptOutcome.ANSWERED),
    )

    assert why(attempts, wall=0.0) == "cloud: this laptop is offline"


def marked(text, claim):
    source = Source(1, "a", 0, len(text), text)
    return [text[start:end] for start, end in cited_words(source, claim)]


def test_the_words_that_a_claim_repeats_are_marked_and_common_ones_only_between_them():
    text = "The oil filter of the pump must be changed every 250 hours of work."

    assert marked(text, "Change the filter of the pump every 250 hours") == ["filter of the pump", "every 250 hours"]


def test_common_words_alone_are_not_marked():
    assert marked("It is the end of the day.", "It is in the house of the sun") == []
