"""From files to documents: paths, bytes or uploads in; text, name, hash, warnings and places out.

Plain text is decoded here; everything with a structure is opened by a child process that may crash, hang or eat
memory without harm. A file that cannot be read is an error of its own, which names the file, the fault and the cure.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..types import Document
from .errors import DocumentUnreadable
from .guard import LIMITS, MB, PARSED, LoadLimits, decoded, kind_by_name, kind_of
from .places import MOST_PLACES, headings_in
from .split import form_of

Source = str | Path | bytes | tuple[str, bytes] | Document
Progress = Callable[[int, int, str], None]  # done, of how many, name of the one just done

_PRETTY = 5 * MB  # JSON on one line is laid out up to this size
_ROOT = str(Path(__file__).resolve().parents[2])
_START = f"import sys; sys.path.append({_ROOT!r}); from gateway_core.rag.parse_child import main; main()"
_KEPT_VARIABLES = ("SYSTEMROOT", "SYSTEMDRIVE", "TEMP", "TMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The documents that could be read, in order, and one error for each that could not."""

    documents: tuple[Document, ...]
    errors: tuple[DocumentUnreadable, ...]


def load_documents(
    sources: Iterable[Source], progress: Progress | None = None, *, limits: LoadLimits = LIMITS
) -> Loaded:
    """Every source that can be read; one that cannot does not stop the others."""
    listed = list(sources)
    documents: list[Document] = []
    errors: list[DocumentUnreadable] = []
    total = 0
    for done, source in enumerate(listed, 1):
        name = _name_of(source)
        try:
            if isinstance(source, Document):
                documents.append(source)
            else:
                data, name = _bytes_of(source, None, limits)
                total += len(data)
                if total > limits.max_total_bytes:
                    limit = limits.max_total_bytes // MB
                    raise DocumentUnreadable(name, f"is over the {limit} MB allowed in all", "Give fewer files.")
                documents.append(_document(data, name, limits))
        except DocumentUnreadable as error:
            errors.append(error)
        if progress is not None:
            progress(done, len(listed), name)
    return Loaded(tuple(documents), tuple(errors))


def load_document(
    source: str | Path | bytes | tuple[str, bytes], *, name: str | None = None, limits: LoadLimits = LIMITS
) -> Document:
    """The document in a file (a path) or in bytes. Raises `DocumentUnreadable`."""
    data, name = _bytes_of(source, name, limits)
    return _document(data, name, limits)


def _name_of(source: Source) -> str:
    if isinstance(source, Document):
        return source.name or "document"
    if isinstance(source, tuple):
        return Path(source[0]).name or "upload"
    return "upload" if isinstance(source, bytes) else Path(source).name


def _bytes_of(
    source: str | Path | bytes | tuple[str, bytes], name: str | None, limits: LoadLimits
) -> tuple[bytes, str]:
    name = name or _name_of(source)
    if isinstance(source, tuple):
        source = source[1]
    too_large = f"is larger than the {limits.max_bytes // MB} MB a file may have"
    if isinstance(source, bytes):
        if len(source) > limits.max_bytes:
            raise DocumentUnreadable(name, too_large, "Split it.")
        return source, name
    path = Path(source).expanduser()
    try:
        if not path.is_file():
            fault = "cannot be read (it is a folder)" if path.is_dir() else "does not exist"
            if path.exists() and not path.is_dir():
                fault = "is not a regular file"
            raise DocumentUnreadable(str(source), fault, "Give the path of a file.")
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except OSError as error:
        raise DocumentUnreadable(str(source), f"cannot be opened ({error.strerror})", "Check its rights.") from None
    if len(data) > limits.max_bytes:
        raise DocumentUnreadable(name, too_large, "Split it.")
    return data, name


def _document(data: bytes, name: str, limits: LoadLimits) -> Document:
    kind = kind_of(data, name)
    if kind in PARSED:
        text, kind, places, warnings = _parsed_by_child(data, name, kind, limits)
    else:
        text, warnings = decoded(data, name)
        text = _laid_out(text) if kind == "json" else text
        places = _places(text, kind, name)
    if not text.strip():
        raise DocumentUnreadable(name, "holds no text", "Check that it is the right file.")
    ending = Path(name).suffix[1:].lower()
    if ending in {"pdf", "docx", "pptx", "xlsx"} and ending != kind:
        warnings = (*warnings, f"named .{ending}, but it is {kind.upper()}")
    return Document(
        text, name=name, kind=kind, sha256=hashlib.sha256(data).hexdigest(), warnings=warnings, places=places
    )


def _laid_out(text: str) -> str:
    """JSON without line ends gets some, so that sentences and rows can be told apart.

    Nothing is indented: brackets three hundred deep would make thirty megabytes of two hundred kilobytes.
    """
    if "\n" in text.strip() or len(text) > _PRETTY:
        return text
    try:
        return json.dumps(json.loads(text), separators=(",\n", ": "), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _places(text: str, kind: str, name: str) -> tuple[tuple[int, str], ...]:
    """Where records (in tables) or lines (in code and data) begin."""
    if kind == "markdown":
        return headings_in(text)
    if kind == "text" and Path(name).suffix.lower() in ("", ".txt", ".rst", ".text"):
        return ()
    is_table = kind in ("csv", "tsv")
    starts: list[int] = []
    at, quoted = 0, False
    for line in text.splitlines(keepends=True):
        if not (is_table and quoted):
            starts.append(at)
        quoted ^= is_table and line.count('"') % 2 == 1
        at += len(line)
    step = len(starts) // MOST_PLACES + 1
    return tuple((starts[n], _place(n, is_table)) for n in range(0, len(starts), step))


def placed(document: Document) -> Document:
    """A text with the places that a file of its name would have; as it is where it has its own."""
    if document.places or document.kind != "text":
        return document
    kind = kind_by_name(document.name)
    if kind in PARSED or (kind == "text" and form_of("", document.name) == "prose"):
        return document
    return replace(document, kind=kind, places=_places(document.text, kind, document.name))


def _place(n: int, is_table: bool) -> str:
    if is_table:
        return f"row {n}" if n else "header"
    return f"line {n + 1}"


def _parsed_by_child(
    data: bytes, name: str, kind: str, limits: LoadLimits
) -> tuple[str, str, tuple[tuple[int, str], ...], tuple[str, ...]]:
    job = json.dumps({"kind": kind, "limits": asdict(limits)}).encode() + b"\n"
    environment = {key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ}
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-B", "-c", _START],
            input=job + data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limits.seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DocumentUnreadable(
            name, f"took longer than {limits.seconds:g} s to read", "Split it, or give its text."
        ) from None
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        raise DocumentUnreadable(name, "broke the program that reads it", "Save it anew, or give its text.") from None
    if "fault" in answer:
        raise DocumentUnreadable(name, answer["fault"], answer["cure"])
    places = tuple((int(at), str(place)) for at, place in answer["places"])
    return answer["text"], answer["kind"], places, tuple(answer["warnings"])
