"""The guard before every reader: what a file is, whatever it is called, and how its letters are written.

First the bytes are asked, then the name. Nothing here parses: containers are opened in a child process only.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath
from typing import Any

from .errors import DocumentUnreadable

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """How much a file may be and may cost before it is refused."""

    max_bytes: int = 25 * MB
    max_total_bytes: int = 100 * MB
    seconds: float = 20.0
    memory_bytes: int = 512 * MB  # address space of the child that parses
    unpacked_bytes: int = 100 * MB
    unpacked_ratio: int = 200
    entries: int = 10_000
    text_chars: int = 20_000_000


LIMITS = LoadLimits()

# Kinds that need a reader of their own, in a child process; everything else is text as it stands.
PARSED = frozenset({"pdf", "zip", "html", "ipynb", "eml"})

_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"{\\rtf", "rtf"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a bitmap image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"RIFF", "a sound, video or WebP file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound or video file"),
    (b"%!PS", "a PostScript file"),
    (b"PAR1", "a Parquet file"),
)
_BY_ENDING = {
    "htm": "html", "html": "html", "xhtml": "html", "ipynb": "ipynb", "eml": "eml", "md": "markdown",
    "markdown": "markdown", "csv": "csv", "tsv": "tsv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl",
}  # fmt: skip
_PAGE = re.compile(rb"<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EVIDENCE = 64  # bytes beyond ASCII below which nobody can tell an encoding
_SAMPLE = 64 * 1024


def kind_of(data: bytes, name: str) -> str:
    """What the bytes are: `pdf`, `zip`, `html`, `csv`, `text` ... Raises for what holds no text."""
    if not data.strip(b"\x00 \t\r\n"):
        raise DocumentUnreadable(name, "is empty", "Check that it was saved or copied completely.")
    if b"%PDF-" in data[:1024]:
        return "pdf"
    has_bom = any(data.startswith(bom) for bom, _ in _BOMS)
    for magic, what in _MAGIC:
        if not has_bom and data.startswith(magic) and (len(magic) > 2 or _CONTROL.search(data[:512])):
            if what == "zip":
                return what
            raise DocumentUnreadable(name, *_REFUSALS.get(what, (f"is {what}, not text", _AS_TEXT)))
    ending = PurePath(name).suffix[1:].lower()
    if ending in {"pdf", "docx", "pptx", "xlsx"}:
        raise DocumentUnreadable(name, f"is damaged: it does not begin like a {ending.upper()} file", _AGAIN)
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    return "html" if _begins_a_page(data[:2048]) else "text"


def _begins_a_page(data: bytes) -> bool:
    """Whether the first tag, behind white space and comments, is one that a page begins with."""
    data = data.lstrip()
    while data.startswith(b"<!--"):
        data = data[4:].partition(b"-->")[2].lstrip()
    return _PAGE.match(data) is not None


def kind_by_name(name: str) -> str:
    """What a text of this name is, as far as its ending tells."""
    return _BY_ENDING.get(PurePath(name).suffix[1:].lower(), "text")


_AS_TEXT = "Give a file that holds text (PDF, DOCX, PPTX, XLSX, HTML, CSV, JSON, Markdown, plain text)."
_AGAIN = "Download or copy it again."
_REFUSALS = {
    "ole": ("is an old Office file or one protected by a password", "Save it as DOCX, PPTX or XLSX without password."),
    "rtf": ("is an RTF file, which is not read", "Save it as DOCX or plain text."),
}


def decoded(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """The text, and a warning where its encoding had to be guessed. Raises for bytes that are not text."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(encoding), ()
            except UnicodeDecodeError:
                raise DocumentUnreadable(name, f"is damaged: not the {encoding} it says it is", _AGAIN) from None
    wide = _utf16_without_mark(data)
    if wide:
        return data.decode(wide), (f"read as {wide}; the file does not name its encoding",)
    sample = data[:_SAMPLE]
    if len(_CONTROL.findall(sample)) > len(sample) // 200:
        raise DocumentUnreadable(name, "is not text (it holds control bytes)", _AS_TEXT)
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        return _guessed(data)


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 of a Western text has a zero in every other byte."""
    sample = data[: 4096 & ~1]
    if len(sample) < 8 or len(data) % 2:
        return None
    half = len(sample) // 2
    for encoding, zeros in (("utf-16-le", sample[1::2].count(0)), ("utf-16-be", sample[0::2].count(0))):
        if zeros > half * 0.7:
            try:
                data.decode(encoding)
            except UnicodeDecodeError:
                return None
            return encoding
    return None


def _guessed(data: bytes) -> tuple[str, tuple[str, ...]]:
    telling = b"\n".join(line for line in data[: 4 * MB].split(b"\n") if not line.isascii())[:_SAMPLE]
    # Japanese first: it is told with certainty, and general detectors take it for Korean.
    encoding = _japanese(data)
    if encoding is None and sum(byte > 0x7F for byte in telling) >= _EVIDENCE:
        encoding = _detected(telling)
    for candidate in (encoding or "cp1252", "cp1252"):
        try:
            return data.decode(candidate), (f"read as {candidate}; the file does not name its encoding",)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("latin-1"), ("read as latin-1; the file does not name its encoding",)


def _detected(telling: bytes) -> str | None:
    """What charset-normalizer says of the lines that hold letters beyond ASCII."""
    try:
        detector: Any = import_module("charset_normalizer")
    except ModuleNotFoundError:
        return None
    best = detector.from_bytes(telling).best()
    return str(best.encoding) if best is not None else None


def _japanese(data: bytes) -> str | None:
    """Kana keep to a narrow range that bytes of another meaning do not hit by chance."""
    for encoding in ("cp932", "euc_jp"):
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            beyond = [letter for letter in decoder.decode(data[:_SAMPLE]) if ord(letter) > 0x7F]
        except UnicodeDecodeError:
            continue
        if beyond and sum("\u3000" <= letter <= "\u30ff" for letter in beyond) > len(beyond) / 3:
            return encoding
    return None
