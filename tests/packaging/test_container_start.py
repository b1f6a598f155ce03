"""The first program of the container, run by itself: where the access token comes from, and that it stays secret."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.environments import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell script")
START = str(ROOT / "scripts" / "container-start")
PRINT_TOKEN = ("printenv", "AI_GATEWAY_TOKEN")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


def start(state: Path, *command: str, **given: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "AI_GATEWAY_STATE_DIR": str(state), "HOSTNAME": "0123456789ab", **given}
    return subprocess.run(["sh", START, *(command or PRINT_TOKEN)], env=variables, capture_output=True, text=True)


def test_the_first_start_makes_a_token_for_its_user_only_and_tells_where_it_is(state: Path) -> None:
    done = start(state)
    kept = state / "access_token"
    assert done.stdout == kept.read_text()
    assert len(done.stdout.strip()) >= 43  # 32 random bytes in base64
    assert kept.stat().st_mode & 0o777 == 0o600
    assert done.stderr == (
        f"container-start: an access token was made; to read it: docker exec 0123456789ab cat {kept}\n"
    )
    assert [path.name for path in state.iterdir()] == ["access_token"]


def test_later_starts_keep_it_in_silence(state: Path) -> None:
    first, second = start(state), start(state)
    assert (second.stdout, second.stderr) == (first.stdout, "")


def test_containers_that_start_at_once_on_one_volume_have_one_token(state: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: start(state), range(8)))
    assert {each.returncode for each in done} == {0}
    assert {each.stdout for each in done} == {(state / "access_token").read_text()}
    assert len(list(state.iterdir())) == 1


def test_two_volumes_never_have_the_same_token(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    assert start(folders[0]).stdout != start(folders[1]).stdout


def test_an_empty_file_is_nobodys_token(state: Path) -> None:
    (state / "access_token").touch()
    assert len(start(state).stdout.strip()) >= 43


@pytest.mark.parametrize("given", [{"AI_GATEWAY_TOKEN": "mine"}, {"AI_GATEWAY_TOKEN_FILE": "secret"}], ids=str)
def test_a_token_of_ones_own_wins_and_nothing_is_written(state: Path, tmp_path: Path, given: dict[str, str]) -> None:
    (tmp_path / "secret").write_text("mine\n")
    given = {name: value.replace("secret", str(tmp_path / "secret")) for name, value in given.items()}
    done = start(state, **given)
    assert (done.stdout, done.stderr) == ("mine\n", "")
    assert list(state.iterdir()) == []


def test_the_environment_wins_over_the_file(state: Path) -> None:
    assert start(state, AI_GATEWAY_TOKEN="mine", AI_GATEWAY_TOKEN_FILE="/nowhere").stdout == "mine\n"


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read by user"), ("", "is empty"), ("\n", "is empty")])
def test_a_secret_that_is_not_there_stops_the_start(state: Path, content: str | None, words: str) -> None:
    secret = state / "secret"
    if content is not None:
        secret.write_text(content)
    done = start(state, AI_GATEWAY_TOKEN_FILE=str(secret))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"container-start: AI_GATEWAY_TOKEN_FILE: {secret} {words}")


def test_a_volume_that_cannot_be_written_is_told_with_its_cure(tmp_path: Path) -> None:
    done = start(tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written by user" in done.stderr
    assert "chown" in done.stderr


def test_it_becomes_the_command_so_that_signals_reach_it(state: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "AI_GATEWAY_STATE_DIR": str(state)}
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    command = ["sh", START, sys.executable, "-c", program]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.terminate()
        assert process.wait(30) == -15


def test_its_exit_code_is_the_commands(state: Path) -> None:
    assert start(state, "sh", "-c", "exit 7").returncode == 7
