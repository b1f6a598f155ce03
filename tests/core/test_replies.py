"""Answers and errors as JSON: nothing of a provider's numbers or of our errors makes invalid JSON."""

import json
import math

import pytest

from gateway_core import AllTiersFailed, Answer, AnswerInterrupted, PromptRefused, problem_of, reply_of
from gateway_core.errors import PromptTooLong
from gateway_core.types import Attempt, AttemptOutcome, Reason, Segment, Source, Usage

ATTEMPTS = (
    Attempt(
        "copilot", AttemptOutcome.SKIPPED, Reason.UNAUTHORIZED, detail="refused", cure="log in", retry_after=math.inf
    ),
    Attempt("cloud", AttemptOutcome.FAILED, Reason.RATE_LIMITED, ms=3.5, may_have_billed=True, retry_after=12.0),
)
ANSWER = Answer(
    id="ans_1", text="Paris", backend="cloud", mode="cloud", model="m-1", state="open", finish_reason="stop",
    segments=(Segment("cloud", 0, 5),), attempts=ATTEMPTS, sources=(Source(1, "a.txt", 0, 3, "abc", True, "p. 1"),),
    usage=Usage(3, 1), notes=("a note",), first_token_ms=1.0, total_ms=2.0,
)  # fmt: skip


def test_a_plain_reply_has_exactly_three_fields():
    assert reply_of(ANSWER) == {"response": "Paris", "backend": "cloud", "state": "open"}


def test_details_are_added_as_one_object():
    reply = reply_of(ANSWER, details=True)

    assert set(reply) == {"response", "backend", "state", "details"}
    assert set(reply["details"]) == {
        "id", "mode", "model", "finish_reason", "segments", "attempts", "usage", "timing", "sources", "grounding",
        "notes",
    }  # fmt: skip
    assert reply["details"]["segments"] == [{"backend": "cloud", "start": 0, "end": 5}]
    assert reply["details"]["timing"] == {"first_token_ms": 1.0, "total_ms": 2.0}
    assert reply["details"]["sources"][0].items() >= {"n": 1, "document": "a.txt", "text": "abc", "cited": True}.items()


def test_a_wait_without_an_end_is_null_in_json():
    told = json.loads(json.dumps(reply_of(ANSWER, details=True), allow_nan=False))

    assert [a["retry_after"] for a in told["details"]["attempts"]] == [None, 12.0]


def test_when_no_tier_answered_every_reason_and_every_cure_is_told():
    problem = problem_of(AllTiersFailed(ATTEMPTS))

    assert (problem["status"], problem["code"], problem["retry_after"]) == (503, "no_tier_answered", 12.0)
    assert [a["reason"] for a in problem["attempts"]] == ["unauthorized", "rate_limited"]
    assert problem["cure"] == "ask again in 12 s; or log in"


def test_ways_that_were_never_set_up_are_not_told_beside_one_that_failed():
    local = [
        Attempt(
            "local", AttemptOutcome.FAILED, Reason.UPSTREAM_5XX, mode="ollama", detail="failed", cure="Restart it."
        ),
        Attempt("local", AttemptOutcome.SKIPPED, Reason.NOT_CONFIGURED, mode="embedded", detail="none", cure="install"),
        Attempt("local", AttemptOutcome.SKIPPED, Reason.NO_DOCUMENTS, mode="extractive", detail="no", cure="send some"),
    ]

    problem = problem_of(AllTiersFailed((ATTEMPTS[0], *local)))

    assert problem["detail"] == "no tier could answer (copilot: refused; local: failed)"
    assert problem["cure"] == "ask again in 5 s; or log in; or Restart it"
    assert len(problem["attempts"]) == 4


def test_there_is_no_retry_after_when_only_the_user_can_mend_it():
    assert problem_of(AllTiersFailed(ATTEMPTS[:1]))["retry_after"] is None


def test_a_failure_that_may_pass_by_itself_is_worth_another_try_soon():
    failed = Attempt("cloud", AttemptOutcome.FAILED, Reason.UPSTREAM_5XX)

    assert problem_of(AllTiersFailed((*ATTEMPTS[:1], failed)))["retry_after"] == 5.0


def test_an_interrupted_answer_keeps_the_text_that_came():
    problem = problem_of(AnswerInterrupted(ANSWER, Reason.STALLED, "silence"))

    assert (problem["status"], problem["code"], problem["detail"]) == (503, "stream_interrupted", "silence")
    assert problem["partial"]["response"] == "Paris"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(PromptRefused("empty", field="prompt"), 422, "prompt_refused", id="the caller's fault"),
        pytest.param(
            PromptTooLong("too long", field="prompt"), 413, "context_too_long", id="no window is large enough"
        ),
    ],
)
def test_a_refused_request_names_the_field(error, status, code):
    problem = problem_of(error)

    assert (problem["status"], problem["code"], problem["field"]) == (status, code, "prompt")


def test_a_foreign_error_tells_its_type_and_nothing_it_says():
    problem = problem_of(ValueError("a secret prompt"))

    assert (problem["status"], problem["code"], problem["detail"]) == (500, "internal", "ValueError")
    assert "secret" not in json.dumps(problem)
