"""Jupyter notebooks: text, code and what the code printed, cell by cell."""

from __future__ import annotations

import json
from typing import Any

from .parsed import Parsed, Unreadable

LONGEST_OUTPUT = 4_000


def read(text: str, parsed: Parsed) -> None:
    try:
        cells = json.loads(text)["cells"]
        language = str(json.loads(text).get("metadata", {}).get("kernelspec", {}).get("language", "python"))
        for number, cell in enumerate(cells, 1):
            parsed.at(f"cell {number}")
            source = _joined(cell.get("source", ""))
            if cell.get("cell_type") == "code":
                parsed.add(f"```{language}\n{source}\n```\n\n")
                for output in cell.get("outputs", ()):
                    _add_output(output, parsed)
            else:
                parsed.add(source + "\n\n")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unreadable("is not a notebook, or one before version 4", "Save it again with Jupyter.") from None


def _add_output(output: dict[str, Any], parsed: Parsed) -> None:
    data = output.get("data", {})
    shown = _joined(output.get("text") or data.get("text/plain") or output.get("evalue") or "")
    if shown.strip():
        cut = " ..." if len(shown) > LONGEST_OUTPUT else ""
        parsed.add(f"Output:\n{shown[:LONGEST_OUTPUT].rstrip()}{cut}\n\n")


def _joined(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source)
