"""What an answer cites is looked up, and what it makes up is flagged."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway_core.rag import Passage, check_citations

PASSAGES = (
    Passage(1, 0, "manual.pdf", 10, 90, "The safety valve opens at 7.5 bar and was built by Hermann Kessler.", "p. 3"),
    Passage(2, 1, "log.txt", 0, 70, "On 4 March 2019 the boiler was repaired for 1,200 euro in Lisbon."),
)


def found(answer: str, question: str = "") -> list[tuple[str, str]]:
    return [(finding.kind, finding.text) for finding in check_citations(answer, PASSAGES, question).unsupported]


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("It opens at 7.5 bar [1].", [1]),
        ("Both [1, 2].", [1, 2]),
        ("Both [1][2].", [1, 2]),
        ("Both [1-2].", [1, 2]),
        ("A footnote [^1].", [1]),
        ("Full width 【2】 and ［1］.", [2, 1]),
        ("By word [passage 2].", [2]),
        ("No citation: a[1](x) is a link, `row[1]` is code.", []),
    ],
)
def test_citations_are_read_however_they_are_written(answer: str, numbers: list[int]):
    assert [citation.n for citation in check_citations(answer, PASSAGES).citations] == numbers


def test_a_citation_leads_back_to_document_place_and_span():
    citation = check_citations("It opens at 7.5 bar [1].", PASSAGES).citations[0]

    assert (citation.document, citation.name, citation.place) == (0, "manual.pdf", "p. 3")
    assert (citation.passage_start, citation.passage_end) == (10, 90)


def test_a_number_that_was_never_given_is_reported():
    grounding = check_citations("It opens at 7.5 bar [1], surely [7].", PASSAGES)

    assert grounding.invalid == (7,)
    assert grounding.cited == {1}


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ("The valve opens at 7.5 bar [1].", ""),
        ("The boiler was repaired for 1200 euro [2].", ""),
        ("It says “the safety valve opens at 7.5 BAR” [1].", ""),
        ("According to the log, the Lisbon boiler was repaired [2]", ""),
        ("The Neptun pump opens its safety valve at 7.5 bar [1].", "When does the Neptun pump open?"),
    ],
)
def test_what_the_passage_says_is_not_flagged(answer: str, question: str):
    assert found(answer, question) == []


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ("The safety valve opens at 9.5 bar [1].", "number", "9.5"),
        ("The safety valve was built by Rosa Blum [1].", "name", "Rosa Blum"),
        ("It says “the safety valve must never be opened” [1].", "quote", "the safety valve must never be opened"),
        (
            "Gardens need water, sun, patience and skill [1].",
            "sentence",
            "Gardens need water, sun, patience and skill [1]",
        ),
    ],
)
def test_what_it_does_not_say_is_flagged(answer: str, kind: str, text: str):
    assert (kind, text) in [(k, t.rstrip(" .")) for k, t in found(answer)]


def test_the_passage_that_does_hold_it_is_suggested():
    finding = check_citations("The boiler was repaired in Lisbon [1].", PASSAGES).unsupported[0]

    assert finding.suggested == 2


def test_a_citation_after_the_full_stop_belongs_to_the_sentence_before():
    answer = "The safety valve of the pump opens at 7.5 bar. [1] The boiler itself was repaired in Lisbon. [2]"

    assert found(answer) == []


def test_an_answer_in_another_language_is_not_blamed_for_its_words():
    assert found("Das Ventil öffnet sich bei 7.5 bar und wurde nicht von der Firma geliefert [1].") == []


def test_the_result_can_be_sent_as_json():
    shown = check_citations("It opens at 9 bar [1] [5].", PASSAGES).as_dict()

    assert json.loads(json.dumps(shown))["invalid_citations"] == [5]
    assert shown["numbers_ok"] is False


@settings(deadline=None)
@example("a2【1]1")
@given(st.text(alphabet=st.sampled_from("ab. [1]2,^【】“”`\n"), max_size=200))
def test_law_every_finding_is_a_span_of_the_answer(answer: str):
    grounding = check_citations(answer, PASSAGES)

    assert all(answer[f.start : f.end] == f.text for f in grounding.unsupported)
    assert all(0 <= c.start < c.end <= len(answer) for c in grounding.citations)
