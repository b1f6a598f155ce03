"""What is quoted or packed stands where it is said to stand."""

from __future__ import annotations

import pytest

from gateway_core.compose import Composer
from gateway_core.rag import PassageIndex, load_document
from gateway_core.rag.places import parts, place_of
from gateway_core.types import Document

from . import files

FACT = "The warranty of the pump is 36 months."
PAGES = [f"Page {n} describes the pump and other parts." for n in range(1, 21)]
PAGES[11] = FACT
MANUAL = load_document(("manual.pdf", files.pdf(*PAGES)))
COSTS = load_document(
    ("data.xlsx", files.workbook(Costs=[["item", "cost"], *([f"item{n}", 100 + n] for n in range(50))]))
)
ASKED = "How long is the warranty of the pump?"


def test_a_quote_stands_on_the_page_it_is_cited_from():
    quote = PassageIndex([MANUAL]).quotes(ASKED)[0]

    assert (quote.text, quote.place) == (FACT, "p. 12")
    assert MANUAL.text[quote.start : quote.end] == FACT


@pytest.mark.parametrize("number", [0, 7, 17, 49])
def test_the_row_that_is_asked_for_is_quoted_first_and_alone(number: int):
    quote = PassageIndex([COSTS, MANUAL]).quotes(f"What is the cost of item{number}?")[0]

    assert (quote.text, quote.place) == (f"item=item{number}; cost={100 + number}", f"sheet Costs!A{number + 2}")


@pytest.mark.parametrize("budget", [300, 500, 4000])
def test_a_passage_never_leaves_its_page(budget: int):
    passages = PassageIndex([MANUAL]).pack(ASKED, budget).passages

    assert ("p. 12", FACT) in [(passage.place, passage.text) for passage in passages]
    assert all(passage.text in PAGES for passage in passages)


def test_rows_share_a_passage_that_names_the_first_and_the_last():
    passage = PassageIndex([COSTS]).pack("What is the cost of item17?", 400).passages[0]

    first, last = passage.text.splitlines()[0], passage.text.splitlines()[-1]
    numbers = [int(line.split(";")[0].removeprefix("item=item")) for line in (first, last)]
    assert numbers[0] <= 17 <= numbers[1]
    assert passage.place == f"sheet Costs!A{numbers[0] + 2} to A{numbers[1] + 2}"


def test_sheets_are_not_joined():
    book = load_document(("b.xlsx", files.workbook(One=[["apple", 1], ["pear", 2]], Two=[["plum", 3], ["fig", 4]])))

    context = PassageIndex([book]).pack("fig?", 4000)

    assert [passage.place for passage in context.passages] == ["sheet One", "sheet Two"]


def test_lines_of_code_are_quoted_together():
    code = load_document(("a.py", b"import os\n\n\ndef opened(path):\n    handle = open(path)\n    return handle\n"))

    quote = PassageIndex([code, "Other text."]).quotes("opened path handle")[0]

    assert "def opened" in quote.text
    assert "return handle" in quote.text
    assert quote.place == "line 1 to 6"


def test_pages_without_text_take_no_number():
    document = Document("One.\n\nThree.\n\n", places=((0, "p. 1"), (6, "p. 2"), (6, "p. 3"), (14, "p. 4")))

    assert [place_of(document, start, end) for start, end in parts(document)] == ["p. 1", "p. 3"]


@pytest.mark.parametrize(
    ("start", "end", "place"),
    [(0, 3, "row 1"), (0, 8, "row 1 to 2"), (4, 20, "row 2 to 12"), (0, 0, "row 1"), (8, 20, "row 12")],
)
def test_a_span_is_named_by_its_first_and_last_place(start: int, end: int, place: str):
    document = Document("a=1\nb=2\nc=3\n", places=((0, "row 1"), (4, "row 2"), (8, "row 12")))

    assert place_of(document, start, end) == place


def test_a_first_page_is_not_taken_for_the_beginning_of_a_later_one():
    document = Document("x" * 20, places=((0, "p. 1"), (10, "p. 12")))

    assert place_of(document, 0, 20) == "p. 1 to p. 12"


MARKDOWN = "Before.\n\n# Install\n\nRun pip.\n\n```sh\n# no heading\nls\n```\n\n## Use ##\n\nCall it.\n"


def test_a_passage_of_markdown_is_cited_by_its_headings():
    index = PassageIndex([load_document(("README.md", MARKDOWN.encode()))])

    assert [p.place for p in index.pack("how to call it?", 4000).passages] == [None, "§ Install", "§ Use"]
    assert index.quotes("Call it")[0].place.endswith("§ Use")


@pytest.mark.parametrize("budget", [400, 900, 3000])
def test_headings_change_nothing_of_what_is_found(budget: int):
    text = "".join(f"# Part {n}\n\nThe valve of part {n} opens at {n} bar. It is made of steel.\n\n" for n in range(90))
    plain, placed = Document(text, name="a.md"), load_document(("a.md", text.encode()))
    asked = "At what pressure does the valve of part 41 open?"

    assert [q.text for q in PassageIndex([plain]).quotes(asked)] == [
        q.text for q in PassageIndex([placed]).quotes(asked)
    ]
    context = PassageIndex([placed]).pack(asked, budget)
    assert len(context.text) <= budget
    assert any("opens at 41 bar" in passage.text for passage in context.passages)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param("app.log", "line 3", id="a log"),
        pytest.param("people.csv", "row 2", id="a table"),
        pytest.param("notes of 3.5.2026", None, id="no ending"),
        pytest.param("notes.txt", None, id="prose"),
    ],
)
def test_a_text_sent_with_a_name_has_the_places_of_such_a_file(name: str, place: str | None):
    prompt = Composer().compose("Where is Oslo?", documents=[Document("a,b\n1,Rome\n2,Oslo", name=name)])

    assert prompt.documents[0].place_of(len("a,b\n1,Rome\n")) == place
