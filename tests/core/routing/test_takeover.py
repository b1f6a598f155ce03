"""What happens when an answer breaks off in mid-sentence: continue, restart, stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_core.errors import AllTiersFailed, AnswerInterrupted, TierBroken, TierUnavailable
from gateway_core.testing import ScriptedTier
from gateway_core.types import Chunk, Reason, SegmentStarted, Usage
from tests.core.ladder import asking, in_virtual_time, read, router

WORDS = [f" word{n}" for n in range(60)]
TEXT = "".join(WORDS)

CUTS = [
    pytest.param([TierBroken("copilot", "", reason=Reason.RESET)], Reason.RESET, 1, id="f45 reset"),
    pytest.param([TierBroken("copilot", "", reason=Reason.TRUNCATED)], Reason.TRUNCATED, 1, id="f46 no end marker"),
    pytest.param([TierBroken("copilot", "event")], Reason.UPSTREAM_ERROR, 1, id="f47 error event"),
    pytest.param([3600.0], Reason.STALLED, 1, id="f48 silence"),
    pytest.param([TierBroken("copilot", "", reason=Reason.BAD_PAYLOAD)], Reason.BAD_PAYLOAD, 1, id="f49 bad line"),
    pytest.param([TierUnavailable("copilot", "", reason=Reason.OFFLINE)], Reason.OFFLINE, 0, id="f38 link down"),
]


def cut(how):
    return ScriptedTier("copilot", [*WORDS[:40], *how])


@pytest.mark.parametrize(("how", "reason", "counts"), CUTS)
def test_continue_ends_in_a_whole_answer_of_two_segments(how, reason, counts):
    @in_virtual_time
    async def story():
        copilot, cloud = cut(how), ScriptedTier("cloud", WORDS[40:])
        r = router(copilot, cloud)
        seen = await read(r)
        answer = seen.whole
        assert seen.text == answer.text == TEXT
        shown = len("".join(WORDS[:40]))
        assert [(s.backend, s.start, s.end) for s in answer.segments] == [
            ("copilot", 0, shown), ("cloud", shown, len(TEXT))
        ]  # fmt: skip
        seams = [e for e in seen.events if isinstance(e, SegmentStarted)]
        assert [(s.segment, s.backend, s.reason, s.action) for s in seams] == [(1, "cloud", reason, "continue")]
        assert answer.attempts[0].outcome == "interrupted"
        assert answer.attempts[0].may_have_billed
        assert answer.backend == "cloud"
        assert (await r.store.read(copilot.identity)).failures == counts

    story()


@pytest.mark.parametrize(("how", "reason", "counts"), CUTS)
def test_stop_ends_in_an_explained_error_after_exactly_the_text_sent(how, reason, counts):
    @in_virtual_time
    async def story():
        cloud = ScriptedTier("cloud", WORDS[40:])
        seen = await read(router(cut(how), cloud), asking(on_interrupt="stop"))
        assert isinstance(seen.error, AnswerInterrupted)
        assert seen.text == seen.error.partial.text == "".join(WORDS[:40])
        assert (seen.error.reason, seen.error.partial.finish_reason) == (reason, "interrupted")
        assert cloud.calls == 0
        assert "on_interrupt" in seen.error.cure

    story()


@pytest.mark.parametrize(("how", "reason", "counts"), CUTS)
def test_f54_restart_tells_the_reader_to_discard(how, reason, counts):
    @in_virtual_time
    async def story():
        seen = await read(
            router(cut(how), ScriptedTier("cloud", ["A new ", "answer."])), asking(on_interrupt="restart")
        )
        assert seen.text == seen.whole.text == "A new answer."
        assert [(s.backend, s.start, s.end) for s in seen.whole.segments] == [("cloud", 0, 13)]
        seams = [e for e in seen.events if isinstance(e, SegmentStarted)]
        assert [(s.segment, s.action) for s in seams] == [(1, "restart")]

    story()


@pytest.mark.parametrize(("how", "reason", "counts"), CUTS)
def test_an_answer_asked_for_in_one_piece_comes_whole_from_the_next_tier(how, reason, counts):
    @in_virtual_time
    async def story():
        cloud = ScriptedTier("cloud", ["A new answer."])
        seen = await read(router(cut(how), cloud), asking(whole=True))
        assert seen.whole.text == "A new answer."
        assert len(cloud.prompts[0].messages) == 1
        assert [a.outcome for a in seen.whole.attempts] == ["interrupted", "answered"]

    story()


@in_virtual_time
async def test_one_piece_and_nobody_left_is_an_error_without_half_an_answer():
    seen = await read(router(cut(CUTS[0].values[0])), asking(whole=True))
    assert isinstance(seen.error, AllTiersFailed)


@in_virtual_time
async def test_the_text_so_far_is_told_to_the_next_tier_as_an_instruction():
    cloud = ScriptedTier("cloud", WORDS[40:])
    await read(router(cut(CUTS[0].values[0]), cloud))
    roles = [m.role for m in cloud.prompts[0].messages]
    assert roles == ["user", "assistant", "user"]
    assert cloud.prompts[0].messages[1].content == "".join(WORDS[:40])


@in_virtual_time
async def test_a_tier_that_can_prefill_gets_the_text_so_far_as_its_own():
    local = ScriptedTier("local", WORDS[40:], can_prefill=True)
    await read(router(cut(CUTS[0].values[0]), local))
    assert [m.role for m in local.prompts[0].messages] == ["user", "assistant"]


@given(
    st.text(min_size=1)
    | st.text("ab \n", min_size=1)
    | st.lists(st.sampled_from(["la", "0,", "|", "Sure,"])).map(" ".join),
    st.data(),
)
def test_what_a_tier_that_can_prefill_writes_is_shown_as_it_is(text, data):
    @in_virtual_time
    async def story(shown, rest):
        copilot = ScriptedTier("copilot", [shown, TierBroken("copilot", "cut")])
        seen = await read(router(copilot, ScriptedTier("local", rest, can_prefill=True)))
        assert seen.text == seen.whole.text == text + "."
        assert seen.whole.notes == ()

    text = text or "a"
    cut_at, size = data.draw(st.integers(1, len(text))), data.draw(st.integers(1, 9))
    rest = text[cut_at:] + "."
    story(text[:cut_at], [rest[i : i + size] for i in range(0, len(rest), size)])


@pytest.mark.parametrize("tier", [{"can_prefill": True}, {}])
@in_virtual_time
async def test_the_other_five_of_ten_equal_rows_are_shown(tier):
    rows = ["| 0 | 0 |\n"] * 5
    copilot = ScriptedTier("copilot", ["| a | b |\n|---|---|\n", *rows, TierBroken("copilot", "cut")])
    seen = await read(router(copilot, ScriptedTier("local", rows, **tier)))
    assert seen.text.count("| 0 | 0 |\n") == 10
    assert seen.whole.notes == ()


@in_virtual_time
async def test_nobody_left_to_go_on_keeps_the_partial_text():
    seen = await read(router(cut(CUTS[0].values[0]), ScriptedTier("cloud", [TierBroken("cloud", "500")])))
    assert isinstance(seen.error, AnswerInterrupted)
    assert seen.error.partial.text == "".join(WORDS[:40])
    assert [a.outcome for a in seen.error.attempts] == ["interrupted", "failed"]
    assert seen.error.cure == "ask again; no other tier could go on"


@in_virtual_time
async def test_f76_a_killed_local_model_is_followed_by_another_but_never_by_quotes():
    ollama = ScriptedTier("local", [*WORDS[:3], TierBroken("local", "gone")], mode="ollama")
    other = ScriptedTier("local", WORDS[3:], mode="embedded")
    quotes = ScriptedTier("local", ["quotes"], mode="extractive", can_continue=False, is_model=False)
    assert (await read(router(ollama, other, quotes))).whole.text == TEXT
    seen = await read(router(ollama, quotes))
    assert isinstance(seen.error, AnswerInterrupted)
    assert quotes.calls == 0


@in_virtual_time
async def test_f94_a_tool_call_is_never_spliced():
    tools = {"tools": [{"type": "function"}]}
    copilot = ScriptedTier("copilot", [Chunk(tool_calls=({"index": 0},)), TierBroken("copilot", "cut")])
    cloud = ScriptedTier("cloud", [Chunk(tool_calls=({"index": 0, "whole": True},)), Chunk(finish_reason="tool_calls")])
    seen = await read(router(copilot, cloud), asking(passthrough=tools))
    assert seen.whole.tool_calls == ({"index": 0, "whole": True},)
    assert [e.action for e in seen.events if isinstance(e, SegmentStarted)] == ["restart"]
    assert [m.role for m in cloud.prompts[0].messages] == ["user"]


@in_virtual_time
async def test_f94_half_a_json_document_is_never_spliced():
    schema = {"response_format": {"type": "json_schema"}}
    copilot = ScriptedTier("copilot", ['{"a":', TierBroken("copilot", "cut")])
    seen = await read(router(copilot, ScriptedTier("cloud", ['{"a":1}'])), asking(passthrough=schema))
    assert seen.text == seen.whole.text == '{"a":1}'
    seen = await read(router(copilot), asking(passthrough=schema, on_interrupt="stop"))
    assert isinstance(seen.error, AnswerInterrupted)


@in_virtual_time
async def test_f95_two_cuts_are_two_seams():
    copilot = ScriptedTier("copilot", [*WORDS[:20], TierBroken("copilot", "cut")])
    cloud = ScriptedTier("cloud", [*WORDS[20:40], TierBroken("cloud", "cut")])
    local = ScriptedTier("local", WORDS[40:], can_prefill=True)
    r = router(copilot, cloud, local)
    seen = await read(r)
    assert seen.text == TEXT
    assert [s.backend for s in seen.whole.segments] == ["copilot", "cloud", "local"]
    assert [(await r.store.read(t.identity)).failures for t in (copilot, cloud)] == [1, 1]


@in_virtual_time
async def test_f96_max_tokens_counts_over_all_segments():
    copilot = ScriptedTier("copilot", [*WORDS[:40], TierBroken("copilot", "cut")])
    cloud = ScriptedTier("cloud", [*WORDS[40:], Chunk(finish_reason="length", usage=Usage(9, 20))])
    seen = await read(router(copilot, cloud), asking(max_tokens=60))
    assert cloud.prompts[0].max_tokens == 20
    assert (seen.text, seen.whole.finish_reason) == (TEXT, "length")


@in_virtual_time
async def test_f96_a_cut_at_the_last_token_needs_nobody_else():
    copilot = ScriptedTier("copilot", [*WORDS[:60], TierBroken("copilot", "cut")])
    cloud = ScriptedTier("cloud")
    seen = await read(router(copilot, cloud), asking(max_tokens=60))
    assert (seen.text, seen.whole.finish_reason, seen.whole.backend) == (TEXT, "length", "copilot")
    assert cloud.calls == 0


@pytest.mark.parametrize(
    "second",
    [
        pytest.param([*WORDS[35:60]], id="f97 repeats the last five words"),
        pytest.param(["Sure, here is the rest:", "\n\n", *WORDS[40:]], id="f97 a polite preamble"),
        pytest.param(["Certainly! ", *WORDS[37:]], id="f97 both"),
        pytest.param(WORDS, id="begins the whole answer again"),
        pytest.param(["...", *WORDS[38:]], id="an ellipsis and a repetition"),
    ],
)
def test_f97_neither_repetition_nor_preamble_is_shown(second):
    @in_virtual_time
    async def story():
        seen = await read(router(cut(CUTS[0].values[0]), ScriptedTier("cloud", second)))
        assert seen.text.split() == TEXT.split()
        assert seen.text == seen.whole.text
        assert all(note.startswith("cloud began ") for note in seen.whole.notes)
        assert seen.whole.notes

    story()


@in_virtual_time
async def test_a_pinned_tier_that_breaks_off_stops():
    seen = await read(router(cut(CUTS[0].values[0]), ScriptedTier("cloud")), asking(tier="copilot"))
    assert isinstance(seen.error, AnswerInterrupted)


@in_virtual_time
async def test_sequence_numbers_run_over_the_whole_stream():
    seen = await read(router(cut(CUTS[0].values[0]), ScriptedTier("cloud", WORDS[40:])))
    deltas = [e for e in seen.events if hasattr(e, "seq")]
    assert [d.seq for d in deltas] == list(range(60))
    assert {d.segment for d in deltas[:40]} == {0}
    assert {d.segment for d in deltas[40:]} == {1}


@in_virtual_time
async def test_a_tier_that_says_nothing_new_leaves_the_text_as_it_is():
    copilot = ScriptedTier("copilot", [*WORDS, TierBroken("copilot", "cut before the end marker")])
    seen = await read(router(copilot, ScriptedTier("cloud", WORDS[55:])))
    assert seen.text == TEXT
    assert seen.whole.finish_reason == "stop"
    assert seen.whole.notes == ("cloud began by repeating 5 words; they are shown once",)


@in_virtual_time
async def test_of_a_tier_that_is_cut_before_anything_new_nothing_is_told():
    cloud = ScriptedTier("cloud", [*WORDS[38:40], TierBroken("cloud", "cut")])
    seen = await read(router(cut(CUTS[0].values[0]), cloud, ScriptedTier("local", WORDS[40:], can_prefill=True)))
    assert (seen.text, seen.whole.notes) == (TEXT, ())
    assert [s.backend for s in seen.whole.segments] == ["copilot", "local"]


@pytest.mark.parametrize("whole", [False, True])
def test_after_a_restart_an_empty_answer_is_the_answer_and_not_the_broken_text(whole):
    @in_virtual_time
    async def story():
        ask = asking(on_interrupt="restart", whole=whole)
        seen = await read(router(cut(CUTS[0].values[0]), ScriptedTier("cloud", [])), ask)
        assert (seen.whole.text, seen.whole.backend, seen.whole.finish_reason) == ("", "cloud", "stop")
        assert seen.text == ""
        assert [s.backend for s in seen.whole.segments] == ["cloud"]

    story()


@in_virtual_time
async def test_after_a_cut_of_the_only_tier_asked_the_cure_is_to_name_none():
    seen = await read(router(cut(CUTS[0].values[0]), ScriptedTier("cloud", WORDS[40:])), asking(tier="copilot"))
    assert isinstance(seen.error, AnswerInterrupted)
    assert seen.error.cure == "ask again, or ask without naming copilot, so that another tier can go on"
