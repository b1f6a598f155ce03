"""`ask` into a pipe: the answer alone on standard output, the rest told apart, and the exit code tells how it ended."""

import pytest

from gateway_core.errors import (
    PromptRefused,
    QuotaUsedUp,
    TierBroken,
    TierUnreachable,
    Unauthorized,
)
from gateway_core.testing import ScriptedTier
from gateway_core.tiers.base import Missing
from gateway_core.types import Chunk, Reason


def copilot(*script, **options) -> ScriptedTier:
    return ScriptedTier("copilot", list(script), **options)


def cloud(*script, **options) -> ScriptedTier:
    return ScriptedTier("cloud", list(script), **options)


def reset_by(tier: str) -> TierBroken:
    return TierBroken(tier, "the connection was reset", reason=Reason.RESET)


def test_a_healthy_answer_is_one_text_and_a_line_end_and_nothing_else(cli):
    ran = cli("ask", "capital of France?", tiers=[copilot("Par", "is")])

    assert (ran.code, ran.out, ran.err) == (0, "Paris\n", "")


def test_an_answer_that_ends_its_line_gets_no_second_line_end(cli):
    assert cli("ask", "hi", tiers=[copilot("one\n", "two\n")]).out == "one\ntwo\n"


def test_a_tier_that_was_never_set_up_is_not_worth_a_word(cli):
    unset = copilot(missing=Missing("no token", "gh auth login"))

    assert cli("ask", "hi", tiers=[unset, cloud("Paris")]).err == ""


def test_a_failover_is_told_in_one_line_on_standard_error(cli):
    ran = cli("ask", "hi", tiers=[copilot(TierUnreachable("copilot", "no route")), cloud("Paris")])

    assert (ran.code, ran.out) == (0, "Paris\n")
    assert ran.err.count("\n") == 1
    assert "cloud" in ran.err
    assert "copilot: no route" in ran.err


def test_an_answer_cut_by_length_is_never_silent(cli):
    ran = cli("ask", "hi", tiers=[copilot("Par", Chunk(finish_reason="length"))])

    assert ran.code == 0
    assert "cut at the longest allowed answer" in ran.err


def test_in_a_pipe_a_broken_answer_is_replaced_before_anything_was_written(cli):
    ran = cli("ask", "hi", tiers=[copilot("The capital is Lon", reset_by("copilot")), cloud("The capital is Paris.")])

    assert (ran.code, ran.out) == (0, "The capital is Paris.\n")
    assert "copilot: the connection was reset" in ran.err


def test_with_stop_the_partial_text_is_kept_and_the_exit_code_is_3(cli):
    ran = cli("ask", "hi", "--on-interrupt", "stop", tiers=[copilot("The capital ", reset_by("copilot")), cloud("x")])

    assert (ran.code, ran.out) == (3, "The capital \n")
    assert "not whole: the answer broke off: the connection was reset" in ran.err
    assert "let another tier go on (--on-interrupt)" in ran.err


def test_streaming_into_a_pipe_marks_the_seam_on_standard_error(cli):
    tiers = [copilot("The capital ", reset_by("copilot")), cloud("is Paris.")]
    ran = cli("ask", "hi", "--stream", tiers=tiers)

    assert (ran.code, ran.out) == (0, "The capital is Paris.\n")
    assert ran.err.startswith("⟦copilot broke off: reset; cloud goes on⟧\n")


def test_streaming_a_restart_into_a_pipe_begins_the_new_answer_on_a_new_line_and_says_so(cli):
    tiers = [copilot("The capital is Lon", reset_by("copilot")), cloud("The capital is Paris.")]
    ran = cli("ask", "hi", "--stream", "--on-interrupt", "restart", tiers=tiers)

    assert (ran.code, ran.out) == (0, "The capital is Lon\nThe capital is Paris.\n")
    assert "the text above is void" in ran.err


def test_when_no_tier_answers_each_says_why_and_names_its_one_cure(cli):
    tiers = [
        copilot(Unauthorized("copilot", "the token was refused (401)", cure='run "gh auth login"')),
        cloud(QuotaUsedUp("cloud", "the quota is used up", cure="raise the limit", wait=7200)),
        ScriptedTier("local", missing=Missing("Ollama is not running", "ollama serve")),
    ]
    ran = cli("ask", "hi", tiers=tiers)

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[:7] == [
        "no tier could answer",
        "  copilot  the token was refused (401)",
        '           → run "gh auth login"',
        "  cloud    the quota is used up (asked again in 2 h)",
        "           → raise the limit",
        "  local    Ollama is not running",
        "           → ollama serve",
    ]
    assert "Traceback" not in ran.err


