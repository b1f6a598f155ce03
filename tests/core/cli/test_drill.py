"""`drill`: a made-up fault before real tiers; the answer, the seam, who took over, and what no circuit hears of."""

import pytest

from gateway_core import DRILL_FAULTS
from gateway_core.cli import arguments
from gateway_core.testing import ScriptedTier
from gateway_core.testing.simulators import CopilotSimulator, OllamaSimulator, OpenAISimulator
from gateway_core.testing.simulators.__main__ import environment
from gateway_core.tiers.base import Missing

LONG = ["Once upon a time ", "there was a very old gateway in a ", "small town."]
CUT = "Once upon a time there was a very old gateway in a "


def copilot(*script, **options) -> ScriptedTier:
    return ScriptedTier("copilot", list(script or LONG), **options)


def cloud(*script, **options) -> ScriptedTier:
    return ScriptedTier("cloud", list(script or ["big city."]), **options)


def local(*script, **options) -> ScriptedTier:
    return ScriptedTier("local", list(script or ["here."]), **options)


EXTRACTIVE = {"mode": "extractive", "needs_documents": True, "is_model": False}


@pytest.fixture
def providers(monkeypatch):
    """All three tiers, on real ports, with circuits and journal in files."""
    with CopilotSimulator() as github, OpenAISimulator() as openai, OllamaSimulator() as ollama:
        more = {"AI_GATEWAY_STORE": "sqlite", "FIRST_TOKEN_TIMEOUT": "2", "FAILURE_THRESHOLD": "1"}
        for name, value in {**environment(github, openai, ollama), **more}.items():
            monkeypatch.setenv(name, value)
        yield github, openai, ollama


def test_a_cut_shows_the_seam_who_went_on_and_that_it_was_survived(cli):
    ran = cli("drill", tiers=[copilot(), cloud()])

    assert (ran.code, ran.out) == (0, CUT + "big city.\n")
    lines = ran.err.splitlines()
    assert lines[0] == "DRILL  copilot breaks off in mid-answer"
    assert lines[1] == "⟦copilot broke off: reset; cloud goes on⟧"
    assert lines[2].startswith("— copilot, then cloud, ")
    assert lines[2].endswith("; copilot: drill: the connection broke")
    assert lines[3:] == ["survived: copilot breaks off in mid-answer, cloud went on"]


def test_on_a_terminal_it_grows_with_the_seam_in_place(on_terminal):
    shown = on_terminal("drill", tiers=[copilot(), cloud()]).out

    assert f"{CUT}⟦copilot broke off: reset; cloud goes on⟧big city.\n— copilot, then cloud" in shown


def test_an_answer_in_one_piece_breaks_off_in_its_midst(cli):
    ran = cli("drill", tiers=[copilot("word " * 40), cloud("and the rest.")])

    assert ran.out.startswith("word " * 12)
    assert "survived: copilot breaks off in mid-answer, cloud went on" in ran.err


@pytest.mark.parametrize(
    ("fault", "who", "verdict"),
    [
        ("down", "cloud", "survived: copilot is down, cloud answered in its place"),
        ("rate_limited", "cloud", "survived: copilot says: too many requests, cloud answered in its place"),
        ("slow", "cloud", "survived: copilot never begins to answer, cloud answered in its place"),
        ("offline", "local", "survived: no way out of this laptop, local answered in its place"),
    ],
)
def test_each_fault_is_met_and_survived(cli, monkeypatch, fault, who, verdict):
    monkeypatch.setenv("FIRST_TOKEN_TIMEOUT", "0.2")
    ran = cli("drill", "Hi", "--fault", fault, tiers=[copilot(), cloud("from cloud"), local("from local")])

    assert (ran.code, ran.out) == (0, f"from {who}\n")
    assert ran.err.splitlines()[-1] == verdict


def test_all_asks_once_for_each_fault_and_touches_no_circuit_and_no_journal(cli, providers):
    github, openai, ollama = providers
    ran = cli("drill", "Why is the sky blue?", "--fault", "all")

    assert ran.code == 0, ran.err
    assert [line.partition("  ")[0] for line in ran.err.splitlines() if line.startswith("DRILL")] == [
        f"DRILL {n} of 5" for n in range(1, 6)
    ]
    assert ran.err.count("\nsurvived: ") == 5
    assert (len(github.paid_calls), len(openai.paid_calls), len(ollama.paid_calls)) == (1, 4, 1)
    assert all(tier["circuit"]["failures"] == 0 for tier in cli("status", "--json").json["tiers"])
    assert cli("explain").code == 2  # the journal knows of no request
    assert cli("ask", "--json", "hi").json["backend"] == "copilot"


def test_a_tier_is_broken_by_name_and_those_before_it_are_left_out(cli):
    tiers = [copilot(), cloud(), local()]
    ran = cli("drill", "--tier", "cloud", "--fault", "down", tiers=tiers)

    assert ran.out == "here.\n"
    assert tiers[0].calls == 0
    assert "survived: cloud is down, local answered in its place" in ran.err


