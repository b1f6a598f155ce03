"""The command line as a process of its own: pipes that close, terminals that grow, Ctrl-C."""

import os
import subprocess
import sys

import pytest

from .conftest import HANG, REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and SIGINT to a child are POSIX")


def test_all_tiers_down_is_exit_3_without_a_traceback(child):
    ran = child("down", "ask", "hi").ended()

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[1:3] == ["  copilot  no route", "           → check the network"]
    assert "Traceback" not in ran.err


def test_a_terminal_shows_the_text_while_it_grows(child):
    growing = child("hangs", "ask", "hi", terminal=True)
    growing.wait_for("The capital is Par")

    assert growing.process.poll() is None


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


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_into_a_closed_pipe_ends_quietly(child, unbuffered):
    ran = subprocess.run(
        f"{sys.executable} -m gateway_core --help | :", shell=True, cwd=REPOSITORY, capture_output=True, timeout=HANG,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip

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
