"""Model files on this laptop: where they are, and what their head tells."""

from __future__ import annotations

import re
import struct
from pathlib import Path

_HEAD = 1024 * 1024
_PART = re.compile(r"-000\d\d-of-000\d\d$")


def models_in(folder: Path) -> list[Path]:
    """The GGUF files of a folder, the newest first; of a model in parts only the first part."""
    try:
        files = [(path.stat().st_mtime, path) for path in folder.glob("*.gguf")]
    except OSError:
        return []
    return [path for _, path in sorted(files, reverse=True) if _is_whole_model(path)]


def _is_whole_model(path: Path) -> bool:
    part = _PART.search(path.stem)
    return not path.name.startswith("mmproj") and (part is None or part.group().startswith("-00001"))


def parts_of(path: Path) -> list[Path]:
    """All files of the model whose first file this is."""
    part = _PART.search(path.stem)
    if part is None:
        return [path]
    return sorted(path.parent.glob(f"{path.stem[: part.start()]}-000??-of-{path.stem[-5:]}.gguf"))


def context_length(path: Path) -> int | None:
    """The longest context the model was trained for: a key in the file's head, before the vocabulary."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    # The key's end, the mark of a 32-bit number, the number.
    found = re.search(rb"\.context_length\x04\0\0\0(....)", head, re.DOTALL)
    return struct.unpack("<I", found[1])[0] if head.startswith(b"GGUF") and found else None
