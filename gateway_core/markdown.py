"""A model's Markdown, made fit to be shown while it grows. Pure.

A notebook, or the viewer of an exported conversation, renders what it is given: an image in an answer would be fetched
from anywhere, with whatever a poisoned document made the model write into its address. So images and HTML tags outside
code are shown as text. A place counts as code only where every reader of Markdown would agree; in doubt the text is
made harmless, not pretty.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"^( *)(`{3,}+|~{3,}+)(.*)$")
_LIST_ITEM = re.compile(r"^( *)(?:[-*+]|\d{1,9}[.)]) +")
_TICKS = re.compile(r"`+")
_TAG = re.compile(r"<(?=/?[A-Za-z][\w-]*(?:[\s/>]|$)|[!?])")
_IMAGE = re.compile(r"!(?=\[)")


def harmless(text: str) -> str:
    """The same text with images and HTML outside code shown as they are written."""
    lines: list[str] = []
    fence: tuple[int, str] | None = None
    item_indents: list[int] = []
    is_balanced = True  # no backtick of this paragraph waits for its partner
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        if fence is not None and not _leaves(line, indent, fence, bool(item_indents)):
            lines.append(line)
            if _closes(line, fence):
                fence = None
            continue
        fence = None
        if not line.strip():
            is_balanced = True
            lines.append(line)
            continue
        opened = _opened(line, item_indents)
        if opened is not None and is_balanced:
            fence = opened
            lines.append(line)
            continue
        item = _LIST_ITEM.match(line)
        if item:
            item_indents.append(item.end())
        elif indent == 0:
            item_indents = []
        safe, is_balanced = _safe_line(line, is_balanced)
        lines.append(safe)
    return "\n".join(lines)


def open_fence(text: str) -> str | None:
    """The line that would close the code block at the end of the text; `None` outside one."""
    fence: tuple[int, str] | None = None
    for line in text.split("\n"):
        if fence is None:
            match = _FENCE.match(line)
            if match and not (match[2][0] == "`" and "`" in match[3]):
                fence = (len(match[1]), match[2])
        elif _closes(line, fence):
            fence = None
    return None if fence is None else " " * fence[0] + fence[1]


def growing(text: str) -> str:
    """A text that still grows, as it is shown: an open code block is closed."""
    closing = open_fence(text)
    shown = harmless(text)
    return shown if closing is None else f"{shown}\n{closing}"


def is_prose(text: str, offset: int) -> bool:
    """True where a small mark may stand between two characters without breaking code or a formula."""
    before = text[:offset]
    if open_fence(before) is not None:
        return False
    paragraph = before.rpartition("\n\n")[2]
    return paragraph.count("`") % 2 == 0 and paragraph.count("$") % 2 == 0


def as_text(text: str) -> str:
    """Any text so that Markdown shows it literally, on one line."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>#|~$!&])", r"\\\1", flat)


def as_html(text: str) -> str:
    """Any text as the content of an HTML element."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")


def _opened(line: str, item_indents: list[int]) -> tuple[int, str] | None:
    match = _FENCE.match(line)
    if match is None or (match[2][0] == "`" and "`" in match[3]):
        return None
    indent = len(match[1])
    within_list = any(start <= indent <= start + 3 for start in item_indents)
    return (indent, match[2]) if indent <= 3 or within_list else None


def _closes(line: str, fence: tuple[int, str]) -> bool:
    match = _FENCE.match(line)
    return match is not None and match[2].startswith(fence[1]) and not match[3].strip()


def _leaves(line: str, indent: int, fence: tuple[int, str], in_list: bool) -> bool:
    """A fence inside a list ends with the list, closed or not."""
    return in_list and fence[0] > 0 and bool(line.strip()) and indent < fence[0]


def _safe_line(line: str, is_balanced: bool) -> tuple[str, bool]:
    """Spans of code on one line are left as they are, if nothing before or on the line could pair otherwise."""
    if not is_balanced or "$" in line or "\\`" in line:
        return _safe(line), is_balanced and "`" not in line
    parts: list[str] = []
    at = 0
    while (opening := _TICKS.search(line, at)) is not None:
        closing = next((m for m in _TICKS.finditer(line, opening.end()) if m[0] == opening[0]), None)
        if closing is None:
            return "".join(parts) + _safe(line[at:]), False
        parts += [_safe(line[at : opening.start()]), line[opening.start() : closing.end()]]
        at = closing.end()
    return "".join(parts) + _safe(line[at:]), True


def _safe(text: str) -> str:
    return _IMAGE.sub(r"!\\", _TAG.sub("&lt;", text))
