"""How a growing answer is shown: in place as Markdown, as running text, or at once when it is finished."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from gateway_core.markdown import growing

from .story import as_markdown, footer_of, lines_about, metadata_of, sources_as_text

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .result import AIResult

PATIENCE = 0.4  # seconds without text before "asking" is shown
FASTEST = 12.0  # updates a second
FASTEST_VSCODE = 5.0  # it flickers above
# Every update carries the whole text so far, so a long text waits until it has grown by a share of itself: all updates
# together then cost a fixed multiple of the answer. A slow writer need not wait so long: until an answer has cost
# `GENEROUS` bytes, that many bytes a second are sent at least.
GROWTH = 1 / 45
LONGEST_LAG = 5.0  # seconds
BYTES_A_SECOND, GENEROUS = 8_000, 280_000


class Screen(Protocol):
    """Where one answer appears. `tick` is called often, also while nothing comes."""

    def grow(self, text: str) -> None:
        """More text."""

    def seam(self, backend: str, action: str) -> None:
        """Another tier writes from here; after `restart` what was shown is void."""

    def tick(self) -> None: ...

    def finish(self, result: AIResult | None) -> None:
        """The last word: the result, whole or not; `None`: there is no text at all."""


def screen_for(shell: InteractiveShell, stream: str, footer: bool) -> Screen:
    is_notebook = getattr(shell, "kernel", None) is not None
    if not is_notebook:
        return RunningText(footer, is_whole=stream == "0")
    if stream == "text":
        return RunningText(footer, is_whole=False)
    return Finished(shell.display_pub, footer) if stream == "0" else Live(shell.display_pub, footer)


class Finished:
    """One output when the answer is there. What test tools for notebooks can compare."""

    def __init__(self, publisher: Any, footer: bool) -> None:
        self._publisher = publisher
        self._footer = footer

    def grow(self, text: str) -> None: ...

    def seam(self, backend: str, action: str) -> None: ...

    def tick(self) -> None: ...

    def finish(self, result: AIResult | None) -> None:
        if result is not None:
            self._publisher.publish(bundle(result, self._footer), metadata_of(result))


class Live:
    """Markdown that grows in place, by updates of one output. The saved notebook holds the last one only."""

    def __init__(self, publisher: Any, footer: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._publisher = publisher
        self._footer = footer
        self._now = now
        self._id = uuid.uuid4().hex
        self._text = ""
        self._shown = 0  # characters
        self._begun = self._sent_at = now()
        self._is_shown = self._is_stale = False
        self._spent = 0
        self._pause = 1 / (FASTEST_VSCODE if "VSCODE_PID" in os.environ else FASTEST)

    def grow(self, text: str) -> None:
        self._text += text
        self._is_stale = True
        self.tick()

    def seam(self, backend: str, action: str) -> None:
        if action == "restart":
            self._text = ""
            self._is_stale = True

    def tick(self) -> None:
        now = self._now()
        if self._is_stale and (not self._is_shown or self._is_due(now - self._sent_at)):
            self._send({"text/markdown": growing(self._text)})
        elif not self._is_shown and now - self._begun > PATIENCE:
            self._send({"text/markdown": "*asking ...*"})

    def finish(self, result: AIResult | None) -> None:
        if result is not None:
            self._send(bundle(result, self._footer), metadata_of(result))
        elif self._is_shown:
            self._send({"text/plain": "", "text/markdown": ""})

    def _is_due(self, waited: float) -> bool:
        length = len(self._text)
        has_grown = length < self._shown or length - self._shown >= length * GROWTH
        is_slow = self._spent < GENEROUS and waited >= length / BYTES_A_SECOND
        return waited >= self._pause and (has_grown or is_slow or waited >= LONGEST_LAG)

    def _send(self, data: dict[str, str], metadata: dict[str, object] | None = None) -> None:
        self._publisher.publish(data, metadata or {}, transient={"display_id": self._id}, update=self._is_shown)
        self._is_shown, self._is_stale, self._sent_at = True, False, self._now()
        self._shown = len(self._text)
        self._spent += sum(map(len, data.values()))


class RunningText:
    """Text to standard output as it comes, for a terminal and wherever outputs cannot be updated."""

    def __init__(self, footer: bool, is_whole: bool) -> None:
        self._footer = footer
        self._is_whole = is_whole
        self._has_written = False

    def grow(self, text: str) -> None:
        if not self._is_whole:
            self._write(text)

    def seam(self, backend: str, action: str) -> None:
        if action == "restart" and not self._is_whole:
            self._write(f"\n[the answer above is void; {backend} begins anew]\n")

    def tick(self) -> None: ...

    def finish(self, result: AIResult | None) -> None:
        if result is None:
            if self._has_written:
                self._write("\n")
            return
        if self._is_whole:
            self._write(result.text)
        told = [sources_as_text(result.sources)] if result.sources else []
        if self._footer:
            told += [*(f"[{line}]" for line in lines_about(result)), f"[{footer_of(result)}]"]
        self._write("".join(f"\n{line}" for line in told) + "\n")

    def _write(self, text: str) -> None:
        self._has_written = True
        sys.stdout.write(printable(text))
        sys.stdout.flush()


def bundle(result: AIResult, footer: bool) -> dict[str, str]:
    """The plain text is the answer and nothing else, so that it can be compared and copied."""
    return {"text/plain": result.text, "text/markdown": as_markdown(result, footer)}


_UNPRINTABLE = {code: None for code in (*range(32), 127, *range(128, 160)) if code not in (9, 10)}


def printable(text: str) -> str:
    """Without control characters: a model must not steer the terminal."""
    return text.translate(_UNPRINTABLE)
