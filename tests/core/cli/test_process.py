"""The command line as a process of its own: pipes that close, terminals that grow, Ctrl-C."""

import os
import subprocess
import sys

import pytest

from .conftest import HANG, REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and SIGINT to a child are POSIX")


def test_a_healthy_answer_into_a_pipe(child):
    ran = child("healthy", "ask", "hi").ended()

    assert (ran.code, ran.out, ran.err) == (0, "The capital is Paris.\n", "")


def test_all_tiers_down_is_exit_3_without_a_traceback(child):
    ran = child("down", "ask", "hi").ended()

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[1:3] == ["  copilot  no route", "           → check the network"]
    assert "Traceback" not in ran.err


def test_a_terminal_shows_the_text_while_it_grows_and_then_who_wrote_it(child):
    growing = child("hangs", "ask", "hi", terminal=True)
    growing.wait_for("The capital is Par")

    assert growing.process.poll() is None
    shown = child("healthy", "ask", "hi", terminal=True).ended()
    assert shown.code == 0
    text, who = shown.out.splitlines()
    assert text == "The capital is Paris."
    assert who.startswith("— copilot, ")


def test_without_streaming_a_terminal_too_waits_for_the_whole_answer(child):
    ran = child("cut", "ask", "hi", "--no-stream", terminal=True).ended()

    assert ran.out.splitlines()[0] == "The capital is Paris."
    assert "Lon" not in ran.out


def test_a_terminal_shows_the_seam_where_another_tier_went_on(child):
    ran = child("cut, then on", "ask", "hi", terminal=True).ended()

    assert ran.out.splitlines()[0] == "The capital ⟦copilot broke off: reset; cloud goes on⟧is Paris."
    assert ran.out.splitlines()[1].startswith("— copilot, then cloud, ")


def test_a_terminal_is_told_which_text_is_void_when_a_tier_starts_anew(child):
    ran = child("cut", "ask", "hi", "--on-interrupt", "restart", terminal=True).ended()

    assert ran.out.splitlines()[:3] == [
        "The capital is Lon",
        "— the text above is void (copilot broke off: reset); cloud answers anew:",
        "The capital is Paris.",
    ]


def test_nothing_a_model_says_drives_the_terminal(child):
    ran = child("hostile", "ask", "hi", terminal=True).ended()

    assert ran.out.splitlines()[:2] == ["a␛[2J␛]0;title␇b\ufffd31mc", "d␍e␡␀"]
    assert not {"\x1b", "\x07", "\x9b", "\x7f", "\x00"} & set(ran.out)


def test_ctrl_c_on_a_terminal_keeps_what_came_and_closes_the_call(child):
    asking = child("hangs", "ask", "hi", terminal=True)
    asking.wait_for("is Par")
    asking.interrupt()
    ran = asking.ended()

    assert ran.code == 130
    assert ran.out.splitlines() == ["The capital is Par", "— stopped; the answer is not whole"]
    assert asking.report == {"copilot": {"calls": 1, "closed_early": 1}}


def test_ctrl_c_in_a_streaming_pipe_keeps_what_came(child):
    asking = child("hangs", "ask", "hi", "--stream")
    out = asking.process.stdout
    assert out.read(18) == b"The capital is Par"
    asking.interrupt()
    ran = asking.ended()

    assert (ran.code, ran.out) == (130, "\n")
    assert "Traceback" not in ran.err
    assert asking.report["copilot"]["closed_early"] == 1


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_ctrl_c_before_the_answer_is_whole_writes_what_came(child, tmp_path, form):
    asking = child("hangs, told", "ask", "hi", *form)
    asking.wait_until_asked()
    asking.interrupt()
    ran = asking.ended()

    assert ran.code == 130
    assert "The capital is Par" in ran.out
    assert "Traceback" not in ran.err
    if form:
        assert (ran.json["code"], ran.json["partial"]["response"]) == ("cancelled", "The capital is Par")
    assert asking.report["copilot"]["closed_early"] == 1


def test_ctrl_c_before_anything_came_is_quiet(child):
    asking = child("silent, told", "ask", "hi")
    asking.wait_until_asked()
    asking.interrupt()
    ran = asking.ended()

    assert (ran.code, ran.out, ran.err) == (130, "", "")


@pytest.mark.parametrize("form", [("--stream",), ("--no-stream",), ("--json",)], ids=" ".join)
def test_a_reader_who_has_enough_ends_it_quietly(child, form):
    asking = child("endless", "ask", "hi", *form)
    out = asking.process.stdout
    assert out.readline()
    out.close()
    err = asking.process.stderr.read()

    assert asking.process.wait(HANG) == 0
    assert err == b""


def test_help_into_a_closed_pipe_ends_quietly(child):
    ran = subprocess.run(
        f"{sys.executable} -m gateway_core --help | :", shell=True, cwd=REPOSITORY, capture_output=True, timeout=HANG
    )

    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_an_answer_that_cannot_be_written_is_not_called_answered(tmp_path):
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.core.cli.driver", "healthy", "ask", "hi"],
            cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, timeout=HANG,
            env={**os.environ, "DRIVER_REPORT": str(tmp_path / "report")},
        )  # fmt: skip

    assert ran.returncode == 1
    assert b"could not be written: No space left" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_a_legacy_encoding_costs_characters_and_not_the_answer(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.core.cli.driver", "in many scripts", "ask", "hi"],
        cwd=REPOSITORY, capture_output=True, timeout=HANG,
        env={**os.environ, "DRIVER_REPORT": str(tmp_path / "report"), "PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip

    assert (ran.returncode, ran.stdout) == (0, "caf\xe9 ??\n".encode("cp1252"))


def test_closed_standard_streams_are_no_fault(tmp_path):
    ran = subprocess.run(
        f"{sys.executable} -m tests.core.cli.driver healthy ask hi >&- 2>&- <&-",
        shell=True, cwd=REPOSITORY, timeout=HANG, env={**os.environ, "DRIVER_REPORT": str(tmp_path / "report")},
    )  # fmt: skip

    assert ran.returncode == 0
