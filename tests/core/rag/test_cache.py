"""A second question indexes nothing, and what is kept is bounded."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_core.rag import IndexCache, PassageIndex
from gateway_core.rag.blobs import BlobFile, BlobMemory
from gateway_core.rag.fulltext import FullTextTable, PostingTable, Row
from gateway_core.types import Document

TEXT = "The safety valve opens at 7.5 bar. " + "Other things are said here as well. " * 60
QUESTION = "When does the safety valve open?"


class Counting(IndexCache):
    """Counts what had to be indexed anew."""

    indexed = 0

    def keep(self, documents, made):
        self.indexed += 1
        super().keep(documents, made)


def test_a_second_question_on_the_same_documents_indexes_nothing():
    cache = Counting()
    first = cache.index([Document(TEXT, name="a.txt")]).pack(QUESTION, 500, nonce="00")
    again = cache.index([Document(TEXT, name="a.txt")]).pack(QUESTION, 500, nonce="00")

    assert first == again
    assert cache.indexed == 1


def test_the_same_content_under_other_ids_is_found_and_keeps_its_ids():
    cache = Counting()
    cache.index([Document(TEXT, id="one")]).prepare()

    assert cache.index([Document(TEXT, id="two")]).rank("valve", 1) == ["two"]
    assert cache.indexed == 1


def test_other_content_is_indexed_anew():
    cache = Counting()
    cache.index([TEXT]).prepare()
    cache.index([TEXT + "."]).prepare()

    assert cache.indexed == 2


def test_indexes_survive_a_restart_in_a_file(tmp_path: Path):
    path = tmp_path / "state" / "indexes.sqlite"
    before = Counting(path=path).index([Document(TEXT, name="a.md")]).pack(QUESTION, 500, nonce="00")
    cache = Counting(path=path)
    after = cache.index([Document(TEXT, name="a.md")]).pack(QUESTION, 500, nonce="00")

    assert before == after
    assert cache.indexed == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_private_documents_are_not_written_to_the_file(tmp_path: Path):
    path = tmp_path / "indexes.sqlite"
    Counting(path=path).index([Document(TEXT, private=True)]).prepare()
    cache = Counting(path=path)
    cache.index([Document(TEXT, private=True)]).prepare()

    assert cache.indexed == 1


def test_a_spoilt_file_is_no_obstacle(tmp_path: Path):
    path = tmp_path / "indexes.sqlite"
    path.write_bytes(b"this is no database" * 100)

    assert "7.5" in Counting(path=path).index([TEXT]).pack(QUESTION, 500).text


def test_a_spoilt_entry_is_indexed_anew(tmp_path: Path):
    path = tmp_path / "indexes.sqlite"
    Counting(path=path).index([TEXT]).prepare()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE blobs SET value = x'0102'")
    db.close()

    assert "7.5" in Counting(path=path).index([TEXT]).pack(QUESTION, 500).text


def test_forgetting_removes_the_file(tmp_path: Path):
    path = tmp_path / "indexes.sqlite"
    cache = Counting(path=path)
    cache.index([TEXT]).prepare()
    cache.clear()

    assert not path.exists()
    cache.index([TEXT]).prepare()
    assert cache.indexed == 2


def test_memory_is_bounded_and_the_oldest_goes_first():
    cache = Counting(max_bytes=200_000)
    for n in range(20):
        cache.index([f"{TEXT} {n}"]).prepare()
    cache.index([f"{TEXT} 19"]).prepare()
    assert cache.indexed == 20
    cache.index([f"{TEXT} 0"]).prepare()
    assert cache.indexed == 21


@pytest.mark.parametrize("make", [BlobMemory, lambda most: BlobFile(make_path(), most)], ids=["memory", "file"])
def test_blobs_are_bounded_by_bytes_and_the_least_used_goes_first(make, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blobs = make(10)
    blobs.put("a", b"1234")
    blobs.put("b", b"1234")
    assert blobs.get("a") == b"1234"
    blobs.put("c", b"1234")
    blobs.put("d", b"too large to keep")

    assert [blobs.get(key) for key in "abcd"] == [b"1234", None, b"1234", None]


def make_path() -> Path:
    return Path("blobs.sqlite")


ROWS = st.lists(st.text(alphabet="abcdef ", max_size=30), min_size=1, max_size=12)


@settings(deadline=None)
@given(ROWS, st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True))
def test_law_without_fts5_the_same_blocks_are_found(texts: list[str], keys: list[str]):
    def rows() -> Iterable[Row]:
        return [(number, text, "") for number, text in enumerate(texts)]

    full, plain = FullTextTable(), PostingTable()
    full.add(rows())
    plain.add(rows())

    assert {block for block, _ in full.search(keys, 50)} == {block for block, _ in plain.search(keys, 50)}
    assert full.frequencies(keys) == plain.frequencies(keys)


def test_without_fts5_the_answer_is_found_all_the_same():
    assert "7.5" in PassageIndex([TEXT], table=PostingTable).pack(QUESTION, 300).text
