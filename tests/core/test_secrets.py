from __future__ import annotations

import copy
import io
import logging
import os
import pickle
import stat
import threading

import pytest
from pydantic import SecretStr

from gateway_core.secrets import (
    RedactingFilter,
    Secret,
    fingerprint,
    identity_of,
    private_folder,
    read_private,
    redact,
    state_salt,
    write_private,
)

MARKER = "gho_CANARY7Q2Z9X4W6V8T0R1P3N5M7K9J2"
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda s: f"{s!r}"])
def test_a_secret_shows_itself_to_nobody(show):
    assert MARKER not in show(Secret(MARKER))
    assert MARKER not in show([Secret(MARKER)])
    assert MARKER not in f"{Secret(MARKER):>40}"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_cannot_be_taken_away(take):
    with pytest.raises(TypeError):
        take(Secret(MARKER))


def test_secrets_are_equal_by_value_and_hint_at_their_kind():
    assert Secret(MARKER) == Secret(MARKER) != Secret("other")
    assert Secret(MARKER).hint == "gho_…K9J2"
    assert Secret.of(SecretStr("  ")) is None
    assert not Secret("two\nlines").can_be_sent


def test_every_log_line_and_traceback_is_struck_out_by_value():
    Secret(MARKER)
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactingFilter())
    log = logging.Logger("somebody")
    log.addHandler(handler)
    log.warning("sent %s to %s", MARKER, {"authorization": MARKER})
    try:
        raise ValueError(MARKER)
    except ValueError:
        log.exception("failed", stack_info=True)
    assert MARKER not in out.getvalue()
    assert "[secret]" in out.getvalue()
    assert "Traceback" in out.getvalue()
    assert redact(f"Bearer {MARKER}") == "Bearer [secret]"


class Unspeakable:
    def __str__(self):
        raise RuntimeError(MARKER)


@pytest.mark.parametrize(
    ("message", "arguments", "told"),
    [
        pytest.param("a %s %s", (MARKER,), "a %s %s", id="too few arguments"),
        pytest.param(f"%d by {MARKER}", ("x",), "%d by [secret]", id="another type"),
        pytest.param("%s", (Unspeakable(),), "%s", id="an argument that cannot be shown"),
        pytest.param(Unspeakable(), (), "[cannot be shown]", id="nothing that can be shown"),
    ],
)
def test_a_malformed_log_call_of_a_library_is_told_and_never_raises(message, arguments, told):
    Secret(MARKER)
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactingFilter())
    log = logging.Logger("somebody")
    log.addHandler(handler)
    log.warning(message, *arguments)
    log.warning("whole", exc_info=(MARKER,))
    assert out.getvalue().splitlines() == [told, "whole", "[cannot be shown]"]


@posix
@pytest.mark.parametrize("place", ["home", "above the home", "working folder", "shared by all", "linked"])
def test_a_folder_that_is_not_ours_alone_is_not_closed_to_others(tmp_path, monkeypatch, place):
    mode_before = 0o1777 if place == "shared by all" else 0o755
    tmp_path.chmod(mode_before)
    folder = tmp_path
    if place == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
    elif place == "above the home":
        monkeypatch.setenv("HOME", str(tmp_path / "me"))
    elif place == "working folder":
        monkeypatch.chdir(tmp_path)
    elif place == "linked":
        folder = tmp_path.with_name(f"{tmp_path.name}-link")
        folder.symlink_to(tmp_path)
    write_private(folder / "login.json", b"token")
    assert private_folder(folder) == folder
    assert state_salt(folder) == state_salt(folder)
    modes = {file.name: mode(file) for file in tmp_path.iterdir() if file.is_file()}
    assert (mode(tmp_path), modes) == (mode_before, {"login.json": 0o600, "salt": 0o600})


@posix
def test_our_files_are_private_and_repaired(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    path = folder / "login.json"
    write_private(path, b"one")
    assert (mode(folder), mode(path)) == (0o700, 0o600)
    path.chmod(0o644)
    assert read_private(path) == b"one"
    assert mode(path) == 0o600
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert [entry.name for entry in folder.iterdir()] == ["login.json"]


@posix
def test_a_planted_link_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = private_folder(tmp_path / "state") / "login.json"
    path.symlink_to(victim)
    write_private(path, b"token")
    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()


def test_a_missing_file_is_nothing(tmp_path):
    assert read_private(tmp_path / "no") is None


def test_the_salt_is_kept_and_shared(tmp_path):
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(state_salt(tmp_path / "state"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found[0]) == 32


def test_without_a_place_to_keep_it_the_salt_lasts_for_the_process(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert state_salt(blocked / "state") == state_salt(blocked / "state")


def test_an_identity_tells_accounts_and_origins_apart_and_nothing_else():
    secret, salt = Secret(MARKER), b"s" * 32
    one = identity_of("cloud", "https://api.example/v1", secret, salt)
    assert one == identity_of("cloud", "https://api.example:443/other", secret, salt)
    assert one != identity_of("cloud", "https://api.example:8443/v1", secret, salt)
    assert one != identity_of("cloud", "https://api.example/v1", Secret("another one"), salt)
    assert one is not None
    assert MARKER not in one
    assert fingerprint(secret, salt) != fingerprint(secret, b"t" * 32)
    assert identity_of("cloud", "https://api.example", None, salt) is None
