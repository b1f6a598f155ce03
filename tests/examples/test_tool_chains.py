"""What only one language's example has: a JSON reader of its own, and the command that its first lines name."""

from __future__ import annotations

import json
import random
import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.missing import needs

from .clients import EXAMPLES, LANGUAGES, Client, compiled, java, ready

VALID = [
    "0", "-0", "12", "-3.25", "1e3", "1E-2", "123456789012345678901234567890", "0.1", "true", "false", "null", '""',
    r'"\"\\\/\b\f\n\r\t"', r'"\u00e9 \u00E9 \ud83d\ude00 \u2028"', r'"half: \ud83d"', '"é 😀 \u2028"', "[]", "{}",
    ' [ 1 , [ ] , { } ] ', '{"a":{"b":[{"c":null}]},"d":[true,false]}', '{ "" : 1 }', "[" * 400 + "]" * 400,
]  # fmt: skip
INVALID = [
    "", " ", "01", "+1", ".5", "1.", "1e", "--1", "0x1", "NaN", "Infinity", "tru", "nul", "True", "'a'", '"a', '"\\x"',
    '"\\u12g4"', '"\\u12', '"\t"', "[1,]", "[1 2]", "[", "]", "{", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", '{"a" 1}',
    "1 2", "[]]", "1e99999999999", "[" * 100_000,
]  # fmt: skip


def some_value(choice: random.Random, depth: int = 0) -> Any:
    kind = choice.randrange(7 if depth < 4 else 5)
    if kind < 3:
        return "".join(
            choice.choice(['"', "\\", "/", "\x00", "\n", "\x7f", "é", "😀", "\u2028", "a", " "]) for _ in range(9)
        )
    if kind == 3:
        return choice.choice([None, True, False])
    if kind == 4:
        return choice.choice([choice.randrange(-(10**20), 10**20), choice.uniform(-1e9, 1e9), choice.random() * 1e-9])
    if kind == 5:
        return [some_value(choice, depth + 1) for _ in range(choice.randrange(4))]
    return {f'"{choice.random()}é': some_value(choice, depth + 1) for _ in range(choice.randrange(4))}


def exactly(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@pytest.mark.slow
def test_java_reads_and_writes_json_as_the_standard_says(built: Path, tmp_path: Path):
    ready(java, built)
    compiled("javac", "-cp", built / "java", "-d", tmp_path, Path(__file__).with_name("RoundTrip.java"))
    choice = random.Random(20)
    values = [json.dumps(some_value(choice), ensure_ascii=choice.random() < 0.5) for _ in range(500)]
    lines = [*VALID, *values, *INVALID]

    command = [needs("java"), "-cp", f"{built / 'java'}:{tmp_path}", "RoundTrip"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, encoding="utf-8", timeout=60)

    said = done.stdout.splitlines()
    assert len(said) == len(lines), done.stderr
    assert [(a, b) for a, b in zip(lines, said, strict=True) if a not in INVALID and exactly(a) != exactly(b)] == []
    assert [(a, b) for a, b in zip(lines, said, strict=True) if a in INVALID and not b.startswith("refused: ")] == []


@pytest.mark.parametrize(
    ("file", "code"),
    [
        pytest.param("client.py", 2, id="python"),
        pytest.param("client.mjs", 2, id="node"),
        pytest.param("curl.sh", 2, id="bash"),
        pytest.param("client.go", 1, id="go", marks=pytest.mark.slow),  # "go run" has but one code for a failure
        pytest.param("Client.java", 2, id="java", marks=pytest.mark.slow),
    ],
)
def test_the_command_that_the_first_lines_name_runs_it(file: str, code: int):
    head = (EXAMPLES / file).read_text(encoding="utf-8").partition("health")[0]
    named = re.search(rf"(?:\w+ (?:run )?|\./){re.escape(file)}", head)
    assert named is not None
    first, *rest = named.group().split()
    command = [first if first.startswith("./") else needs(first), *rest, "nonsense"]
    told = Client(file, tuple(command))("http://127.0.0.1:1", folder=EXAMPLES)
    assert (told.code, told.err.splitlines()[0][:13]) == (code, "usage: client")


def test_every_language_is_in_the_reference():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in EXAMPLES.iterdir() if path.stem.lower() in ("client", "curl"))
    assert len(files) == len(LANGUAGES)
    assert [name for name in files if f"`{name}`" not in page] == []
