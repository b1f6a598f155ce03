"""Questions about documents as a whole are not answered from five passages."""

from __future__ import annotations

import pytest

from gateway_core.rag import PassageIndex
from gateway_core.rag.overview import asks_for_all, asks_for_count, table_card
from gateway_core.types import Document

TABLE = Document(
    "id,name,city\n" + "".join(f"{n},person {n},town {n % 7}\n" for n in range(1, 160)), name="people.csv", kind="csv"
)
REPORT = Document(
    "".join(f"# Chapter {n}\n\nChapter {n} is about topic{n}. {'More is said. ' * 60}\n\n" for n in range(1, 9)),
    name="report.md",
)
PLAIN = Document("It begins here. " + "Then this and that. " * 300, name="plain.txt")


@pytest.mark.parametrize("question", ["How many records are there?", "How many rows does people.csv have?"])
def test_the_number_of_records_is_told(question: str):
    context = PassageIndex([TABLE, REPORT]).pack(question, 1500)

    assert "159 records" in context.text
    assert len(context.text) <= 1500


@pytest.mark.parametrize(
    "question", ["Summarise these three files", "What are these documents about?", "Fasse die Dateien zusammen", "总结"]
)
def test_a_summary_sees_every_document_and_says_so(question: str):
    context = PassageIndex([TABLE, REPORT, PLAIN]).pack(question, 3000)

    assert context.mode == "overview"
    assert {passage.name for passage in context.passages} == {"people.csv", "report.md", "plain.txt"}
    assert context.notes[0].startswith("overview")


def test_an_overview_is_spread_over_sections():
    context = PassageIndex([REPORT]).pack("Give me a summary", 3000)

    assert sum(f"about topic{n}." in context.text for n in range(1, 9)) >= 6


def test_a_question_without_a_match_gets_an_overview():
    assert PassageIndex([REPORT, PLAIN]).pack("zebra?", 1000).mode == "overview"


def test_a_summary_of_something_named_is_looked_for():
    context = PassageIndex([REPORT, PLAIN]).pack("Summarise what is said on topic5", 800)

    assert context.mode == "passages"
    assert "about topic5" in context.text


def test_ten_thousand_documents_are_no_obstacle():
    documents = [Document(f"Note {n} speaks of thing{n} at some length.", name=f"{n}.txt") for n in range(10_000)]
    index = PassageIndex(documents)

    assert "thing7777" in index.pack("thing7777", 1000).text
    assert index.rank("thing42", 1) == [42]
    assert any("9,99" in note and "more" in note for note in index.pack("thing7777", 1000).notes)
    assert len(index.pack("Summarise all files", 1000).text) <= 1000


@pytest.mark.parametrize(
    ("document", "card"),
    [
        (Document('a,b,c\n1,"x\ny",3\n4,5,6\n', name="q.csv"), "2 records, 3 columns: a, b, c"),
        (Document("a\tb\n1\t2\n", name="t.tsv"), "1 records, 2 columns: a, b"),
        (Document("[1, 2, 3]", name="l.json"), "a list of 3 items"),
        (Document('{"rows": [1, 2]}', name="o.json"), "an object of 1 keys; rows: 2 items"),
        (Document("{}\n{}\n", name="l.jsonl"), "2 records"),
        (Document("[" * 100_000, name="deep.json"), ""),
        (Document("x,y,z\n1,2,3\n4,5,6\n7,8,9\n"), "3 records, 3 columns: x, y, z"),
        (Document("Dear all, hello, bye.\nWe met, as planned, today.\nIt rained, a lot, too.\nEnd, of, it.\n"), ""),
        (Document("plain", name="a.txt"), ""),
    ],
)
def test_a_card_counts_without_reading(document: Document, card: str):
    assert table_card(document) == card


@pytest.mark.parametrize(
    ("question", "all_of_it", "count"),
    [
        ("Summarize the document", True, False),
        ("What is this file about?", True, False),
        ("How many rows are in the table?", True, True),
        ("Which columns are there?", True, True),
        ("How many moons does Jupiter have?", False, False),
        ("Summarise the termination clause", False, False),
        ("What is the total price?", False, False),
    ],
)
def test_what_a_question_asks_for(question: str, all_of_it: bool, count: bool):
    assert (asks_for_all(question), asks_for_count(question)) == (all_of_it, count)
