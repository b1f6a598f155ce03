"""Files as other programs write them, and files as nobody should have to read them."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import docx
import openpyxl
import pptx
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen import canvas


def pdf(*pages: str) -> bytes:
    buffer = io.BytesIO()
    paper = canvas.Canvas(buffer)
    for text in pages:
        for at, line in enumerate(text.splitlines()):
            paper.drawString(72, 780 - 14 * at, line)
        paper.showPage()
    paper.save()
    return buffer.getvalue()


def encrypted_pdf(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("The vault opens at noon."))))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    return _saved(writer.write)


def word(*paragraphs: str, table: list[list[str]] | None = None) -> bytes:
    """Paragraphs that begin with `# ` become headings."""
    document = docx.Document()
    for text in paragraphs:
        if text.startswith("# "):
            document.add_heading(text[2:], 1)
        else:
            document.add_paragraph(text)
    if table:
        grid = document.add_table(len(table), len(table[0]))
        for row, values in enumerate(table):
            for column, value in enumerate(values):
                grid.cell(row, column).text = value
    return _saved(document.save)


def word_with_hidden_run(seen: str, hidden: str) -> bytes:
    document = docx.Document()
    paragraph = document.add_paragraph(seen)
    paragraph.add_run(hidden).font.hidden = True
    return _saved(document.save)


def slides(*texts: str, notes: str = "") -> bytes:
    show = pptx.Presentation()
    for text in texts:
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = text.split("\n", 1)
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    return _saved(show.save)


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return _saved(book.save)


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_xml", ".xml"), data)
    return buffer.getvalue()


def zip_bomb() -> bytes:
    return zipped(word__document_xml=b"<document>" + b" " * 105_000_000 + b"</document>")


def lying_zip_bomb() -> bytes:
    """The same, but the headers say that it is small."""
    data = bytearray(zip_bomb())
    true_size = (len(b"<document></document>") + 105_000_000).to_bytes(4, "little")
    return bytes(data.replace(true_size, (1000).to_bytes(4, "little")))


def entity_bomb() -> bytes:
    lines = [b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a0 "ha">']
    lines += [b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10)]
    return zipped(word__document_xml=b"".join(lines) + b"]><d>&a9;</d>")


def png() -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + zlib.compress(bytes(range(256)) * 40)


def _saved(save: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()
