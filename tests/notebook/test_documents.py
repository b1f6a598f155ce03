"""Variables, files and expressions as documents, with places that citations lead back to."""

from __future__ import annotations

import collections
import dataclasses
import io
import textwrap
from enum import Enum
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from IPython.core.error import UsageError

from gateway_core import Document
from gateway_core.testing import ScriptedTier
from notebook_ext.documents import Library
from notebook_ext.files import Refused

ROWS = 100_000
CITIES = ["Oslo", "Bergen", "Turku", "Aarhus", "Malmö"]


def read(expression: str, question: str = "What is it?", **names: Any) -> tuple[Document, ...]:
    return Library(names, lambda text: eval(text, {}, names)).read([expression], question).documents


def text_of(value: Any, question: str = "What is it?") -> str:
    return "\n".join(document.text for document in read("value", question, value=value))


def a_function(limit: int) -> str:
    """Tells the limit."""
    return f"at most {limit}"


@dataclasses.dataclass
class Config:
    host: str
    ports: list[int]


class Colour(Enum):
    RED = 1


class Plain:
    def __init__(self) -> None:
        self.rate = 0.5
        self._inner = "hidden"
        self.password = "hidden"

    @property
    def costly(self) -> str:
        raise AssertionError("a property was called")

    def __repr__(self) -> str:
        raise AssertionError("repr was called")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("Refunds within 30 days.", "Refunds within 30 days.", id="text"),
        pytest.param("naïve".encode("cp1252"), "naïve", id="bytes"),
        pytest.param("café".encode("utf-16"), "café", id="utf-16"),
        pytest.param(["one", "two"], "one\ntwo", id="list of texts"),
        pytest.param([1, 2, 3], "1, 2, 3", id="list of numbers"),
        pytest.param({"a": {"b": [1, 2]}, "c": "x"}, "value.a.b: [1, 2]\nvalue.c: x", id="dictionary"),
        pytest.param(collections.OrderedDict(a=1), "value.a: 1", id="mapping"),
        pytest.param(Config("db", [1, 2]), "value.host: db\nvalue.ports: [1, 2]", id="dataclass"),
        pytest.param(42, "value: 42", id="number"),
        pytest.param(Colour.RED, "value: Colour.RED", id="enum"),
        pytest.param(Document("ready", name="n"), "ready", id="document"),
    ],
)
def test_plain_values(value, expected):
    assert text_of(value) == expected


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        pytest.param(pd.DataFrame({"city": ["Oslo"], "n": [3]}), ["city=Oslo; n=3", "1 rows, 2 columns"], id="pandas"),
        pytest.param(pl.DataFrame({"city": ["Oslo"], "n": [3]}), ["city=Oslo; n=3", "city (String)"], id="polars"),
        pytest.param([{"city": "Oslo"}, {"n": 3}], ["city=Oslo", "n=3", "2 rows"], id="records"),
        pytest.param(pd.DataFrame({"n": [1, 2]}, index=["ada", "bob"]), ["index=ada; n=1"], id="labelled rows"),
        pytest.param(pd.DataFrame([[1, 2]], columns=["n", "n"]), ["n=1; n (1)=2"], id="equal columns"),
        pytest.param(pd.DataFrame({"n": [None, 2.0]}), ["50 % empty", "from 2 to 2"], id="empty cells"),
        pytest.param(
            pd.DataFrame({"day": pd.to_datetime(["2024-03-01", "2019-12-31"]), "n": [1_234_567_890, 2]}),
            ["from 2019-12-31 00:00:00 to 2024-03-01 00:00:00", "from 2 to 1234567890, mean 617283946"],
            id="dates and long numbers",
        ),
        pytest.param(pl.DataFrame({"x": [0.123456789012, 3.0]}), ["from 0.123456789012 to 3,"], id="long fractions"),
        pytest.param(
            pd.DataFrame({"c": ["a", "a", "b"]}), ["2 different, most often a (2), b (1)"], id="common values"
        ),
        pytest.param(pd.DataFrame({"c": ["a", "b"]}), ["): 2 different\n"], id="unique values"),
        pytest.param(pd.DataFrame({"password": ["s3cret"]}), ["password=(hidden)"], id="hidden column"),
        pytest.param(pd.Series([1, 2], name="n"), ["shape (2,)", "from 1 to 2", "0: 1"], id="series"),
        pytest.param(pl.Series("n", [1, 2]), ["from 1 to 2", "1, 2"], id="polars series"),
        pytest.param(pd.Series(range(100_000)).to_numpy(), ["shape (100000,)", "..."], id="long array"),
        pytest.param(a_function, ["def a_function", "at most"], id="function"),
        pytest.param(Config, ["class Config", "ports: list[int]"], id="class"),
        pytest.param(textwrap, ["def dedent("], id="module"),
        pytest.param(len, ["(obj, /)", "number of items"], id="built-in"),
        pytest.param(Plain(), ["Plain", "rate: 0.5", "password: (hidden)"], id="object"),
    ],
)
def test_rich_values(value, parts):
    text = text_of(value)

    assert all(part in text for part in parts), text
    assert "s3cret" not in text
    assert "_inner" not in text


