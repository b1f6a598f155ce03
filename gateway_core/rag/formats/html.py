"""HTML by the standard library's parser: headings, lists and rows keep their shape, scripts and hidden text go."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from .parsed import Parsed

_DROPPED = frozenset({"script", "style", "template", "noscript", "svg", "math", "head", "iframe", "object", "select"})
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_PARAGRAPHS = _HEADINGS | {
    "p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "blockquote", "pre", "ul", "ol", "dl",
    "table", "form", "figure",
}  # fmt: skip
_LINES = frozenset({"br", "li", "tr", "dt", "dd", "caption", "figcaption"})
_MAY_STAY_OPEN = frozenset({"p", "li", "tr", "td", "th", "dt", "dd"})
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])", re.I
)
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")


class _Reader(HTMLParser):
    def __init__(self, parsed: Parsed) -> None:
        super().__init__(convert_charrefs=True)
        self._parsed = parsed
        self._skipped: list[str] = []  # open elements from the outermost dropped one inwards
        self._line = ""
        self._verbatim = 0
        self._in_title = False
        self._pending = False  # a line waits for the blank one that ends its paragraph
        self.title = ""
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self._skipped.clear()  # a head that was never closed
        if tag == "title" and not self.title:
            self._in_title = True
            return
        said = dict(attrs)
        hidden = "hidden" in said or bool(_HIDDEN.search(said.get("style") or "")) or said.get("aria-hidden") == "true"
        if self._skipped or tag in _DROPPED or hidden:
            if tag not in _VOID:
                self._skipped.append(tag)
                self.hidden += hidden and len(self._skipped) == 1
            return
        if tag in _PARAGRAPHS or tag in _LINES:
            self._end_line(blank=tag in _PARAGRAPHS)
        if tag in _HEADINGS:
            self._line = "#" * int(tag[1:]) + " "
        elif tag == "li":
            self._line = "- "
        elif tag in ("td", "th") and self._line.strip():
            self._line += " | "
        elif tag == "pre":
            self._verbatim += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "title" and self._in_title:
            self._in_title = False
            self.title = _SPACE.sub(" ", self.title).strip()
            if self.title:
                self._parsed.add(self.title + "\n\n")
        if self._skipped:
            if tag in self._skipped:
                while self._skipped.pop() != tag:
                    pass
            elif self._skipped[0] in _MAY_STAY_OPEN:
                self._skipped.clear()  # its parent ends, so it has ended
            return
        if tag == "pre" and self._verbatim:
            self._verbatim -= 1
        if tag in _PARAGRAPHS or tag in _LINES:
            self._end_line(blank=tag in _PARAGRAPHS)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._verbatim and not self._skipped:
            self._line += data
        elif not self._skipped:
            text = _SPACE.sub(" ", data)
            self._line += text.lstrip() if not self._line or self._line.endswith(" ") else text

    def _end_line(self, *, blank: bool) -> None:
        line = self._line.rstrip()
        self._line = ""
        if line and line.strip("#- "):
            self._parsed.add(line + "\n")
            self._pending = True
        if blank and self._pending:
            self._parsed.add("\n")
            self._pending = False

    def close(self) -> None:
        super().close()
        self._end_line(blank=True)


def read(text: str, parsed: Parsed) -> None:
    reader = _Reader(parsed)
    for start in range(0, len(text), 65_536):
        reader.feed(text[start : start + 65_536])
    reader.close()
    if reader.hidden:
        parsed.warnings.append(f"{reader.hidden} hidden elements left out")
