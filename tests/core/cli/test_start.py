"""What starting costs: `--help` loads argparse and our table, the core no front end; and how the server is found."""

import subprocess
import sys

import pytest

from gateway_core.cli.arguments import parser

from .conftest import HANG, REPOSITORY

LOADED = "import sys; before = set(sys.modules); {}; print('\\n'.join(sorted(set(sys.modules) - before)))"
OURS = {
    "__future__",
    "gateway_core",
    "gateway_core.cli",
    "gateway_core.cli.arguments",
    "gateway_core.cli.command",
    "gateway_core.cli.exits",
    "gateway_core.cli.terminal",
}
HELP = """
import contextlib, io
from gateway_core.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main({!r}) == 0
"""
ARGPARSE = """
import argparse, errno
parser = argparse.ArgumentParser(formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80))
parser.add_subparsers(title="t").add_parser("c")
parser.format_help()
"""
SERVE = """
def serve(settings, *, host=None, port=None, ui=True):
    print(type(settings).__name__, host, port, ui)
    return 7
"""


def loaded_by(code: str) -> set[str]:
    """The modules a fresh interpreter loads for this code, `site` and its plug-ins aside."""
    told = subprocess.run(
        [sys.executable, "-c", LOADED.format(f"exec({code!r})")],
        cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=HANG,
    )  # fmt: skip
    return set(told.stdout.split())


@pytest.mark.parametrize("argv", [["--help"], ["ask", "--help"], ["drill", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_argparse_and_our_table_and_nothing_else(argv):
    beyond_argparse = loaded_by(HELP.format(argv)) - loaded_by("import contextlib, io\n" + ARGPARSE)

    assert beyond_argparse <= OURS


def test_importing_the_core_loads_nothing_of_the_front_ends_or_providers():
    loaded = {name.partition(".")[0] for name in loaded_by("import gateway_core")}

    assert loaded <= {"__future__", "gateway_core"}


def test_a_gateway_loads_no_front_end_and_no_sdk():
    loaded = {
        name.partition(".")[0] for name in loaded_by("from gateway_core import Gateway, BlockingGateway, Settings")
    }

    assert not loaded & {
        "server",
        "webui",
        "notebook_ext",
        "fastapi",
        "uvicorn",
        "gradio",
        "IPython",
        "openai",
        "pandas",
    }


def test_every_command_and_option_stands_in_the_documentation():
    told = (REPOSITORY / "docs" / "command-line.md").read_text(encoding="utf-8")
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    options = {
        flag for command in commands.values() for action in command._actions for flag in action.option_strings
    } - {"-h", "--help"}  # fmt: skip

    assert {name for name in (*commands, *options) if name not in told} == set()


def test_python_m_is_the_same_command():
    ran = subprocess.run(
        [sys.executable, "-m", "gateway_core", "--version"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=HANG,
    )

    assert (ran.returncode, ran.stdout) == (0, "ai-gateway 0.1.0\n")


@pytest.fixture
def front_end(tmp_path, monkeypatch):
    """Install a distribution whose entry point `server` leads to this source."""

    def install(source: str) -> None:
        home = tmp_path / "site"
        (home / "pretended-1.dist-info").mkdir(parents=True)
        (home / "pretended-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pretended\nVersion: 1\n")
        (home / "pretended-1.dist-info" / "entry_points.txt").write_text(
            "[ai_gateway.front_ends]\nserver = pretended_server:serve\n"
        )
        (home / "pretended_server.py").write_text(source)
        monkeypatch.syspath_prepend(str(home))

    yield install
    sys.modules.pop("pretended_server", None)


def test_serve_hands_settings_and_arguments_to_the_front_end_and_returns_its_code(cli, front_end):
    front_end(SERVE)
    ran = cli("serve", "--host", "127.0.0.2", "--port", "9000", "--no-ui")

    assert (ran.code, ran.out) == (7, "Settings 127.0.0.2 9000 False\n")


def test_serve_without_what_the_server_needs_says_what_to_install(cli, front_end):
    front_end("import a_web_framework_that_is_not_there\n")
    ran = cli("serve")

    assert ran.code == 2
    assert ran.err == (
        "ai-gateway: the server cannot start, a_web_framework_that_is_not_there is missing;"
        " install it: pip install 'ai-failover-gateway[server]'\n"
    )


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_a_port_that_is_none_is_wrong_usage(cli, port):
    ran = cli("serve", "--port", port)

    assert ran.code == 2
    assert "not a port from 0 to 65535" in ran.err or "expected one argument" in ran.err


def test_a_question_without_quotes_is_told_what_it_lacks(cli):
    ran = cli("ask", "hi", "there")

    assert ran.code == 2
    assert ran.err.startswith("usage: ai-gateway ask ")
    assert ran.err.endswith("unrecognized arguments: there; put the question in quotes\n")


@pytest.mark.parametrize(("wrong", "near"), [("--strem", "--stream"), ("--modle=x", "--model"), ("--bogus", None)])
def test_an_option_that_is_none_shows_the_usage_of_its_command_and_the_nearest(cli, wrong, near):
    ran = cli("ask", "hi", wrong)

    assert ran.code == 2
    assert ran.err.startswith("usage: ai-gateway ask ")
    assert ran.err.endswith(f"unrecognized arguments: {wrong}" + (f"; did you mean {near}?\n" if near else "\n"))
