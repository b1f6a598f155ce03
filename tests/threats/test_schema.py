"""The described API under a fuzzer of its own: no error of ours, no reply that is not described."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ..environments import environment
from .live import Live

SEED = "20261123"
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "allow_header_conformance",
)  # fmt: skip
# 503 is an answer here: nobody could answer in so short a time, or that tier is not to be had.
CONFIG = '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]\n'


@pytest.mark.slow
def test_s14_whatever_is_sent_every_reply_is_as_described(server: Live, tmp_path: Path):
    fuzz(server, tmp_path)


@pytest.mark.slow
def test_s14_whatever_is_sent_with_the_token_every_reply_is_as_described(guarded: Live, tmp_path: Path):
    fuzz(guarded, tmp_path)


def fuzz(server: Live, tmp_path: Path) -> None:
    programs = environment("schemathesis")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [
        str(programs / "schemathesis"), "run", f"{server.url}/openapi.json", "--seed", SEED, "--max-examples", "12",
        "--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS), "--request-timeout", "20",
        "--generation-database", "none", "--max-time", "45", "--no-color", "--continue-on-failure",
        "--exclude-path", "/ai/events",  # it never ends
        *(part for name, value in server.headers.items() for part in ("--header", f"{name}: {value}")),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    print(f"seed {SEED}\n{done.stdout[-20_000:]}{done.stderr[-2000:]}")

    assert "Tested:" in done.stdout
    assert done.returncode == 0
