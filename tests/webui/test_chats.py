"""Conversations on disk."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from gateway_core import Document
from webui.chats import FOLDER, ChatStore, NoSuchChat, title_of
from webui.exports import EXPORTS, as_json, as_markdown, as_notebook, file_name


@pytest.fixture
def store(tmp_path: Path) -> ChatStore:
    ticks = iter(range(1000))
    return ChatStore(tmp_path / "state", lambda: float(next(ticks)))


def kept(store, *texts, title=None):
    chat = store.new()
    for number, text in enumerate(texts):
        store.change(chat.id, adding(text, "assistant" if number % 2 else "user"))
    if title is not None:
        store.rename(chat.id, title)
    return store.get(chat.id)


def adding(text, role="user"):
    return lambda chat: chat.turns.append({"role": role, "text": text})


def test_a_conversation_outlives_its_store(tmp_path, store):
    chat = kept(store, "What is the capital of France?", "Paris.")

    found = ChatStore(tmp_path / "state").get(chat.id)

    assert (found.title, found.turns) == ("What is the capital of France?", chat.turns)


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX systems")
def test_nobody_else_may_read_a_conversation(tmp_path, store):
    chat = kept(store, "secret")
    store.add_document(chat.id, Document("private", name="a.txt"))

    paths = [tmp_path / "state" / FOLDER, *(tmp_path / "state" / FOLDER).rglob("*")]
    assert len(paths) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()} == {0o700}


def test_the_newest_conversation_comes_first(store):
    first, second = kept(store, "one"), kept(store, "two")
    store.change(first.id, adding("again"))

    assert [told["id"] for told in store.summaries()] == [first.id, second.id]


def test_a_search_finds_all_words_wherever_they_stand_and_shows_the_place(store):
    kept(store, "How do I bake bread?", "With flour, water and PATIENCE.")
    kept(store, "bread and butter")

    assert [told["hit"] for told in store.summaries("patience bread")] == ["…water and PATIENCE."]


def test_a_damaged_conversation_hides_no_other(tmp_path, store):
    kept(store, "fine")
    broken = kept(store, "broken")
    (tmp_path / "state" / FOLDER / broken.id / "chat.json").write_text('{"id": 3')

    assert [told["title"] for told in store.summaries()] == ["fine"]


def test_a_renamed_conversation_keeps_its_name_when_it_goes_on(store):
    chat = kept(store, "one", title="My talk")
    store.change(chat.id, adding("two"))

    assert store.get(chat.id).title == "My talk"


@pytest.mark.parametrize("name", ["..", "../../etc/passwd", "", "0" * 15, "0" * 16 + "/..", "ABCDEF0123456789", "0\0"])
def test_nothing_but_an_id_of_ours_is_looked_for(store, name):
    with pytest.raises(NoSuchChat):
        store.get(name)


def test_erasing_leaves_no_file(tmp_path, store):
    chat = kept(store, "one")
    store.add_document(chat.id, Document("text", name="a.txt"))

    store.erase()

    assert not (tmp_path / "state" / FOLDER).exists()
    assert store.summaries() == []


def test_documents_come_back_as_they_were_read(store):
    chat = kept(store, "one")
    document = Document("text", name="a.pdf", kind="pdf", warnings=("a page is empty",), places=((0, "p. 1"),))
    told = store.add_document(chat.id, document)

    assert store.documents(store.get(chat.id)) == [document]
    store.remove_document(chat.id, told["id"])
    assert store.documents(store.get(chat.id)) == []


@pytest.mark.parametrize(
    ("text", "title"),
    [
        pytest.param("  Hello\n\nworld ", "Hello world", id="on one line"),
        pytest.param("word " * 50, "word " * 10 + "word…", id="cut between words"),
        pytest.param("\u202e\x00\x07", "New chat", id="nothing that can be read"),
    ],
)
def test_a_title_is_one_short_line(text, title):
    assert title_of(text) == title


class TestExports:
    @pytest.fixture
    def chat(self, store):
        chat = kept(store, "Who built it?", "Meyer did [1].", title="Houses & <more>")
        chat = store.get(chat.id)
        source = {"n": 1, "document": "a.txt", "place": "p. 2", "text": "Meyer```built", "cited": True}
        chat.turns[1]["about"] = {"backend": "cloud", "model": "m", "why": "copilot: broke off", "sources": [source]}
        return chat

    def test_markdown_tells_who_answered_and_from_what(self, chat):
        told = as_markdown(chat)

        assert "*cloud · m · copilot: broke off*" in told
        assert "[1] a.txt, p. 2\n\n````text\nMeyer```built\n````" in told

    @pytest.mark.parametrize("write", [as_markdown, as_notebook])
    @pytest.mark.parametrize("image", ["![x](http://evil.example/?q=1)", "![x][1]", "<img src=//evil.example>"])
    def test_no_image_is_fetched_by_whoever_opens_it(self, chat, write, image):
        chat.title = chat.turns[1]["text"] = f"see {image} there"
        chat.turns[1]["about"] = {"backend": "cloud", "model": image, "sources": [
            {"n": 1, "document": image, "place": image, "text": "quoted", "cited": True}
        ]}  # fmt: skip
        if write is as_markdown:  # in a notebook the question is a cell of code
            chat.turns[0]["text"] = image
        written = write(chat)

        assert image not in written
        assert written.count(image[1:]) == (6 if write is as_markdown else 3)  # it can still be read

    def test_an_open_code_block_ends_with_its_turn(self, chat):
        chat.turns[1]["text"] = "```python\nx = 1"
        chat.turns += [{"role": "user", "text": "And?"}, {"role": "assistant", "text": "```\n![x](http://a)\n```"}]

        assert "```python\nx = 1\n```\n\n*cloud" in as_markdown(chat)
        assert json.loads(as_notebook(chat))["cells"][3]["source"][2] == "```\n"

    def test_json_holds_everything(self, chat):
        assert json.loads(as_json(chat))["turns"] == chat.turns

    def test_the_notebook_is_a_valid_one(self, chat):
        nbformat = pytest.importorskip("nbformat")
        notebook = nbformat.reads(as_notebook(chat), as_version=4)

        nbformat.validate(notebook)
        assert notebook.cells[2].source == "%%ai --raw -c chat\nWho built it?"

    def test_file_names_are_plain(self, chat):
        assert {file_name(chat, ending) for ending in EXPORTS} == {
            "houses-more.md",
            "houses-more.json",
            "houses-more.ipynb",
        }