def test_a_figure_is_read_by_its_words():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    axes.plot([1, 2], label="sales")
    axes.set(title="Sales by year", xlabel="year")
    axes.legend()

    assert all(part in text_of(figure) for part in ["title: Sales by year", "x: year", "legend: sales"])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param(None, "value is None", id="nothing"),
        pytest.param((n for n in [1]), "is a generator", id="generator"),
        pytest.param([], "is empty", id="empty list"),
        pytest.param("  ", "no text", id="blank"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0", "is a PNG image", id="binary"),
        pytest.param(["x"] * 10_001, "at most 10,000", id="too many"),
        pytest.param(io.StringIO("text"), "without a path", id="open file without a path"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(value, told):
    with pytest.raises(Refused, match=told):
        read("value", value=value)


def test_the_word_none_is_told_as_such():
    with pytest.raises(Refused, match=r"^None holds no text$"):
        read("None")


@pytest.mark.parametrize(
    ("question", "told"),
    [
        pytest.param("Which has the id 29417?", "of 30,000 rows the only one that matches the question was searched"),
        pytest.param(
            "Which zebra?", "none of 30,000 rows matches the question's words; only the overview was searched"
        ),
    ],
)
def test_what_was_searched_of_a_large_table_is_told_in_plain_words(question: str, told: str):
    (document,) = read("df", question, df=pd.DataFrame({"n": range(30_000)}))

    assert document.warnings == (told,)


def test_patterns_of_names_and_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "one.md").write_text("first", encoding="utf-8")
    (tmp_path / "docs" / "deep" / "two.md").write_text("second", encoding="utf-8")
    (tmp_path / "docs" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")

    assert [d.text for d in read("note*", note_a="A", note_b="B", other="C", _note="D")] == ["A", "B"]
    assert [d.name for d in read("docs/**/*.md")] == ["docs/deep/two.md", "docs/one.md"]
    assert [d.text for d in read("docs/one.md")] == ["first"]
    assert read("path", path=Path("docs/one.md"))[0].text == "first"
    assert read("text", text="docs/one.md")[0].text == "docs/one.md"
    found = Library({}, eval).read(["docs/*"], "?")
    assert ([d.name for d in found.documents], len(found.notes)) == (["docs/one.md"], 1)


def test_no_path_of_this_machine_reaches_a_name(tmp_path):
    (tmp_path / "notes.md").write_text("text", encoding="utf-8")

    assert [d.name for d in read(str(tmp_path / "notes.md"))] == ["notes.md"]


def test_a_variable_wins_over_a_file_and_a_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("file", encoding="utf-8")

    assert read("notes", notes="variable")[0].text == "variable"


def test_expressions_read_the_notebook():
    assert read("notes[1]", notes=["a", "b"])[0].text == "b"
    assert read("[n for n in notes if n > 'a']", notes=["a", "b"])[0].text == "b"


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("notse", "did you mean notes"),
        ("notes[9]", "notes\\[9\\]: IndexError"),
        ("notes +", "SyntaxError"),
        ("missing.md", "no variable or file"),
        ("https://example.org/?token=x", "https://example.org/ is not fetched"),
        ("nothing*", "no variable or file|no variable, no file"),
        (".", "is a folder"),
    ],
)
def test_what_cannot_be_found_is_told_in_one_line(expression, told):
    with pytest.raises(Refused, match=told) as refused:
        read(expression, notes=["a"])
    assert "\n" not in str(refused.value)


def test_equal_names_are_told_apart():
    found = Library({"a": "one"}, lambda text: "two").read(["a", "a"], "?").documents

    assert [d.name for d in found] == ["a", "a (2)"]


def test_a_typo_is_a_usage_error_in_a_cell(notebook):
    notebook.answer_with(tier := ScriptedTier("copilot"))
    notebook.run("notes = ['a']")
    ran = notebook.run("%%ai_rag -d notse\nWhat?")

    assert isinstance(ran.error, UsageError)
    assert ran.err.strip() == "UsageError: notse: no variable or file of that name; did you mean notes?"
    assert tier.calls == 0


def test_source_lines_are_places(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["It is 30 [1]."]))
    notebook.run("def limit():\n    # customers\n    return 30")
    notebook.run("%%ai_rag answer -d limit\nWhat is the limit?")

    (source,) = notebook["answer"].sources
    assert (source.document, source.cited, source.place) == ("limit", True, "line 1 to line 3")


LARGE = {
    "pandas": lambda rows: pd.DataFrame(rows),
    "polars": lambda rows: pl.DataFrame(rows),
    "list of dicts": lambda rows: rows,
}


@pytest.mark.parametrize("kind", LARGE)
def test_one_row_among_100_000_answers_and_is_cited(notebook, kind, asked):
    rows = [{"order": 100_000 + n, "city": CITIES[n % 5], "paid": f"2024-{n % 12 + 1:02}-03"} for n in range(ROWS)]
    rows[47_110]["city"] = "Reykjavík"
    notebook.answer_with(tier := ScriptedTier("copilot", ["To Reykjavík [2]."]))
    notebook["df"] = LARGE[kind](rows)
    notebook["notes"] = "Orders leave on Mondays."
    Path("docs").mkdir()
    Path("docs/guide.md").write_text("# Guide\n\nParcels take three days.", encoding="utf-8")
    ran = notebook.run("%%ai_rag answer -d df -d notes* -d 'docs/**/*.md'\nTo which city did order 147110 go?")

    assert ran.error is None
    assert "order=147110; city=Reykjavík" in asked(tier)
    row = next(s for s in notebook["answer"].sources if "147110" in s.text)
    assert row.document == "df"
    assert "row 47110" in row.place
    assert ran.out.count("of 100,000 rows the") == 1
    assert "df: of 100,000 rows the" in ran.out


def test_places_of_passages_span_rows(notebook):
    notebook.answer_with(ScriptedTier("copilot", ["All [1]."]))
    notebook["df"] = pd.DataFrame({"city": CITIES})
    notebook.run("%%ai_rag answer -d df\nWhich cities?")

    assert notebook["answer"].sources[0].place == "overview to row 4"
