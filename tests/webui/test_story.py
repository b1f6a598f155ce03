"""What stands under an answer."""

from __future__ import annotations

import pytest

from gateway_core import AllTiersFailed, Attempt, AttemptOutcome, Reason, Source
from webui.story import WORDS, about_failure, cited_words, in_words, why

FAILED = AttemptOutcome.FAILED


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        pytest.param(Attempt("cloud", FAILED, Reason.CONNECT_REFUSED), "could not be reached", id="a failure"),
        pytest.param(
            Attempt("cloud", AttemptOutcome.INTERRUPTED, Reason.STALLED), "broke off (fell silent)", id="a break"
        ),
        pytest.param(Attempt("cloud", FAILED, Reason.CROSS_SITE), "cross site", id="a reason without words"),
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


# Refused by the server before any tier is asked, or told as the whole answer.
NEVER_OF_A_TIER = {
    Reason.NO_TIER_ANSWERED, Reason.DOCUMENT_UNREADABLE, Reason.INVALID_REQUEST, Reason.UNSUPPORTED_MEDIA_TYPE,
    Reason.REQUEST_TIMEOUT, Reason.KEY_REUSED, Reason.NOT_FOUND, Reason.METHOD_NOT_ALLOWED, Reason.HOST_REFUSED,
    Reason.CROSS_SITE, Reason.TOKEN_NEEDED, Reason.TOO_MANY_GUESSES, Reason.TOO_MANY_REQUESTS, Reason.STARTING_UP,
    Reason.SHUTTING_DOWN,
}  # fmt: skip


def test_every_reason_of_a_tier_has_words():
    assert set(Reason) - set(WORDS) == NEVER_OF_A_TIER
    assert [words for words in WORDS.values() if "_" in words] == []


def test_a_failure_of_everybody_tells_each_reason_once_and_in_words():
    error = AllTiersFailed([Attempt("copilot", FAILED, Reason.UPSTREAM_5XX), Attempt("cloud", FAILED, Reason.RESET)])

    told = about_failure(error, wall=0.0)

    assert told["problem"]["detail"] == "copilot: its server failed; cloud: the connection broke"
    assert told["problem"]["detail"] == told["why"]


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
