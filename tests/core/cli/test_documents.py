"""Files as documents: read as text, named in every complaint, listed under the answer that cites them."""

import io
import re

import pytest

from gateway_core.cli.reading import Loading
from gateway_core.cli.terminal import Terminal
from gateway_core.compose import Composer
from gateway_core.testing import ScriptedTier
from gateway_core.tiers.extractive import ExtractiveTier

POLICY = "Refund policy: customers may return items within 30 days.\nShipping takes two days."


def test_a_file_is_sent_with_the_question_and_listed_under_the_answer(cli, tmp_path):
    (tmp_path / "policy.txt").write_text(POLICY)
    tier = ScriptedTier("copilot", ["Within 30 days [1]."])
    ran = cli("ask", "What about refunds?", "-d", "policy.txt", tiers=[tier])

    assert "within 30 days" in tier.prompts[0].messages[-1].content
    assert (ran.code, ran.out) == (0, "Within 30 days [1].\n")
    assert ran.err == "[1] policy.txt\n"


def test_passages_that_the_answer_does_not_cite_are_listed_as_sent(cli, tmp_path):
    (tmp_path / "policy.txt").write_text(POLICY)
    ran = cli("ask", "What about refunds?", "-d", "policy.txt", tiers=[ScriptedTier("copilot", ["No idea."])])

    assert "passages sent, none of them cited:\n[1] policy.txt" in ran.err


def test_a_document_can_come_from_standard_input_beside_a_prompt(cli):
    tier = ScriptedTier("copilot", ["Within 30 days [1]."])
    cli("ask", "What about refunds?", "-d", "-", tiers=[tier], stdin=POLICY.encode())

    assert "within 30 days" in tier.prompts[0].messages[-1].content


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_text_is_read_as_editors_and_shells_write_it(cli, tmp_path, encoding):
    (tmp_path / "a.txt").write_text("Nîmes is in France.", encoding=encoding)
    tier = ScriptedTier("copilot", ["France [1]."])
    cli("ask", "Where is Nîmes?", "-d", "a.txt", tiers=[tier])

    sent = tier.prompts[0].messages[-1].content
    assert "Nîmes is in France." in sent
    assert "\ufeff" not in sent


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"\x00\x01\x02", "a.bin", id="binary"),
        pytest.param(b"\xff\xfea", "a.bin", id="half a UTF-16 unit"),
    ],
)
def test_a_file_that_is_no_text_is_refused_by_name(cli, tmp_path, content, told):
    (tmp_path / "a.bin").write_bytes(content)
    tier = ScriptedTier("copilot")
    ran = cli("ask", "hi", "-d", "a.bin", tiers=[tier])

    assert (ran.code, ran.out, tier.calls) == (2, "", 0)
    assert told in ran.err


def test_a_folder_is_refused_by_name(cli, tmp_path):
    (tmp_path / "papers").mkdir()
    ran = cli("ask", "hi", "-d", "papers", tiers=[ScriptedTier("copilot")])

    assert ran.code == 2
    assert "papers: cannot be read" in ran.err


def test_a_missing_file_is_a_problem_in_json_that_names_the_field(cli):
    ran = cli("ask", "hi", "--json", "-d", "missing.txt", tiers=[ScriptedTier("copilot")])

    assert ran.code == 2
    assert (ran.json["status"], ran.json["field"]) == (422, "documents")


def test_with_nothing_set_up_the_documents_are_quoted_and_it_is_said_that_no_model_answered(cli, tmp_path, monkeypatch):
    (tmp_path / "policy.txt").write_text(POLICY)
    monkeypatch.setenv("COPILOT_USE_GH", "0")
    monkeypatch.setenv("COPILOT_EDITOR_LOGIN", "0")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:9")
    ran = cli("ask", "What about refunds?", "-d", "policy.txt")

    assert ran.code == 0
    assert ran.out.startswith("No AI model could answer.")
    assert "return items within 30 days" in ran.out
    assert "no AI model answered" in ran.err


class Screen(io.StringIO):
    """A terminal that shows its last line as a person sees it."""

    def isatty(self):
        return True

    @property
    def line(self):
        shown = []
        for part in self.getvalue().split("\r"):
            shown[: len(part)] = part
        return "".join(shown).rstrip()


