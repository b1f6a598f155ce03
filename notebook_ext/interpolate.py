"""`{name}` in a cell becomes that variable's value; everything else stays as it is. Nothing is evaluated.

A placeholder is a plain name, perhaps followed by attributes and index look-ups (`{cfg.model}`, `{rows[0]["id"]}`).
It is replaced only if it is bound in the notebook, and never directly after a word character or one of `\\ $ ^ _ { }`,
where LaTeX, f-strings, shell and JSON put their braces. `{{name}}` around such a placeholder becomes `{name}`.
Names and attributes that begin with an underscore are left alone, but for `_ai`, the last answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .secrets import looks_like_a_secret

LONGEST_VALUE = 20_000  # characters

_STEP = r"""(?:\.[A-Za-z]\w*|\[(?:-?\d{1,9}|"[^"\\\n\]]*"|'[^'\\\n\]]*')\])"""
_PATH = rf"(?:_ai|[^\W\d_]\w*){_STEP}*"
_PLACEHOLDER = re.compile(rf"(?<![\w\\$^{{}}])(?:\{{(?P<plain>{_PATH})\}}|\{{\{{(?P<kept>{_PATH})\}}\}})")
_STEPS = re.compile(_STEP)
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Filled:
    """The text with its values; `cut` names values that were too long to be taken whole; `secret` the placeholders
    whose value looks like a credential (left unfilled)."""

    text: str
    cut: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()


def fill(text: str, names: Mapping[str, Any]) -> Filled:
    cut: list[str] = []
    secret: list[str] = []

    def value_of(match: re.Match[str]) -> str:
        path = match["plain"]
        if path is None:
            return "{" + match["kept"] + "}" if _is_bound(match["kept"], names) else match[0]
        value = _look_up(path, names)
        if value is _MISSING:
            return match[0]
        written = _written(value)
        if written is None:
            return match[0]
        if looks_like_a_secret(written):
            secret.append(path)
            return match[0]
        if len(written) > LONGEST_VALUE:
            cut.append(path)
            written = written[:LONGEST_VALUE]
        return written

    return Filled(_PLACEHOLDER.sub(value_of, text), tuple(dict.fromkeys(cut)), tuple(dict.fromkeys(secret)))


def _is_bound(path: str, names: Mapping[str, Any]) -> bool:
    return _look_up(path, names) is not _MISSING


def _look_up(path: str, names: Mapping[str, Any]) -> Any:
    first = _STEPS.search(path)
    name = path[: first.start()] if first else path
    if name not in names:
        return _MISSING
    value = names[name]
    try:
        for step in _STEPS.findall(path[len(name) :]):
            if step[0] == ".":
                value = getattr(value, step[1:])
            elif step[1] in "\"'":
                value = value[step[2:-2]]
            else:
                value = value[int(step[1:-1])]
    except Exception:  # noqa: BLE001 - a look-up in a user's own object may raise anything; the text then stays
        return _MISSING
    return value


def _written(value: Any) -> str | None:
    try:
        return value if isinstance(value, str) else str(value)
    except Exception:  # noqa: BLE001 - the same
        return None
