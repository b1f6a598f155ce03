"""From a question, earlier turns and documents to the prompt a tier is asked. Refuses what no tier could read.

Documents travel only in the user's turn, as numbered passages inside a fence; the question follows them, and a
reminder follows the question, because small models heed what they read last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .discretion import in_one_line
from .errors import PromptRefused
from .types import Answer, Document, Message, Progress, Prompt, Reason, Role, Source, Upload

if TYPE_CHECKING:
    from .rag import PackedContext, PassageIndex

Sent = Document | str | Upload | Path  # a path is a file on this laptop: only for callers that may read it
LONGEST_PROMPT = 2_000_000  # characters
LEAST_CONTEXT, MOST_CONTEXT = 200, 2_000_000  # characters: less is no help to anybody
QUOTES = 3
QUOTE_CHARS = 400
MOST_TOLD = 8  # names in one note
REMINDER = "Answer from the numbered passages above and cite them like [1]."
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class NumberedQuote:
    """A passage the extractive answerer quotes."""

    n: int
    document: str
    name: str
    start: int
    end: int
    text: str
    place: str | None = None
    card: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """Documents as they were read, ready to be asked. `told`: what could not be read of them, and how the rest was;
    `left_out`: each that could not be read, in a few words."""

    texts: tuple[Document, ...]
    told: tuple[str, ...]
    index: PassageIndex
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """What a helper says of the passages that words found: boosts by candidate number, and what to tell the user."""

    boosts: Mapping[int, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


NO_ADVICE = Advice()


class Composer:
    """Makes prompts, and checks answers against what was sent. Keeps the indexes of the last sets of documents."""

    def __init__(
        self,
        index: Callable[[Sequence[Document]], PassageIndex] | None = None,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self._index = index or _new_index
        self.forget = forget  # the indexes that were kept, in memory and on disk

    def read(self, documents: Sequence[Sent], progress: Progress | None = None) -> Material:
        """Read the documents and hand out their index. Raises `PromptRefused` when none of them can be read."""
        texts, told, left_out = _documents(documents, progress)
        return Material(texts, tuple(told), self._index(texts), tuple(left_out))

    def compose(
        self,
        question: str | None,
        *,
        documents: Sequence[Sent] | Material | None = None,
        system: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] = (),
        max_context_chars: int = 4000,
        progress: Progress | None = None,
        advice: Advice = NO_ADVICE,
    ) -> Prompt:
        """Raises `PromptRefused` naming the field. Reads files and indexes: not quick when they are large.

        A file that cannot be read does not stop the others; it is told in `notes`.
        Without a question `messages` are the whole conversation, asked as it stands.
        """
        if question is None:
            return _conversation((*_system(system), *_earlier(messages)))
        readable(question, "prompt")
        if not question.strip():
            raise PromptRefused("the prompt is empty", field="prompt", cure="write a question")
        turns = (*_system(system), *_earlier(messages))
        if documents is None:
            return Prompt((*turns, Message("user", question)), question=question)
        _checked_context(max_context_chars)
        material = documents if isinstance(documents, Material) else self.read(documents, progress)
        told = (*material.told, *advice.notes)

        def fitted(context_chars: int) -> tuple[Prompt, int]:
            packed = material.index.pack(question, context_chars, boosts=advice.boosts)
            sources = tuple(
                Source(p.n, p.name or str(p.document), p.start, p.end, p.text, place=p.place) for p in packed.passages
            )
            message = Message("user", _with_context(question, packed))
            prompt = Prompt(
                (*turns, message),
                question=question,
                documents=material.texts,
                sources=sources,
                notes=(*told, *packed.notes),
                left_out=material.left_out,
            )
            return prompt, prompt.chars - len(packed.text)

        first, beside = fitted(max_context_chars)
        if not first.sources:
            names = [in_one_line(document.name, 60) for document in material.texts if document.name]
            raise _no_room(max_context_chars, names, lambda chars: bool(fitted(chars)[0].sources))

        def refit(max_chars: int) -> Prompt:
            smaller = fitted(max(LEAST_CONTEXT, min(max_context_chars, max_chars - beside)))[0]
            return replace(smaller, notes=(*smaller.notes, *_dropped(first.sources, smaller.sources)))

        return replace(first, refit=refit)

    def quotes(self, prompt: Prompt) -> list[NumberedQuote]:
        """For an answer without a model: the passages that match the question best, or where it is about the
        documents as a whole, how they begin and what can be counted in them."""
        from .rag.overview import asks_for_all

        index = self._index(prompt.documents)
        found = [] if asks_for_all(prompt.question) else index.quotes(prompt.question, QUOTES, QUOTE_CHARS)
        found = found or index.overview(prompt.question, QUOTES * QUOTE_CHARS)
        return [
            NumberedQuote(n, q.name, q.name, q.start, q.end, q.text, q.place, q.card)  # by the name that is shown
            for n, q in enumerate(found, 1)
        ]

    def checked(self, prompt: Prompt, answer: Answer) -> Answer:
        """The answer with its sources marked as cited or not, and what its citations are worth."""
        if not prompt.documents:
            return answer
        if answer.mode == "extractive":
            quoted = self.quotes(prompt)
            return replace(
                answer,
                sources=tuple(Source(q.n, q.document, q.start, q.end, q.text, True, q.place) for q in quoted),
            )
        from .rag import Passage, check_citations

        passages = [Passage(p.n, p.document, p.document, p.start, p.end, p.text, p.place) for p in answer.sources]
        found = check_citations(answer.text, passages, prompt.question)
        cited = {citation.n for citation in found.citations}
        sources = tuple(replace(s, cited=s.n in cited) for s in answer.sources)
        return replace(answer, sources=sources, grounding=found.as_dict())


def _new_index(documents: Sequence[Document]) -> PassageIndex:
    from .rag import PassageIndex

    return PassageIndex(documents)


def _checked_context(chars: int) -> None:
    if not LEAST_CONTEXT <= chars <= MOST_CONTEXT:
        raise PromptRefused(
            f"max_context_chars is {chars:,}; from {LEAST_CONTEXT:,} to {MOST_CONTEXT:,} can be used",
            field="max_context_chars", cure="choose a number between, or leave `max_context_chars` out",
        )  # fmt: skip


def _no_room(chars: int, names: Sequence[str], does_fit: Callable[[int], bool]) -> PromptRefused:
    """Not one passage fits beside its label: how much would do."""
    enough = chars
    while enough < MOST_CONTEXT and not does_fit(enough):
        enough = min(2 * enough, MOST_CONTEXT)
    which = f" ({', '.join(names[:MOST_TOLD])})" if names else ""
    return PromptRefused(
        f"not one passage of the documents{which} fits into max_context_chars, which is {chars:,}",
        field="max_context_chars", cure=f"{enough:,} would do: raise `max_context_chars`",
    )  # fmt: skip


def _with_context(question: str, packed: PackedContext) -> str:
    from .rag import instructions

    return f"{instructions(packed.nonce)}\n\n{packed.text}\n\nQuestion: {question}\n\n{REMINDER}"


def _dropped(before: Sequence[Source], kept: Sequence[Source]) -> list[str]:
    """What a smaller window had no room for, by name and place."""
    from .rag.cite import tidy

    gone = [
        f"{tidy(s.document)} {s.place or f'at {s.start:,}'}"
        for s in before
        if not any(k.document == s.document and k.start < s.end and s.start < k.end for k in kept)
    ]
    if not gone:
        return []
    more = f" and {len(gone) - MOST_TOLD:,} more" if len(gone) > MOST_TOLD else ""
    return [f"no room in this tier's window for: {', '.join(gone[:MOST_TOLD])}{more}"]


def _documents(sent: Sequence[Sent], progress: Progress | None) -> tuple[tuple[Document, ...], list[str], list[str]]:
    """The texts, numbered, what is to be told of them, and those that could not be read."""
    if not sent:
        raise PromptRefused("documents is empty", field="documents", cure="send at least one text, or leave it out")
    texts: list[Document] = []
    told: list[str] = []
    unreadable: list[str] = []
    left_out: list[str] = []
    for number, item in enumerate(sent):
        if isinstance(item, str):
            read: Document | None = Document(item)
        else:
            read = _placed(item) if isinstance(item, Document) else _read(item, told, left_out)
        if progress is not None:
            progress(number + 1, len(sent), read.name if read else "")
        if read is None:
            unreadable.append(f"documents[{number}]")
            continue
        readable(read.text, f"documents[{number}]", longest=None)
        told += [f"{read.name}: {warning}" for warning in read.warnings]
        texts.append(read if read.id is not None else replace(read, id=number))
    if not any(d.text.strip() for d in texts):
        raise _no_text(told, unreadable)
    return tuple(texts), told, left_out


def _placed(document: Document) -> Document:
    if document.places or "." not in document.name or not isinstance(document.text, str):
        return document
    from .rag.load import placed

    return placed(document)


def _read(item: Upload | Path, told: list[str], left_out: list[str]) -> Document | None:
    from .rag import DocumentUnreadable, load_document

    try:
        return load_document((item.name, item.data) if isinstance(item, Upload) else item)
    except DocumentUnreadable as exc:
        told.append(str(exc))
        left_out.append(f"{exc.name} ({exc.fault})")
        return None


def _no_text(told: Sequence[str], unreadable: Sequence[str]) -> PromptRefused:
    message = "; ".join(told) or "the documents hold no text"
    field, cure = "documents", "send documents with text in them"
    if told:
        field, cure = next(iter(unreadable), field), "send a kind of file that can be read, or its text"
    refused = PromptRefused(message, field=field, cure=cure)
    refused.reason = Reason.DOCUMENT_UNREADABLE if told else Reason.INVALID_REQUEST
    return refused


def _system(system: str | None) -> list[Message]:
    return [] if system is None else [Message("system", readable(system, "system"))]


def _conversation(turns: tuple[Message, ...]) -> Prompt:
    last = next((turn for turn in reversed(turns) if turn.role != "system"), None)
    if last is None:
        raise PromptRefused("messages hold no question", field="messages", cure="add a message of the role user")
    return Prompt(turns, question=next((t.text for t in reversed(turns) if t.role == "user"), last.text))


def _earlier(messages: Sequence[Message | Mapping[str, Any]]) -> list[Message]:
    turns = []
    for number, turn in enumerate(messages):
        if not isinstance(turn, Message):
            role: Role = turn.get("role")  # type: ignore[assignment]
            content = turn.get("content")
            if role not in ROLES or not isinstance(content, str):
                raise PromptRefused(
                    f"messages[{number}] must have a role ({', '.join(ROLES)}) and a text as content",
                    field=f"messages[{number}]",
                    cure='send turns such as {"role": "user", "content": "..."}',
                )
            turn = Message(role, content)
        readable(turn.text, f"messages[{number}]")
        turns.append(turn)
    return turns


def readable(text: str, field: str, longest: int | None = LONGEST_PROMPT) -> str:
    """The text itself, if a tier can read it; else `PromptRefused`."""
    if not isinstance(text, str):
        raise PromptRefused(f"{field} must be a text", field=field, cure="send a text")
    if longest is not None and len(text) > longest:
        refused = PromptRefused(
            f"{field} has {len(text):,} characters; at most {longest:,} are read", field=field,
            cure="send long texts as documents",
        )  # fmt: skip
        refused.reason = Reason.TOO_LARGE
        raise refused
    if "\0" in text:
        raise PromptRefused(f"{field} holds a NUL character", field=field, cure="send text, not binary data")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise PromptRefused(
            f"{field} holds half a surrogate pair at character {exc.start}", field=field, cure="send valid Unicode"
        ) from None
    return text
