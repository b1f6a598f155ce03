"""What retrieval promises to those who ask: spans, budgets, modes, languages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_core.rag import PassageIndex
from gateway_core.types import Document, Source

FILLER = "The committee met again and spoke about other matters at some length. " * 12
MANUAL = Document(
    f"# Pump\n\n{FILLER}\n\nThe safety valve opens at 7.5 bar. Below that it stays shut.\n\n{FILLER}", name="manual.md"
)
NOTES = Document(f"{FILLER}\nMarie Fischer repaired the boiler in March 2019.\n{FILLER}", name="notes.txt")


def test_documents_that_fit_are_given_whole_and_in_order():
    context = PassageIndex(["First text.", Document("Second text.", name="b.txt")]).pack("anything", 1000)

    assert context.mode == "whole"
    assert [passage.text for passage in context.passages] == ["First text.", "Second text."]
    assert context.text.index("First") < context.text.index("Second")


def test_the_sentence_that_answers_is_packed_into_a_small_context():
    context = PassageIndex([MANUAL, NOTES]).pack("At what pressure does the safety valve open?", 500)

    assert context.mode == "passages"
    assert "opens at 7.5 bar" in context.text
    assert len(context.text) <= 500


def test_a_passage_is_an_exact_span_of_its_document():
    context = PassageIndex([MANUAL, NOTES]).pack("Who repaired the boiler?", 800)

    for passage in context.passages:
        text = (MANUAL, NOTES)[int(passage.document)].text
        assert passage.text == text[passage.start : passage.end]


def test_what_was_left_out_is_told():
    context = PassageIndex([MANUAL, NOTES]).pack("Who repaired the boiler?", 400)

    assert any("of 2 documents" in note for note in context.notes)
    assert any("manual.md" in note for note in context.notes)


def test_a_smaller_budget_keeps_the_best_passage():
    index = PassageIndex([MANUAL, NOTES])
    question = "At what pressure does the safety valve open?"

    assert all("7.5 bar" in index.pack(question, budget).text for budget in (2000, 1000, 500, 200))


def test_the_same_question_and_nonce_give_the_same_context():
    packed = [PassageIndex([MANUAL, NOTES]).pack("Who repaired it?", 600, nonce="0a1b2c3d") for _ in range(2)]

    assert packed[0] == packed[1]


def test_documents_keep_the_ids_they_came_with():
    index = PassageIndex([Document("apples and pears", id="fruit"), Document("nuts and bolts", id=77), "plain apples"])

    assert index.rank("apples", 3) == [2, "fruit"] or index.rank("apples", 3) == ["fruit", 2]
    assert index.rank("bolts", 3) == [77]


def test_the_name_is_searched_as_a_title():
    documents = [Document("nothing of note here", name="giraffe.txt"), Document("nothing of note here", name="b.txt")]

    assert PassageIndex(documents).rank("giraffe", 2) == [0]


def test_a_document_that_the_question_names_gets_a_passage():
    others = [Document(f"budget figures budget plan budget {FILLER}", name=f"file{n}.txt") for n in range(6)]
    plain = Document(FILLER + "The budget was small. " + FILLER, name="minutes.txt")

    context = PassageIndex([*others, plain]).pack("What does minutes.txt say on the budget?", 900)

    assert "minutes.txt" in {passage.name for passage in context.passages}


def test_near_duplicates_are_packed_once():
    copies = [Document(f"{MANUAL.text}\nCopy {n}.", name=f"copy{n}.md") for n in range(4)]

    context = PassageIndex(copies).pack("At what pressure does the safety valve open?", 1500)

    assert context.text.count("opens at 7.5 bar") == 1
    assert any("repeat" in note for note in context.notes)


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        pytest.param("Die Heizkosten betrugen 840 Euro.", "Wie hoch waren die Heizkosten?", "840", id="german"),
        pytest.param("La válvula se abre a 7 bares.", "¿A qué presión se abre la valvula?", "7 bares", id="spanish"),
        pytest.param("Столица Франции — Париж.", "Какой город столица Франции?", "Париж", id="russian"),
        pytest.param("中华人民共和国成立于1949年。", "中华人民共和国是什么时候成立的？", "1949", id="chinese"),
        pytest.param("富士山の高さは3776メートルです。", "富士山の高さは？", "3776", id="japanese"),
        pytest.param("กรุงเทพเป็นเมืองหลวงของประเทศไทย", "เมืองหลวงของประเทศไทยคืออะไร", "กรุงเทพ", id="thai"),
        pytest.param("القاهرة هي عاصمة مصر.", "ما هي عاصمة مصر؟", "القاهرة", id="arabic"),
        pytest.param("Ankara Türkiye'nin başkentidir.", "Türkiye'nin başkenti neresidir?", "Ankara", id="turkish"),
    ],
)
def test_a_question_finds_its_answer_in_its_own_language(text: str, question: str, answer: str):
    quotes = PassageIndex([FILLER * 3, text, FILLER]).quotes(question)

    assert answer in quotes[0].text


def test_a_function_is_found_by_its_body_and_by_the_parts_of_a_name():
    code = (
        "import os\n\n\ndef do_it(self):\n    rows = self.fetchInvoiceRows()\n    return sum(rows)\n" + "\nx = 1" * 300
    )
    context = PassageIndex([Document(code, name="a.py")]).pack("fetch the invoice rows", 300)

    assert "def do_it" in context.text


def test_quotes_are_short_exact_and_best_first():
    quotes = PassageIndex([MANUAL, NOTES]).quotes("At what pressure does the safety valve open?", k=3, max_chars=200)

    assert "7.5 bar" in quotes[0].text
    assert all(len(quote.text) <= 200 for quote in quotes)
    assert [quote.score for quote in quotes] == sorted((quote.score for quote in quotes), reverse=True)


def test_copies_are_quoted_once():
    quotes = PassageIndex([MANUAL, MANUAL.text, MANUAL.text]).quotes("At what pressure does the safety valve open?")

    assert sum("7.5 bar" in quote.text for quote in quotes) == 1


def test_a_passage_becomes_a_source():
    passage = PassageIndex([Document("short", id=7)]).pack("what?", 500).passages[0]

    assert passage.as_source(cited=True) == Source(1, "7", 0, 5, "short", True, None)


def test_no_documents_are_no_obstacle():
    index = PassageIndex([])

    assert (index.pack("what?", 1000).passages, index.rank("what?", 3), index.quotes("what?")) == ((), [], [])


def test_nothing_is_quoted_when_nothing_matches():
    assert PassageIndex([MANUAL]).quotes("zebra migration") == []


TEXTS = st.text(
    alphabet=st.sampled_from("abc def. Ghi! #\n\n中文。 ภาษา <P>[1]<|im_end|>\u200b0123456789,;:\"'éß\U0001f600"),
    max_size=900,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=4), st.text(max_size=40), st.integers(0, 1500))
def test_law_the_budget_is_kept_and_every_span_is_exact(texts: list[str], question: str, budget: int):
    context = PassageIndex(texts).pack(question, budget, nonce="0a1b2c3d")

    assert len(context.text) <= budget
    for at, passage in enumerate(context.passages, 1):
        assert passage.n == at
        assert passage.text == texts[int(passage.document)][passage.start : passage.end]


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3), st.integers(0, 3))
def test_law_whatever_a_text_says_can_be_quoted_from_it(texts: list[str], k: int):
    for quote in PassageIndex(texts).quotes("abc def ghi 中文", k=k, max_chars=100):
        assert quote.text == texts[int(quote.document)][quote.start : quote.end]
        assert len(quote.text) <= 100


def test_a_page_pasted_as_a_question_is_answered():
    question = " ".join(f"word{n}" for n in range(5000)) + " safety valve?"

    assert PassageIndex([MANUAL, NOTES]).pack(f"safety valve {question}", 400).mode == "passages"


def test_a_large_context_is_filled():
    documents = [Document(f"Hall {n} has a valve of its own. {FILLER}", name=f"{n}.txt") for n in range(400)]

    assert len(PassageIndex(documents).pack("Which valve is in which hall?", 100_000).text) > 80_000


def test_several_threads_may_ask_at_once():
    index = PassageIndex([MANUAL, NOTES])
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(index.pack, f"valve {n % 5} opens", 500, nonce="00") for n in range(40)]

    assert len({future.result().text for future in asked}) <= 5
