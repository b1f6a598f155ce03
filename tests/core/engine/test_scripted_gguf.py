"""The scripted model: the same bytes everywhere, small, and honest about its length."""

import hashlib
import subprocess
import sys
import zlib

import pytest

from gateway_core.local_engine.model_file import context_length, models_in
from gateway_core.testing.scripted_gguf import DEFAULT, JSON, LOOP, build, count_tokens, script


def test_two_builds_are_the_same_bytes(tmp_path):
    first = build(tmp_path / "a.gguf").read_bytes()
    second = build(tmp_path / "b.gguf").read_bytes()

    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert len(first) < 250_000
    assert len(zlib.compress(first)) < 10_000


@pytest.mark.parametrize(("name", "text"), [("default", DEFAULT), ("long", LOOP), ("json", JSON)])
def test_the_pieces_of_a_script_are_its_text(name, text):
    assert "".join(script(name)) == text


def test_text_outside_the_scripts_costs_a_token_a_byte():
    assert count_tokens([{"role": "user", "content": "hé"}]) == 1 + 3 + 2 + 1


def test_it_can_be_made_from_a_terminal(tmp_path):
    path = tmp_path / "made.gguf"

    subprocess.run(
        [sys.executable, "-m", "gateway_core.testing.scripted_gguf", str(path), "--context-length", "777"], check=True
    )

    assert context_length(path) == 777


def test_the_head_of_something_else_tells_nothing(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GG.context_length\x04\0\0\0\1\0\0\0")

    assert context_length(path) is None
    assert context_length(tmp_path / "absent.gguf") is None


def test_only_whole_models_are_listed(tmp_path):
    for name in ("a.gguf", "mmproj-a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "notes.txt"):
        (tmp_path / name).touch()

    assert {path.name for path in models_in(tmp_path)} == {"a.gguf", "b-00001-of-00002.gguf"}
    assert models_in(tmp_path / "absent") == []