def test_the_first_tier_that_is_lit_is_the_one_that_breaks(cli):
    tiers = [copilot(missing=Missing("no token", "gh auth login")), cloud(), local()]

    assert "DRILL  cloud is down" in cli("drill", "--fault", "down", tiers=tiers).err


@pytest.mark.parametrize("fault", ["down", "cut"])
def test_without_another_lit_tier_the_cures_of_the_others_are_told(cli, fault):
    tiers = [copilot(), cloud(missing=Missing("no API key", "set OPENAI_API_KEY")), local(**EXTRACTIVE)]
    ran = cli("drill", "--fault", fault, tiers=tiers)

    assert (ran.code, ran.out) == (3, CUT + "\n" if fault == "cut" else "")
    assert ran.err.splitlines()[-3:] == [
        f"not survived: copilot {DRILL_FAULTS[fault]}, and no other tier is lit:",
        "  cloud  not asked: no API key",
        "         → set OPENAI_API_KEY",
    ]


def test_the_last_tier_has_nobody_behind_it(cli):
    ran = cli("drill", "--tier", "local", "--fault", "down", tiers=[copilot(), local()])

    assert ran.code == 3
    assert ran.err.splitlines()[-1] == "not survived: local is down, and no tier stands behind it"


def test_other_tiers_that_really_fail_are_told_with_their_own_reasons(cli, providers):
    _, openai, ollama = providers
    for simulator in (openai, ollama):
        simulator.script("status_500")
    ran = cli("drill", "--fault", "down")

    assert ran.code == 3
    assert "\n  cloud " in ran.err
    assert ran.err.splitlines()[-1] == "not survived: copilot is down, and no other tier could answer"


def test_with_stop_nobody_goes_on_and_the_setting_is_named(cli, monkeypatch):
    monkeypatch.setenv("ON_INTERRUPT", "stop")
    ran = cli("drill", tiers=[copilot(), cloud()])

    assert (ran.code, ran.out) == (3, CUT + "\n")
    assert ran.err.splitlines()[-1].endswith("and ON_INTERRUPT=stop lets nobody go on")


def test_a_tier_that_needs_no_network_is_not_broken_by_its_loss(cli):
    ran = cli("drill", "--fault", "offline", tiers=[local()])

    assert (ran.code, ran.out) == (0, "here.\n")
    assert ran.err.splitlines()[-1] == "survived: no way out of this laptop, and local needs none"


def test_without_a_model_it_says_that_a_drill_needs_a_tier_that_can_answer(cli):
    tiers = [copilot(missing=Missing("no token", "gh auth login")), local(**EXTRACTIVE)]
    ran = cli("drill", tiers=tiers)

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines() == [
        "DRILL  it needs a tier that can answer, and no tier is lit",
        "copilot  not asked: no token",
        "         → gh auth login",
    ]


def test_a_named_tier_that_is_not_lit_is_told_with_its_cure(cli):
    tiers = [copilot(missing=Missing("no token", "gh auth login")), cloud()]
    ran = cli("drill", "--tier", "copilot", tiers=tiers)

    assert (ran.code, tiers[1].calls) == (3, 0)
    assert ran.err.splitlines() == [
        "DRILL  it needs a tier that can answer, and copilot is not lit",
        "copilot  not asked: no token",
        "         → gh auth login",
    ]


def test_the_question_may_come_from_standard_input(cli):
    tier = cloud()
    cli("drill", "-", "--fault", "down", tiers=[copilot(), tier], stdin=b"From the pipe?\n")

    assert tier.prompts[0].question == "From the pipe?"


@pytest.mark.parametrize("argv", [("--fault", "fire"), ("--tier", "moon"), (" ",), ("-",)], ids=" ".join)
def test_what_cannot_be_asked_is_wrong_usage(cli, argv):
    ran = cli("drill", *argv, tiers=[copilot(), cloud()])

    assert (ran.code, ran.out) == (2, "")


def test_the_table_of_arguments_knows_every_fault():
    assert tuple(DRILL_FAULTS) == arguments.DRILL_FAULTS


def test_help_says_that_it_may_cost_tokens(cli):
    ran = cli("drill", "--help")

    assert ran.code == 0
    assert "may cost tokens" in ran.out


def test_a_circuit_that_remembers_a_failure_does_not_stop_a_drill(cli, providers):
    _, openai, _ = providers
    openai.script("status_500")
    cli("ask", "--tier", "cloud", "Tell me.")
    openai.script()
    refused = cli("ask", "--tier", "cloud", "Tell me.")

    assert "left alone after: it reported an error of its own (5xx) (asked again in 5 min)" in refused.err
    assert '→ "ai-gateway reset" asks it at once' in refused.err
    assert cli("drill", "--tier", "cloud").code == 0
