"""`ask` on a terminal: the text as it grows, seams and void text told where they are, nothing that drives it."""

import sys

import pytest

from gateway_core.errors import TierBroken
from gateway_core.testing import ScriptedTier
from gateway_core.types import Reason

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")


def cut_after(text: str) -> ScriptedTier:
    return ScriptedTier("copilot", [text, TierBroken("copilot", "the connection was reset", reason=Reason.RESET)])


def test_the_answer_is_followed_by_a_line_that_says_who_wrote_it(on_terminal):
    ran = on_terminal("ask", "hi", tiers=[ScriptedTier("copilot", ["The capital ", "is Paris."])])

    text, who = ran.out.splitlines()
    assert (ran.code, text) == (0, "The capital is Paris.")
    assert who.startswith("— copilot, ")


def test_without_streaming_only_the_whole_answer_is_shown(on_terminal):
    tiers = [cut_after("The capital is Lon"), ScriptedTier("cloud", ["The capital is Paris."])]
    ran = on_terminal("ask", "hi", "--no-stream", tiers=tiers)

    assert ran.out.splitlines()[0] == "The capital is Paris."
    assert "Lon" not in ran.out


def test_the_seam_is_shown_where_another_tier_went_on(on_terminal):
    ran = on_terminal("ask", "hi", tiers=[cut_after("The capital "), ScriptedTier("cloud", ["is Paris."])])

    text, who = ran.out.splitlines()
    assert text == "The capital ⟦copilot broke off: reset; cloud goes on⟧is Paris."
    assert who.startswith("— copilot, then cloud, ")
    assert "copilot: the connection was reset" in who


def test_it_is_told_which_text_is_void_when_a_tier_starts_anew(on_terminal):
    tiers = [cut_after("The capital is Lon"), ScriptedTier("cloud", ["The capital is Paris."])]
    ran = on_terminal("ask", "hi", "--on-interrupt", "restart", tiers=tiers)

    assert ran.out.splitlines()[:3] == [
        "The capital is Lon",
        "— the text above is void (copilot broke off: reset); cloud answers anew:",
        "The capital is Paris.",
    ]


def test_an_answer_cut_by_stop_is_said_not_to_be_whole(on_terminal):
    ran = on_terminal("ask", "hi", "--on-interrupt", "stop", tiers=[cut_after("The capital ")])

    assert ran.code == 3
    assert ran.out.splitlines()[0] == "The capital "
    assert ran.out.splitlines()[1].startswith("— not whole: ")


def test_nothing_a_model_says_drives_the_terminal(on_terminal):
    hostile = ScriptedTier("copilot", ["a\x1b[2J\x1b]0;title\x07b", "\x9b31mc\r", "\nd\re\x7f", "\x00", "f\r"])
    ran = on_terminal("ask", "hi", tiers=[hostile])

    assert ran.out.splitlines()[:2] == ["a␛[2J␛]0;title␇b\ufffd31mc", "d␍e␡␀f␍"]
    assert not {"\x1b", "\x07", "\x9b", "\x7f", "\x00", "\r"} & set(ran.out)
