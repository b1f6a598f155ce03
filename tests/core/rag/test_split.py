"""Where texts are cut: nothing is lost between two pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_core.rag.split import LONGEST_UNIT, Form, blocks, form_of, outline, units

TEXTS = st.text(alphabet=st.sampled_from("ab. C!\n#中。 ก<P> def x():\n0"), max_size=3000)


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["prose", "code", "lines"]))
def test_law_blocks_tile_a_text_and_units_tile_a_block(text: str, form: Form):
    shape = outline(text, {"code": "a.py", "lines": "a.csv", "prose": "a.md"}[form])
    at = 0
    for start, end in blocks(text, shape):
        assert start == at < end
        within = start
        for begin, stop in units(text, start, end, form):
            assert begin == within < stop <= begin + LONGEST_UNIT
            within = stop
        assert within == end
        at = end
    assert at == len(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        pytest.param(
            "It rained all day and all night in the valley. The river rose by a metre.", 2, id="two sentences"
        ),
        pytest.param("Dr. Meyer of Example Inc. was asked about the matter e.g. today.", 1, id="abbreviations"),
        pytest.param("A line that is wrapped\nby hand goes on as one sentence here.", 1, id="a wrapped line"),
        pytest.param(
            "- the first item of a list of things to do\n- second item of a list of things to do", 2, id="a list"
        ),
        pytest.param(
            "第一句话在这里结束了而且足够长可以自己成为一个单位所以我们继续写一些字直到四十个字为止。第二句。",
            2,
            id="chinese",
        ),
    ],
)
def test_units_are_sentences(text: str, pieces: int):
    assert len(units(text, 0, len(text))) == pieces


def test_headings_are_heads_and_the_rest_is_not():
    text = "# One\nbody\n\n## Two\nbody\n\nThree\n=====\nbody"
    shape = outline(text, "a.md")

    assert [text[s:e].splitlines()[0] for s, e in zip(shape.starts, shape.ends, strict=True)] == [
        "# One",
        "## Two",
        "Three",
    ]


def test_definitions_are_the_heads_of_code():
    text = "import os\n\nclass A:\n    def f(self):\n        return 1\n\nasync def g():\n    pass\n"
    shape = outline(text, "a.py")

    assert [text[s:e].strip() for s, e in zip(shape.starts, shape.ends, strict=True)] == [
        "class A:",
        "def f(self):",
        "async def g():",
    ]


def test_code_without_a_name_is_known_by_its_look():
    assert form_of("import os\nfrom x import y\n\ndef f():\n    return 1\n\nclass A:\n    pass\n") == "code"
    assert form_of("We met on Monday.\nIt rained.\nNobody came.\nWe left.\nThe end of it.\n") == "prose"


def test_a_row_of_a_table_is_not_cut_at_its_commas():
    rows = [f"{n},a person with a rather long name {n},some town,another column\n" for n in range(20)]
    text = "".join(rows)

    assert [text[start:end] for start, end in units(text, 0, len(text), outline(text).form)] == rows