def test_ways_inside_a_tier_that_were_never_set_up_do_not_lengthen_the_complaint(cli):
    tiers = [
        copilot(missing=Missing("no token", "gh auth login")),
        ScriptedTier("local", [TierUnreachable("local", "Ollama is not running", cure="ollama serve")]),
        ScriptedTier("local", mode="embedded", missing=Missing("not installed", "pip install it")),
        ScriptedTier("local", mode="extractive", needs_documents=True, is_model=False),
    ]

    assert cli("ask", "hi", tiers=tiers).err.splitlines() == [
        "no tier could answer",
        "  copilot  no token",
        "           → gh auth login",
        "  local    Ollama is not running",
        "           → ollama serve",
    ]


def test_an_answer_in_one_piece_that_broke_off_everywhere_keeps_its_longest_text_and_is_marked(cli):
    tiers = [copilot("The capital ", reset_by("copilot")), cloud("The ", reset_by("cloud"))]

    ran = cli("ask", "hi", tiers=tiers)
    assert (ran.code, ran.out) == (3, "The capital \n")
    assert ran.err.startswith("— not whole: copilot broke off, and no other tier answered whole\nno tier could answer")


def test_json_keeps_the_longest_text_of_an_answer_that_broke_off_everywhere(cli):
    tiers = [copilot("The capital ", reset_by("copilot")), cloud("The ", reset_by("cloud"))]
    ran = cli("ask", "hi", "--json", tiers=tiers)

    assert (ran.code, ran.json["code"]) == (3, "no_tier_answered")
    assert ran.json["partial"] == {"response": "The capital ", "backend": "copilot", "state": "closed"}


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        pytest.param(("ask", ""), "the prompt is empty", id="an empty prompt"),
        pytest.param(("ask", "a\0b"), "NUL", id="a NUL"),
        pytest.param(("ask", "a\udcffb"), "surrogate", id="bytes that are no text"),
        pytest.param(("ask", "hi", "--tier", "cloud", "--local-only"), "only this laptop", id="a contradiction"),
        pytest.param(("ask", "hi", "--tier", "moon"), "invalid choice", id="an unknown tier"),
        pytest.param(("ask", "hi", "--max-context-chars", "50"), "from 200 to 2000000", id="too small a context"),
        pytest.param(("ask", "hi", "--max-tokens", "0"), "not a whole number", id="no tokens"),
        pytest.param(("ask", "hi", "--deadline", "nan"), "not a number of seconds", id="no number"),
        pytest.param(("ask", "hi", "--json", "--stream"), "not allowed with", id="two forms"),
        pytest.param(("ask", "hi", "-d", "missing.txt"), "missing.txt: cannot be read", id="a missing file"),
        pytest.param(("ask", "-", "-d", "-"), "cannot be both", id="standard input twice"),
        pytest.param((), "usage:", id="no command"),
        pytest.param(("aks", "hi"), "invalid choice", id="an unknown command"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_is_wrong(cli, argv, told):
    tier = copilot("Paris")
    ran = cli(*argv, tiers=[tier])

    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert tier.calls == 0


def test_what_a_provider_refuses_is_told_and_no_other_tier_is_asked(cli):
    second = cloud("Paris")
    ran = cli("ask", "hi", tiers=[copilot(PromptRefused("the content was refused")), second])

    assert (ran.code, second.calls) == (2, 0)
    assert "the content was refused" in ran.err


def test_a_wrong_setting_is_one_line_and_exit_2(cli, monkeypatch):
    monkeypatch.setenv("FAILURE_THRESHOLD", "many")
    ran = cli("ask", "hi", tiers=[copilot("Paris")])

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "ai-gateway: FAILURE_THRESHOLD: must be a whole number\n"


def test_an_error_of_our_own_is_one_line_without_what_it_says(cli):
    class Broken(ScriptedTier):
        def missing(self):
            raise ValueError("a secret prompt")

    ran = cli("ask", "hi", tiers=[Broken("copilot")])

    assert (ran.code, ran.out) == (1, "")
    assert "ValueError" in ran.err
    assert "secret" not in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("argument", [(), ("-",)], ids=["without", "as a dash"])
def test_the_prompt_comes_from_standard_input(cli, argument):
    tier = copilot("Paris")
    cli("ask", *argument, tiers=[tier], stdin="\ufeffWhere is Nîmes?\n".encode())

    assert tier.prompts[0].question == "Where is Nîmes?"


def test_standard_input_that_is_no_text_is_refused_with_its_place(cli):
    ran = cli("ask", tiers=[copilot("Paris")], stdin=b"abc\xff")

    assert ran.code == 2
    assert "standard input is not UTF-8 text (byte 3)" in ran.err


def test_options_reach_the_tier(cli):
    tier = copilot("Paris")
    cli("ask", "hi", "--system", "Be brief.", "--model", "m-1", "--max-tokens", "9", tiers=[tier])

    asked = tier.prompts[0]
    assert (asked.messages[0].role, asked.messages[0].content) == ("system", "Be brief.")
    assert (asked.model, asked.max_tokens) == ("m-1", 9)


def test_a_pinned_tier_alone_is_asked(cli):
    first, second = copilot("Paris"), cloud("Rome")

    assert cli("ask", "hi", "--tier", "cloud", tiers=[first, second]).out == "Rome\n"
    assert first.calls == 0


def test_json_is_the_reply_with_details_and_nothing_else(cli):
    ran = cli("ask", "hi", "--json", tiers=[copilot(TierUnreachable("copilot", "no route")), cloud("Par\x1bis\x9b")])

    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert "\x9b" not in ran.out
    assert (ran.json["response"], ran.json["backend"], ran.json["state"]) == ("Par\x1bis\x9b", "cloud", "closed")
    assert [a["outcome"] for a in ran.json["details"]["attempts"]] == ["failed", "answered"]


def test_a_cure_names_the_options_of_this_program(cli):
    argv = ("ask", "hi", "--tier", "cloud", "--local-only")
    shown, as_json = cli(*argv, tiers=[copilot("x")]), cli(*argv, "--json", tiers=[copilot("x")])

    assert "leave out --tier, or --local-only" in shown.err
    assert as_json.json["cure"] == "leave out --tier, or --local-only"


@pytest.mark.parametrize(
    ("argv", "script", "code", "status", "word"),
    [
        pytest.param((), [TierUnreachable("copilot", "no route")], 3, 503, "no_tier_answered", id="nobody"),
        pytest.param(
            ("--on-interrupt", "stop"), ["Par", reset_by("copilot")], 3, 503, "stream_interrupted", id="cut"
        ),
        pytest.param((), [PromptRefused("no", field="prompt")], 2, 422, "prompt_refused", id="refused"),
    ],
)  # fmt: skip
def test_json_is_the_problem_when_there_is_no_answer(cli, argv, script, code, status, word):
    ran = cli("ask", "hi", "--json", *argv, tiers=[copilot(*script)])

    assert (ran.code, ran.err) == (code, "")
    assert (ran.json["status"], ran.json["code"]) == (status, word)
    assert {"type", "title", "detail", "attempts", "cure", "retry_after"} <= set(ran.json)


def test_json_keeps_the_text_that_came_before_the_cut(cli):
    ran = cli("ask", "hi", "--json", "--on-interrupt", "stop", tiers=[copilot("Par", reset_by("copilot"))])

    assert ran.json["partial"]["response"] == "Par"


def test_control_characters_in_an_answer_are_shown_and_never_sent(cli):
    ran = cli("ask", "hi", tiers=[copilot("a\x1b[2Jb\r", "\nc\rd\x07\x9b\x7f\te")])

    assert ran.out == "a␛[2Jb\nc␍d␇\ufffd␡\te\n"


def test_control_characters_in_a_providers_message_are_shown_and_never_sent(cli):
    ran = cli("ask", "hi", tiers=[copilot(TierUnreachable("copilot", "no \x1b]0;x\x07 route", cure="a\nb"))])

    assert "\x1b" not in ran.err
    assert "\x07" not in ran.err
    assert "→ a b\n" in ran.err
