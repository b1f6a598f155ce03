"""Standard input, output and error, safe to write a model's text to.

A model, a document or a provider can put anything into a text. Control characters are shown, never sent: an ESC
could clear the screen, rename the window or type into the shell, a carriage return could hide the line before it.
That holds in a pipe too, where `| less -R` or `| tee` lead to a terminal again; `--json` gives the exact text.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_SHOWN = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **dict.fromkeys((0x202D, 0x202E), 0xFFFD),  # they turn whatever follows round, such as the end of a file's name
}


class ReaderLeft(Exception):
    """Nobody reads standard output any more, as after `| head -1`."""


class OutputFailed(Exception):
    """Standard output does not take the answer: the disk is full, the device is gone."""


class Terminal:
    """`write` is for the answer, `tell` for everything about it."""

    def __init__(self, stdin: TextIO | None, stdout: TextIO | None, stderr: TextIO | None) -> None:
        self.stdin, self._out, self._err = stdin, stdout, stderr
        self.out_is_terminal = _is_terminal(stdout)
        self.err_is_terminal = _is_terminal(stderr)
        self._column_is_zero = True
        self._held = ""
        self._passing = 0
        for stream in (stdout, stderr):
            # A legacy code page must cost a character, not the answer.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")

    @classmethod
    def of_process(cls) -> Terminal:
        return cls(sys.stdin, sys.stdout, sys.stderr)

    def write(self, text: str) -> None:
        """Text of the answer, as it comes. Raises `ReaderLeft` or `OutputFailed`."""
        text = self._held + text
        # "\r\n" may come in two pieces.
        self._held = "\r" if text.endswith("\r") else ""
        self._write(neutral(text[: len(text) - len(self._held)]))

    def end_line(self) -> None:
        """End the answer's last line, if it does not end by itself."""
        held, self._held = self._held, ""
        self._write(neutral(held))
        if not self._column_is_zero:
            self._write("\n")

    def write_exactly(self, text: str) -> None:
        """Text that holds no control characters of others, such as JSON."""
        self._write(text)

    def tell(self, *lines: str) -> None:
        """Lines on standard error. A reader who closed it misses them; the answer is not lost for that."""
        if self._passing:
            self.pass_by()
        if self._column_is_zero or not (self.out_is_terminal and self.err_is_terminal):
            self._tell("".join(neutral(line) + "\n" for line in lines))
        else:
            self._tell("".join("\n" + neutral(line) for line in lines) + "\n")
            self._column_is_zero = True

    def tell_inline(self, text: str) -> None:
        """A remark within the growing answer; on a line of its own where the answer is shown elsewhere."""
        if self.out_is_terminal and self.err_is_terminal:
            self._tell(neutral(text))
        else:
            self._tell(neutral(text) + "\n")

    def void(self, line: str) -> None:
        """Say that what stands on the terminal does not count: there, if standard error is elsewhere."""
        self.tell(line)
        if self.out_is_terminal and not self.err_is_terminal:
            self._write(neutral(line) + "\n")

    @property
    def can_ask(self) -> bool:
        """Somebody sits at standard input and sees standard error."""
        return self.err_is_terminal and _is_terminal(self.stdin)

    def ask(self, question: str) -> bool:
        """True for a plain yes; anything else is no."""
        assert self.stdin is not None
        self._tell(neutral(question))
        return self.stdin.readline().strip().lower() in ("y", "yes")

    def pass_by(self, text: str = "") -> None:
        """A line that gives way to whatever is written next; only where standard error is a terminal."""
        if not self.err_is_terminal or not self._column_is_zero:
            return
        width = shutil.get_terminal_size().columns - 1
        shown = neutral(text).replace("\n", " ")[:width]
        # Blanks rather than an escape sequence: every terminal knows them.
        self._tell("\r" + " " * self._passing + "\r" + shown)
        self._passing = min(2 * len(shown), width)  # a letter may be two columns wide

    def give_up(self) -> None:
        """Let the interpreter end without complaining about an output that is gone."""
        try:
            assert self._out is not None
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
        except (OSError, ValueError, AssertionError):
            return

    def flush(self) -> None:
        """What others wrote to standard output. Raises as `write` does."""
        self._write("")

    def _write(self, text: str) -> None:
        if self._passing and text:
            self.pass_by()
        if self._out is None:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as exc:
            # Windows tells a closed pipe as EINVAL.
            if exc.errno == errno.EPIPE or (sys.platform == "win32" and exc.errno == errno.EINVAL):
                raise ReaderLeft from None
            raise OutputFailed(os.strerror(exc.errno) if exc.errno else "the output is gone") from None
        if text:
            self._column_is_zero = text.endswith("\n")

    def _tell(self, text: str) -> None:
        if self._err is None:
            return
        try:
            self._err.write(text)
            self._err.flush()
        except (OSError, ValueError):
            return


def neutral(text: str) -> str:
    """The text with its control characters made visible; line ends become plain ones."""
    return text.replace("\r\n", "\n").translate(_SHOWN)


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
