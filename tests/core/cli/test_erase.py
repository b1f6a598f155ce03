"""`ai-gateway erase`: nothing goes without a yes, and what goes is named."""

from pathlib import Path

import pytest

from gateway_core.secrets import write_private


@pytest.fixture
def state(tmp_path) -> Path:
    folder = tmp_path / "state"
    for name in ("copilot.json", "conversations/one.json", "circuits.db"):
        write_private(folder / name, b"content")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_nothing_is_erased_where_nobody_can_be_asked(cli, state):
    ran = cli("erase")

    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err
    assert names(state) == {"copilot.json", "conversations", "circuits.db"}


def test_with_a_yes_in_advance_content_and_logins_go(cli, state):
    ran = cli("erase", "--yes")

    assert (ran.code, ran.out) == (0, "erased: conversations, copilot.json\n")
    assert "conversations of the chat page" in ran.err
    assert names(state) == {"circuits.db"}


def test_all_takes_the_circuits_too(cli, state):
    cli("erase", "--all", "--yes")

    assert names(state) == set()


@pytest.mark.parametrize(("said", "code", "left"), [(b"y\n", 0, {"circuits.db"}), (b"n\n", 1, 3), (b"", 1, 3)])
def test_only_a_plain_yes_is_a_yes(cli, state, monkeypatch, said, code, left):
    monkeypatch.setattr("gateway_core.cli.terminal.Terminal.can_ask", True)
    ran = cli("erase", stdin=said)

    assert ran.code == code
    assert "[y/N]" in ran.err
    assert names(state) == left or len(names(state)) == left


def test_nothing_to_erase_is_no_fault(cli, tmp_path):
    ran = cli("erase")

    assert (ran.code, ran.out) == (0, f"nothing to erase in {tmp_path / 'state'}\n")
