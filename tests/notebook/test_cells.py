"""A cell asks, shows, binds; and stops Run All when it cannot."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from IPython.core.error import UsageError

from gateway_core import AllTiersFailed, AnswerInterrupted, BlockingGateway, Gateway, PromptRefused, Reason, Settings
from gateway_core.errors import QuotaUsedUp, TierBroken, TierUnavailable, TierUnreachable
from gateway_core.testing import ScriptedTier
from notebook_ext import AIResult, GatewayMagics
from notebook_ext.arguments import ACTIONS
from notebook_ext.errors import told_plainly
from notebook_ext.magics import unregister

FIELDS = [
    "text",
    "backend",
    "state",
    "segments",
    "attempts",
    "sources",
    "usage",
    "first_token_ms",
    "total_ms",
    "interrupted",
]


def test_a_cell_shows_the_answer_and_binds_it(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["Par", "is"]))

    ran = notebook.run("%%ai answer\nCapital of France?")

    assert ran.error is None
    assert ran.out.startswith("Paris\n")
    assert notebook["answer"] is notebook["_ai"]
    assert (str(notebook["answer"]), notebook["answer"].backend) == ("Paris", "copilot")


def test_the_result_has_everything_that_was_promised():
    assert {field.name for field in dataclasses.fields(AIResult)} >= set(FIELDS)


def test_without_a_name_only_the_last_answer_is_bound(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["one"], ["two"]))
    notebook.run("%%ai\nfirst")
    notebook.run("%%ai\nsecond")

    assert notebook["_ai"].text == "two"


def test_the_extension_loads_and_unloads(notebook):
    notebook.run("%load_ext notebook_ext")
    magics = notebook.shell.magics_manager.magics
    assert {"ai", "ai_rag"} <= set(magics["cell"])

    notebook.run("%unload_ext notebook_ext")
    assert not {"ai", "ai_rag"} & set(magics["cell"])
    assert "ai" not in magics["line"]
    assert notebook.shell.Completer.custom_matchers == []


def test_a_blocking_gateway_can_be_handed_in(notebook):
    settings = Settings(_env_file=None, ai_gateway_store="memory")
    with BlockingGateway(lambda: Gateway([ScriptedTier("cloud", ["Oslo"])], settings=settings)) as gateway:
        GatewayMagics(notebook.shell, gateway).register()
        notebook.run("%%ai answer\nCapital of Norway?")

    assert notebook["answer"].text == "Oslo"


def test_a_blocking_gateway_that_was_handed_in_outlives_the_magics(notebook):
    settings = Settings(_env_file=None, ai_gateway_store="memory")
    with BlockingGateway(lambda: Gateway([ScriptedTier("cloud", ["Oslo"])], settings=settings)) as gateway:
        for _ in range(2):
            GatewayMagics(notebook.shell, gateway).register()
            notebook.run("%%ai answer\nCapital of Norway?")
        unregister(notebook.shell)

        assert gateway.ask("Capital of Norway?").text == notebook["answer"].text == "Oslo"


def test_unloading_leaves_no_thread_behind(notebook):
    notebook.answer_with(ScriptedTier("cloud", ["Oslo"]))
    notebook.run("%%ai\nCapital of Norway?")
    unregister(notebook.shell)

    assert "ai-gateway" not in {thread.name for thread in threading.enumerate()}


def test_it_works_within_a_running_event_loop(notebook):
    notebook.answer_with(ScriptedTier("cloud", ["Oslo"]))
    ran = notebook.run(
        "import asyncio\nawait asyncio.sleep(0)\nget_ipython().run_cell_magic('ai', 'answer', 'Capital of Norway?')\n"
        "await asyncio.sleep(0)"
    )

    assert ran.error is None
    assert notebook["answer"].text == "Oslo"


def test_a_cut_answer_is_whole_and_names_both_writers(notebook):
    notebook.answer_with(
        ScriptedTier("copilot", ["Paris is ", TierBroken("copilot", reason=Reason.RESET)]),
        ScriptedTier("cloud", ["the capital."]),
    )
    ran = notebook.run("%%ai answer\nCapital?")

    assert notebook["answer"].text == "Paris is the capital."
    assert [s.backend for s in notebook["answer"].segments] == ["copilot", "cloud"]
    assert "[copilot broke off after 9 characters (the connection broke); cloud went on]" in ran.out


def test_restart_shows_only_the_new_answer_as_the_result(notebook):
    notebook.answer_with(
        ScriptedTier("copilot", ["Lyon is ", TierBroken("copilot")]), ScriptedTier("cloud", ["Paris."])
    )
    ran = notebook.run("%%ai --on-interrupt restart answer\nCapital?")

    assert notebook["answer"].text == "Paris."
    assert "cloud begins anew" in ran.out


def test_with_stop_a_cut_is_an_explained_error_and_the_text_is_kept(notebook):
    notebook.answer_with(
        ScriptedTier("copilot", ["Paris is ", TierBroken("copilot", reason=Reason.RESET)]), ScriptedTier("cloud")
    )
    ran = notebook.run("%%ai --on-interrupt stop answer\nCapital?")

    assert isinstance(ran.error, AnswerInterrupted)
    assert (notebook["answer"].text, notebook["answer"].interrupted) == ("Paris is ", True)
    assert "the 9 characters that came are in _ai" in ran.out + ran.err
    assert "copilot  interrupted: the connection broke" in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err


def test_one_line_tells_why_the_first_tier_did_not_answer(notebook):
    notebook.answer_with(
        ScriptedTier("copilot", [QuotaUsedUp("copilot", wait=9 * 86400.0)]), ScriptedTier("cloud", ["Paris"])
    )
    told = [line for line in notebook.run("%%ai\nCapital?").out.splitlines() if line.startswith("[copilot")]

    assert len(told) == 1
    assert told[0].startswith("[copilot: credits used up until ")
    assert told[0].endswith("; answered by cloud]")


def test_nothing_is_told_when_the_first_tier_simply_answers(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["Paris"]), ScriptedTier("cloud"))

    assert notebook.run("%%ai\nCapital?").out.count("[") == 1  # the footer


def test_when_no_tier_can_answer_the_cell_fails_with_a_few_lines(notebook):
    notebook.answer_with(ScriptedTier("copilot", [TierUnreachable("copilot", "no route", cure="look at the cable")]))
    ran = notebook.run("%%ai\nCapital?")

    assert isinstance(ran.error, AllTiersFailed)
    assert "no tier could answer" in ran.out + ran.err
    assert "copilot  failed: nothing listens there -> look at the cable" in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        pytest.param("%%ai --tire cloud\nx", "unknown option --tire; did you mean --tier?", id="unknown option"),
        pytest.param("%%ai --tier clowd\nx", "invalid choice: 'clowd'", id="unknown tier"),
        pytest.param("%%ai what is it\nx", "'is' is one word too many", id="question on the first line"),
        pytest.param("%%ai 4you\nx", "cannot be a variable's name", id="no name"),
        pytest.param("%%ai class\nx", "cannot be a variable's name", id="keyword"),
        pytest.param("%%ai --new\nx", "needs -c CHAT", id="new without chat"),
        pytest.param("%%ai --max-tokens many\nx", "not a whole number", id="no number"),
        pytest.param("%%ai --temperature -1\nx", "", id="negative"),
        pytest.param("%%ai --temperature 9\nx", "'9' is not a number from 0 to 2", id="too warm"),
        pytest.param("%%ai_rag -d x --max-context-chars 50\nx", "from 200 to 2000000", id="too small a context"),
        pytest.param("%%ai --local --tier cloud\nx", "contradict", id="contradiction"),
        pytest.param("%%ai\n  \n", "the cell is empty", id="blank cell"),
        pytest.param("%%ai", "empty", id="no cell"),
        pytest.param("%%ai_rag\nx", "-d EXPR is missing", id="no documents"),
        pytest.param("%%ai_rag -d 'notes\nx", "a quote is never closed", id="open quote"),
        pytest.param("%%ai_rag -d f(1\nx", "( is never closed", id="open bracket"),
        pytest.param("%ai statos", "did you mean status?", id="unknown action"),
        pytest.param("%ai status now", "takes no 'now'", id="too much"),
        pytest.param("%ai history nobody", "no conversation nobody", id="unknown chat"),
        pytest.param("%ai config colour=red", "no setting colour", id="unknown setting"),
        pytest.param("%ai config stream=fast", "must be one of auto, text, 0", id="wrong value"),
    ],
)
def test_wrong_use_is_one_clear_line(notebook, cell, told):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    ran = notebook.run(cell)

    assert isinstance(ran.error, UsageError)
    assert told in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert tier.calls == 0


def test_options_reach_the_gateway(notebook, asked):
    copilot, cloud = ScriptedTier("copilot"), ScriptedTier("cloud")
    notebook.answer_with(copilot, cloud)
    notebook.run("%%ai --tier cloud --model m1 --max-tokens 60 --temperature 0.5 --system 'Be brief.'\nHello")

    prompt = cloud.prompts[0]
    assert (copilot.calls, prompt.model, prompt.max_tokens, prompt.temperature) == (0, "m1", 60, 0.5)
    assert asked(cloud) == "Be brief.\nHello"


def test_local_asks_only_this_laptop(notebook):
    cloud = ScriptedTier("cloud")
    notebook.answer_with(cloud, ScriptedTier("local", ["here"]))
    notebook.run("%%ai --local\nHello")

    assert (cloud.calls, notebook["_ai"].text) == (0, "here")


def test_help_names_every_option(notebook):
    notebook.answer_with(ScriptedTier("copilot"))

    assert "--on-interrupt" in notebook.run("%%ai --help\nx").out
    assert "--max-context-chars" in notebook.run("%%ai_rag --help\nx").out
    assert all(f"%ai {action}" in notebook.run("%ai help").out for action in ACTIONS)


def test_a_conversation_sends_earlier_turns_and_can_begin_anew(notebook, asked):
    tier = ScriptedTier("copilot", ["Paris"], ["2 million"], ["Rome"])
    notebook.answer_with(tier)
    notebook.run("%%ai -c trip\nCapital of France?")
    notebook.run("%%ai -c trip\nHow many live there?")
    assert asked(tier) == "Capital of France?\nParis\nHow many live there?"

    notebook.run("%%ai -c trip --new\nCapital of Italy?")
    assert asked(tier) == "Capital of Italy?"
    assert "AI: Rome" in notebook.run("%ai history trip").out


def test_cells_without_a_conversation_know_nothing_of_each_other(notebook, asked):
    tier = ScriptedTier("copilot")
    notebook.answer_with(tier)
    notebook.run("%%ai\none")
    notebook.run("%%ai\ntwo")

    assert asked(tier) == "two"


def test_a_conversation_can_be_forgotten(notebook):
    notebook.answer_with(ScriptedTier("copilot"))
    notebook.run("%%ai -c trip\nHello")
    assert "trip" in notebook.run("%ai history").out
    notebook.run("%ai history --forget trip")

    assert "no conversations yet" in notebook.run("%ai history").out


def test_status_tells_tiers_circuits_and_reasons(notebook):
    notebook.answer_with(
        ScriptedTier("copilot", [QuotaUsedUp("copilot", wait=9 * 86400.0)]), ScriptedTier("cloud", ["Paris"])
    )
    notebook.run("%%ai\nCapital?")
    told = notebook.run("%ai status").out

    assert "left alone until " in told
    assert "credits used up" in told
    assert "ready" in told
    assert "online" in told

    notebook.run("%ai reset")
    assert "left alone" not in notebook.run("%ai status").out


def test_config_changes_what_holds_for_the_session(notebook):
    copilot, cloud = ScriptedTier("copilot"), ScriptedTier("cloud")
    notebook.answer_with(copilot, cloud)
    notebook.run("%ai config tier=cloud footer=0")
    ran = notebook.run("%%ai\nHello")

    assert (copilot.calls, cloud.calls) == (0, 1)
    assert ran.out == "ok\n"


def test_a_terminal_gets_no_control_characters(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["red \x1b[31mtext\x07\n\tend\x9b"]))

    assert notebook.run("%%ai\nHello").out.startswith("red [31mtext\n\tend\n")


def test_stream_0_prints_once_when_finished(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["Par", "is"]))

    assert notebook.run("%%ai --stream 0\nCapital?").out.startswith("Paris\n")


def test_run_all_over_many_cells_tells_of_the_skipped_tier_in_one_line_each(notebook):
    notebook.answer_with(
        ScriptedTier("copilot", [TierUnavailable("copilot", reason=Reason.COURTESY_LIMIT)]),
        ScriptedTier("cloud", ["yes"]),
    )
    for _ in range(3):
        told = [line for line in notebook.run("%%ai\nHello").out.splitlines() if line.startswith("[copilot:")]
        assert len(told) == 1
        assert told[0].endswith("; answered by cloud]")


def test_a_cure_names_the_options_of_the_magics():
    error = PromptRefused("no", cure="leave out `tier`, or `local_only`; lower `max_context_chars`")
    told_plainly(error)

    assert error._render_traceback_()[1] == "  leave out --tier, or --local; lower --max-context-chars"  # type: ignore[attr-defined]


def test_a_name_of_pythons_own_is_taken_with_one_warning(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["one"], ["two"]))
    first, second = (notebook.run("%%ai print\nHello") for _ in range(2))

    assert (first.out + first.err).count("hides Python's own print") == 1
    assert "hides" not in second.out + second.err
