"""DOCX, PPTX and XLSX by the standard library alone, so that the limits of the container hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from .container import Container
from .parsed import Parsed, Unreadable

_DIGITS = re.compile(r"\d+")
_DATE_FORMATS = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
_HIDDEN_TEXT = "hidden text left out"
_WHITE_TEXT = "holds white text, which a reader may not see"
_QUOTED = re.compile(r"\"[^\"]*\"|\\.|\[[^\[\]]*\]")


def read(container: Container, parsed: Parsed) -> None:
    """By what is in it, whatever it is called."""
    names = set(container.names)
    if "word/document.xml" in names:
        parsed.kind = "docx"
        _docx(container, parsed)
    elif any(name.startswith("ppt/slides/") for name in names):
        parsed.kind = "pptx"
        _pptx(container, parsed)
    elif "xl/workbook.xml" in names:
        parsed.kind = "xlsx"
        _xlsx(container, parsed)
    elif any(name.startswith("xl/") and name.endswith(".bin") for name in names):
        raise Unreadable("is a binary workbook (XLSB), which is not read", "Save it as XLSX.")
    elif "content.xml" in names and "mimetype" in names:
        parsed.kind = "odt"
        _odt(container, parsed)
    else:
        raise Unreadable("is a ZIP archive", "Unpack it and give the files in it.")


def _docx(container: Container, parsed: Parsed) -> None:
    headings = _heading_styles(container) if "word/styles.xml" in container.names else {}
    parts = ["word/document.xml"]
    parts += sorted(n for n in container.names if re.fullmatch(r"word/(?:footnotes|endnotes|comments)\.xml", n))
    for part in parts:
        _docx_part(container, part, headings, parsed)


def _heading_styles(container: Container) -> dict[str, int]:
    """Style ids to heading levels: ids are translated in foreign versions, the names in the file are not."""
    found: dict[str, int] = {}
    style = ""
    for step, tag, attributes in container.xml("word/styles.xml"):
        if step == "start" and tag == "style":
            style = attributes.get("styleId", "")
        elif step == "start" and tag == "name" and style:
            name = attributes.get("val", "").lower()
            level = name.removeprefix("heading ")
            if name == "title":
                found[style] = 1
            elif level != name and level.isdigit():
                found[style] = int(level)
    return found


def _docx_part(container: Container, part: str, headings: dict[str, int], parsed: Parsed) -> None:
    line: list[str] = []
    level = depth = 0
    cells: list[str] = []
    in_text = hidden = False
    for step, tag, attributes in container.xml(part):
        if step == "text":
            if in_text and not hidden:
                line.append(tag)
            elif in_text and _HIDDEN_TEXT not in parsed.warnings:
                parsed.warnings.append(_HIDDEN_TEXT)
        elif step == "start":
            if tag in ("t", "delText"):
                in_text = tag == "t"  # deleted text of a tracked change is not part of the document
            elif tag == "r":
                hidden = False
            elif tag == "vanish":
                hidden = attributes.get("val") not in ("0", "false")
            elif (
                tag == "color" and attributes.get("val", "").upper() == "FFFFFF" and _WHITE_TEXT not in parsed.warnings
            ):
                parsed.warnings.append(_WHITE_TEXT)
            elif tag == "pStyle":
                level = headings.get(attributes.get("val", ""), 0)
            elif tag == "tab":
                line.append("\t")
            elif tag in ("br", "cr"):
                line.append("\n")
            elif tag == "tbl":
                depth += 1
            elif tag == "tr" and depth == 1:
                cells = []
            elif tag == "tc" and depth == 1:
                cells.append("")
        elif tag == "t":
            in_text = False
        elif tag == "p":
            text = "".join(line).strip()
            line.clear()
            if depth:
                if cells:
                    cells[-1] = f"{cells[-1]} {text}".strip()
            elif text and level:
                parsed.at(f"§ {text[:60]}")
                parsed.add(f"{'#' * min(level, 6)} {text}\n\n")
            elif text:
                parsed.add(text + "\n\n")
            level = 0
        elif tag == "tr" and depth == 1:
            parsed.add("| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |\n")
        elif tag == "tbl":
            depth -= 1
            parsed.add("\n" if not depth else "")


def _odt(container: Container, parsed: Parsed) -> None:
    line: list[str] = []
    for step, tag, attributes in container.xml("content.xml"):
        if step == "text":
            line.append(tag)
        elif step == "start" and tag in ("p", "h"):
            line.clear()
            level = int(attributes.get("outline-level", "1")) if tag == "h" else 0
            line.append("#" * level + " " if level else "")
        elif step == "end" and tag in ("p", "h"):
            text = "".join(line).strip()
            line.clear()
            if text:
                if tag == "h":
                    parsed.at(f"§ {text.lstrip('# ')[:60]}")
                parsed.add(text + "\n\n")


def _pptx(container: Container, parsed: Parsed) -> None:
    slides = [n for n in container.names if re.fullmatch(r"ppt/slides/slide\d+\.xml", n)]
    for name in sorted(slides, key=_number):
        number = _number(name)
        parsed.at(f"slide {number}")
        parsed.add(f"# Slide {number}\n\n")
        for text in _drawn_paragraphs(container, name):
            parsed.add(text + "\n")
        notes = f"ppt/notesSlides/notesSlide{number}.xml"
        if notes in container.names:
            spoken = [text for text in _drawn_paragraphs(container, notes) if not text.isdigit()]
            if spoken:
                parsed.add("\nNotes: " + "\n".join(spoken) + "\n")
        parsed.add("\n")


def _number(name: str) -> int:
    return int(_DIGITS.findall(name)[-1])


def _drawn_paragraphs(container: Container, name: str) -> Iterator[str]:
    line: list[str] = []
    in_text = False
    for step, tag, _ in container.xml(name):
        if step == "text" and in_text:
            line.append(tag)
        elif tag == "t" and step != "text":
            in_text = step == "start"
        elif step == "start" and tag == "br":
            line.append("\n")
        elif step == "end" and tag == "p":
            text = "".join(line).strip()
            line.clear()
            if text:
                yield text


def _xlsx(container: Container, parsed: Parsed) -> None:
    strings = list(_shared_strings(container)) if "xl/sharedStrings.xml" in container.names else []
    dated = _dated_styles(container) if "xl/styles.xml" in container.names else frozenset()
    targets: dict[str, str] = {}
    for step, tag, attributes in container.xml("xl/_rels/workbook.xml.rels"):
        if step == "start" and tag == "Relationship":
            targets[attributes.get("Id", "")] = attributes.get("Target", "").lstrip("/").removeprefix("xl/")
    for step, tag, attributes in container.xml("xl/workbook.xml"):
        if step == "start" and tag == "sheet":
            member = "xl/" + targets.get(attributes.get("id", ""), "")
            if member in container.names:
                _sheet(attributes.get("name", "sheet"), list(_rows(container, member, strings, dated)), parsed)


def _sheet(name: str, rows: list[tuple[str, list[str]]], parsed: Parsed) -> None:
    """A heading that counts, then one line a row; under a header row every value carries its column's name."""
    rows = [(cell, values) for cell, values in rows if any(values)]
    header = rows[0][1] if rows else []
    has_header = len(rows) > 1 and len(header) > 1 and all(header) and not any(_is_number(value) for value in header)
    records = rows[1:] if has_header else rows
    columns = f", {len(header)} columns: {', '.join(header)}" if has_header else ""
    parsed.at(f"sheet {name}")
    parsed.add(f"# Sheet {name} ({len(records):,} rows{columns})\n\n")
    for cell, values in records:
        parsed.at(f"sheet {name}!{cell}")
        if has_header:
            named = zip(header, values, strict=False)
            parsed.add("; ".join(f"{column}={value}" for column, value in named if value) + "\n")
        else:
            parsed.add(" | ".join(values) + "\n")
    parsed.add("\n")


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _shared_strings(container: Container) -> Iterator[str]:
    line: list[str] = []
    in_text = skipping = False
    for step, tag, _ in container.xml("xl/sharedStrings.xml"):
        if step == "text":
            if in_text and not skipping:
                line.append(tag)
        elif tag == "t":
            in_text = step == "start"
        elif tag == "rPh":  # how a Japanese name is read aloud, not a part of it
            skipping = step == "start"
        elif tag == "si" and step == "end":
            yield "".join(line)
            line.clear()


