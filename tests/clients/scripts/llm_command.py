"""The llm program, with the gateway in its `extra-openai-models.yaml`: each act is one run of the command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE

from loop import ADDRESS, QUESTION, TOKEN, serve

folder = Path(tempfile.mkdtemp(prefix="llm-", dir=os.environ["HOME"]))
(folder / "extra-openai-models.yaml").write_text(
    f"- model_id: gateway\n  model_name: auto\n  api_base: {ADDRESS}/v1\n  api_key_name: gateway\n"
)
(folder / "keys.json").write_text(f'{{"gateway": "{TOKEN}"}}')
COMMAND = [str(Path(sys.executable).with_name("llm")), "-m", "gateway", QUESTION]
ELSEWHERE = {**os.environ, "LLM_USER_PATH": str(folder)}


class Failed(Exception):
    """The command's exit code was not 0."""


def whole() -> str:
    done = subprocess.run([*COMMAND, "--no-stream"], env=ELSEWHERE, capture_output=True, text=True, stdin=DEVNULL)
    if done.returncode:
        raise Failed(done.stderr)
    return done.stdout.strip()


def stream() -> Iterator[str]:
    with subprocess.Popen(COMMAND, env=ELSEWHERE, stdin=DEVNULL, stdout=PIPE, stderr=PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        while piece := os.read(running.stdout.fileno(), 1000):
            yield piece.decode().rstrip("\n")  # the program ends its answer with one
        complaint = running.stderr.read().decode()
    if running.returncode:
        raise Failed(complaint)


serve("llm", whole, stream)
