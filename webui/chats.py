"""Conversations on this laptop's disk, for its user's eyes only.

Each conversation is a folder under `conversations` in the state folder: `chat.json` with its turns, and one file per
document with the text that was read from it. Files are 0600, folders 0700, and a file is replaced as a whole, so that
a crash leaves the old or the new state, never half of one. Removing the folder `conversations` erases them all.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway_core import Document

FOLDER = "conversations"
LONGEST_TITLE = 60
UNTITLED = "New chat"
TURNS_OF_AN_EXCHANGE = 2
_ID = re.compile(r"[0-9a-f]{16}")
_TURNS = "chat.json"
_BEFORE_A_HIT, _AFTER_A_HIT = 12, 80

Turn = dict[str, Any]


class NoSuchChat(LookupError):
    """There is no conversation, or no document in it, of this name."""


@dataclass(slots=True)
class Chat:
    """One conversation. A turn is `{"role", "text"}`; an answer's has `about` too: who gave it, why, how long it took.

    `documents` tell what was read (`id name kind chars warnings`); their text is kept beside. `choices` are the
    settings of its next question (`tier model local_only system temperature`); `None` if it never had any.
    `dropped` are its turns as they stood before an early one was asked again, until it goes on from there.
    `updated` is when its turns last changed.
    """

    id: str
    title: str = UNTITLED
    created: float = 0.0
    updated: float = 0.0
    turns: list[Turn] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    choices: dict[str, Any] | None = None
    dropped: list[Turn] = field(default_factory=list)

    @property
    def summary(self) -> dict[str, Any]:
        title = self.title
        if title == UNTITLED and self.documents:
            title = title_of(self.documents[0]["name"])
        return {
            "id": self.id,
            "title": title,
            "updated": self.updated,
            "turns": len(self.turns),
            "documents": len(self.documents),
        }

    def cut(self, keep: int | None) -> None:
        """Before a question is asked again: only the first `keep` turns stay. Later exchanges can be brought back."""
        after = 0 if keep is None else len(self.turns) - keep
        if after > TURNS_OF_AN_EXCHANGE:
            self.dropped = list(self.turns)
        elif after <= 0:
            self.dropped = []
        self.turns = self.turns[:keep]

    def swap(self) -> None:
        """Bring back what was dropped; what stands there instead can be brought back in its turn."""
        self.turns, self.dropped = self.dropped, self.turns


class ChatStore:
    """Reads and writes conversations. Every change goes to disk before the method returns.

    Safe to use from several threads. What was deleted or erased stays so, whatever was under way meanwhile.
    """

    def __init__(self, state_dir: Path, now: Callable[[], float] = time.time) -> None:
        self._root = state_dir / FOLDER
        self._now = now
        self._lock = threading.RLock()
        self._known: dict[str, tuple[int, Chat]] = {}  # by id: when its file last changed, and what stood in it

    def new(self) -> Chat:
        """A conversation with nothing in it yet."""
        chat = Chat(secrets.token_hex(8), created=self._now())
        with self._lock:
            self._save(chat)
        return chat

    def get(self, chat_id: str) -> Chat:
        """Raises `NoSuchChat`."""
        found = self._read(self._folder(chat_id))
        if found is None:
            raise NoSuchChat(chat_id)
        return Chat(**asdict(found))

    def change(self, chat_id: str, change: Callable[[Chat], None]) -> Chat:
        """Read, change and write as one step; the conversation as it is then. Raises `NoSuchChat`."""
        with self._lock:
            chat = self.get(chat_id)
            before = list(chat.turns)
            change(chat)
            self._save(chat, is_news=chat.turns != before)
        return chat

    def _save(self, chat: Chat, *, is_news: bool = True) -> None:
        if is_news:
            chat.updated = self._now()
        if chat.title == UNTITLED and chat.turns:
            chat.title = title_of(chat.turns[0]["text"])
        _write(self._folder(chat.id) / _TURNS, asdict(chat))

    def summaries(self, query: str = "") -> list[dict[str, Any]]:
        """Newest first; with a query those that hold all its words, each with the place of a hit."""
        words = query.casefold().split()
        found = []
        for chat in self._all():
            hit = _hit(chat, words) if words else ""
            if hit is not None:
                found.append(chat.summary | {"hit": hit})
        return sorted(found, key=lambda told: -told["updated"])

    def rename(self, chat_id: str, title: str) -> Chat:
        def renamed(chat: Chat) -> None:
            chat.title = title_of(title)

        return self.change(chat_id, renamed)

    def delete(self, chat_id: str) -> None:
        with self._lock:
            folder = self._folder(chat_id)
            if not folder.is_dir():
                raise NoSuchChat(chat_id)
            shutil.rmtree(folder)
            self._known.pop(chat_id, None)

    def erase(self) -> None:
        """Every conversation, and every text read for one."""
        with self._lock:
            shutil.rmtree(self._root, ignore_errors=True)
            self._known.clear()

    # ---- documents

    def add_document(self, chat_id: str, document: Document) -> dict[str, Any]:
        told = {
            "id": secrets.token_hex(8),
            "name": document.name,
            "kind": document.kind,
            "chars": len(document.text),
            "warnings": list(document.warnings),
        }

        def added(chat: Chat) -> None:
            _write(self._folder(chat_id) / f"{told['id']}.json", asdict(document))
            chat.documents.append(told)

        self.change(chat_id, added)
        return told

    def remove_document(self, chat_id: str, document_id: str) -> None:
        def removed(chat: Chat) -> None:
            kept = [told for told in chat.documents if told["id"] != document_id]
            if len(kept) == len(chat.documents):
                raise NoSuchChat(document_id)
            chat.documents = kept

        self.change(chat_id, removed)
        (self._folder(chat_id) / f"{document_id}.json").unlink(missing_ok=True)

    def documents(self, chat: Chat) -> list[Document]:
        return [self._document(chat, told["id"]) for told in chat.documents]

    def _document(self, chat: Chat, document_id: str) -> Document:
        kept = json.loads((self._folder(chat.id) / f"{document_id}.json").read_bytes())
        kept["warnings"] = tuple(kept["warnings"])
        kept["places"] = tuple((at, place) for at, place in kept["places"])
        return Document(**kept)

    # ---- files

    def _folder(self, chat_id: str) -> Path:
        # Ids come from outside; nothing but one of ours becomes part of a path.
        if not _ID.fullmatch(chat_id):
            raise NoSuchChat(chat_id)
        return self._root / chat_id

    def _all(self) -> Iterator[Chat]:
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            if _ID.fullmatch(folder.name) and (chat := self._read(folder)) is not None:
                yield chat

    def _read(self, folder: Path) -> Chat | None:
        path = folder / _TURNS
        try:
            changed = path.stat().st_mtime_ns
            known = self._known.get(folder.name)
            if known is not None and known[0] == changed:
                return known[1]
            chat = Chat(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):  # deleted meanwhile, or damaged: the others stay readable
            return None
        self._known[folder.name] = (changed, chat)
        return chat


def title_of(text: str) -> str:
    """The first words of a text, on one line."""
    said = " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())
    if len(said) <= LONGEST_TITLE:
        return said or UNTITLED
    return said[: LONGEST_TITLE - 1].rsplit(" ", 1)[0].rstrip(" ,.;:") + "…"


def _hit(chat: Chat, words: list[str]) -> str | None:
    """Where the first word stands in a conversation that holds them all; `None` if it does not."""
    texts = [chat.title, *(turn["text"] for turn in chat.turns), *(told["name"] for told in chat.documents)]
    folded = [text.casefold() for text in texts]
    if not all(any(word in text for text in folded) for word in words):
        return None
    for text, low in zip(texts[1:], folded[1:], strict=True):
        at = low.find(words[0])
        if at >= 0:
            begin = max(0, at - _BEFORE_A_HIT)
            if begin:  # with a whole word
                begin = next((n + 1 for n in range(begin, at) if text[n].isspace()), at)
            shown = " ".join(text[begin : at + len(words[0]) + _AFTER_A_HIT].split())
            return f"…{shown}" if begin else shown
    return ""


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")  # 0600 from the first byte
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            json.dump(value, file, ensure_ascii=False)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