def _dated_styles(container: Container) -> frozenset[int]:
    """Numbers of the cell styles that show a number as a date or time."""
    own: set[int] = set()
    found: set[int] = set()
    in_cells, number = False, 0
    for step, tag, attributes in container.xml("xl/styles.xml"):
        if step == "start" and tag == "numFmt":
            if re.search(r"[ymdhs]", _QUOTED.sub("", attributes.get("formatCode", "")).lower()):
                own.add(int(attributes.get("numFmtId", "0")))
        elif tag == "cellXfs":
            in_cells = step == "start"
        elif step == "start" and tag == "xf" and in_cells:
            style = int(attributes.get("numFmtId", "0"))
            if style in _DATE_FORMATS or style in own:
                found.add(number)
            number += 1
    return frozenset(found)


def _rows(
    container: Container, member: str, strings: list[str], dated: frozenset[int]
) -> Iterator[tuple[str, list[str]]]:
    values: list[str] = []
    first = kind = reference = ""
    style = 0
    content: list[str] = []
    reading = False
    for step, tag, attributes in container.xml(member):
        if step == "text":
            if reading:
                content.append(tag)
        elif step == "start":
            if tag == "row":
                values, first = [], ""
            elif tag == "c":
                kind, reference = attributes.get("t", "n"), attributes.get("r", "")
                style = int(attributes.get("s", "0"))
                content.clear()
            elif tag in ("v", "t"):
                reading = True
        elif tag in ("v", "t"):
            reading = False
        elif tag == "c":
            at = _column(reference) if reference else len(values)
            values += [""] * min(at - len(values), 16_384)
            values.append(_shown("".join(content), kind, style in dated, strings).replace("\n", " ").strip())
            first = first or reference
        elif tag == "row":
            yield first, values


def _column(reference: str) -> int:
    """`C7` is column 2, counted from 0."""
    at = 0
    for letter in reference:
        if not letter.isalpha():
            break
        at = at * 26 + ord(letter.upper()) - 64
    return min(at, 16_384) - 1


def _shown(content: str, kind: str, is_date: bool, strings: list[str]) -> str:
    if kind == "s":
        return strings[int(content)] if content.isdigit() and int(content) < len(strings) else ""
    if kind == "b":
        return "TRUE" if content == "1" else "FALSE"
    if kind == "n" and content:
        try:
            number = float(content)
        except ValueError:
            return content
        if is_date and 0 < number < 2_958_466:
            return _moment(number)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else f"{number:.12g}"
    return content


def _moment(days: float) -> str:
    """Days since the end of 1899, as the workbook counts them."""
    moment = datetime(1899, 12, 30) + timedelta(days=days)
    moment = (moment + timedelta(milliseconds=500)).replace(microsecond=0)
    shown: date | datetime = moment if days % 1 else moment.date()
    return shown.isoformat(sep=" ") if isinstance(shown, datetime) else shown.isoformat()