def load_slowly(err):
    terminal = Terminal(None, io.StringIO(), err)
    moments = iter([0.0, 0.1, 0.7, 1.4])
    return Loading(terminal, lambda: next(moments)), terminal


def test_a_long_load_says_how_far_it_is_and_then_leaves_no_trace():
    screen = Screen()
    loading, _ = load_slowly(screen)
    seen = []
    for done, name in enumerate(["a.pdf", "b\x1b[2J.pdf", "c.pdf", "d.pdf"], 1):
        loading(done, 4, name)
        seen.append(screen.line)

    assert seen == ["", "2 of 4 files read: b␛[2J.pdf", "3 of 4 files read: c.pdf", ""]


def test_what_is_told_in_the_midst_of_a_load_stands_alone():
    screen = Screen()
    loading, terminal = load_slowly(screen)
    loading(1, 4, "a.pdf")
    loading(2, 4, "b.pdf")
    terminal.tell("stopped")

    assert screen.line == "stopped"


def test_a_load_says_nothing_in_a_pipe():
    pipe = io.StringIO()
    loading, _ = load_slowly(pipe)
    loading(3, 4, "c.pdf")

    assert pipe.getvalue() == ""


@pytest.mark.parametrize(
    ("question", "code", "told"),
    [
        pytest.param("How many people?", 0, "people.csv (159 records, 3 columns: id, name, city)", id="a count"),
        pytest.param("Summarise this file.", 0, "people.csv (159 records, 3 columns: id, name, city)", id="all of it"),
        pytest.param("Where does person 7 live?", 0, "7,person 7,town 0", id="a match"),
        pytest.param("What of the zebra?", 3, "no passage of your documents matches", id="no match"),
    ],
)
def test_without_a_model_the_documents_answer_or_the_exit_code_says_that_they_cannot(
    cli, tmp_path, question: str, code: int, told: str
):
    rows = "".join(f"{n},person {n},town {n % 7}\n" for n in range(1, 160))
    (tmp_path / "people.csv").write_text(f"id,name,city\n{rows}")
    ran = cli("ask", question, "-d", "people.csv", "--json", tiers=[ExtractiveTier(Composer().quotes)])

    assert (ran.code, ran.json["details"]["mode"]) == (code, "extractive")
    assert told in ran.json["response"]
    assert bool(ran.json["details"]["sources"]) == (code == 0)


def test_standard_input_is_cited_by_its_lines(cli):
    log = "".join(f"event {n} is dull\n" for n in range(1, 900)) + "the pump failed at noon\n"
    ran = cli(
        "ask", "When did the pump fail?", "-d", "-", tiers=[ScriptedTier("copilot", ["Noon [1]."])], stdin=log.encode()
    )

    assert re.search(r"standard input line 8\d\d to 900\b", ran.err), ran.err


def test_a_folder_stands_for_its_files(cli, tmp_path):
    (tmp_path / "docs/deep/.git").mkdir(parents=True)
    for name, text in {
        "a.md": POLICY,
        "deep/b.txt": "Opening hours.",
        "deep/.git/c": "secret",
        ".env": "secret",
    }.items():
        (tmp_path / "docs" / name).write_text(text)
    tier = ScriptedTier("copilot", ["Within 30 days [1]."])
    ran = cli("ask", "What about refunds?", "-d", "docs", tiers=[tier])

    sent = tier.prompts[0].messages[-1].content
    assert ("within 30 days" in sent, "Opening hours" in sent, "secret" in sent) == (True, True, False)
    assert (ran.code, ran.err.splitlines()[0]) == (0, "docs: 2 files of this folder")


def test_a_folder_of_too_much_or_nothing_is_refused(cli, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "many").mkdir()
    for n in range(1_001):
        (tmp_path / "many" / f"{n}.txt").touch()
    empty, many = (cli("ask", "hi", "-d", name, tiers=[ScriptedTier("copilot")]) for name in ("empty", "many"))

    assert (empty.code, many.code) == (2, 2)
    assert "empty: cannot be read (a folder without a file)" in empty.err
    assert "many: a folder of more than 1,000 files" in many.err
