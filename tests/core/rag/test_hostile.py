"""Documents made to be slow: each is read, ranked and packed in a process that may use some CPU seconds and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

SECONDS = 20  # each takes far less than one; a pattern that runs away would take minutes or years
READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
from gateway_core.rag import PassageIndex
from gateway_core.rag.load import load_documents
data = {data}
loaded = load_documents([("{name}", data)])
for document in loaded.documents:
    PassageIndex([document]).pack("what does the system say about begin?", 2_000_000)
print(len(loaded.documents), len(loaded.errors), sum(len(d.text) for d in loaded.documents))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are set as POSIX does")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("notes.txt", 'b"<!---->" * 290 + b"z"', id="comments that begin no page"),
        pytest.param("notes.txt", 'b"<!--" * 25_000', id="comments that never end"),
        pytest.param("deep.json", 'b"[" * 300 + b"1," * 100_000 + b"1" + b"]" * 300', id="values far down"),
        pytest.param("notes.txt", 'b"hello system <<" + b"\\t" * 20_000 + b"x"', id="a fence with a gap"),
        pytest.param("notes.txt", 'b"system" + b"\\n" * 20_000 + b"x"', id="a role with a gap"),
        pytest.param("notes.txt", 'b"system " + b"!\\n" * 60_000 + b"x"', id="marks before a role"),
        pytest.param("notes.txt", 'b"prompt ](http " + b"![" * 50_000', id="pictures without an end"),
        pytest.param("notes.txt", 'b"](//{" * 20_000', id="links without an end"),
        pytest.param("notes.txt", 'b"send it to " + b"a" * 60_000 + b"@"', id="an address without an end"),
        pytest.param("notes.txt", 'b"ignor" * 20_000', id="one word of orders"),
        pytest.param("notes.py", 'b"def x\\n" + b"\\t\\n" * 50_000', id="blank lines of code"),
        pytest.param("notes.txt", 'b"e" * 300_000', id="one long word"),
        pytest.param("notes.md", 'b"<h1>" * 50_000', id="headings without an end"),
    ],
)
def test_a_document_made_to_be_slow_is_read_in_time(name: str, data: str):
    code = READ.format(seconds=SECONDS, name=name, data=data)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr or f"it used more than {SECONDS} CPU seconds"
    documents, errors, characters = map(int, done.stdout.split())
    assert documents + errors == 1
    assert characters < 3_000_000
