"""Log lines of a short command: none but errors, unless LOG_LEVEL is set. What matters is told in words anyway."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..secrets import RedactingFilter
from ..settings import Settings
from .terminal import Terminal


class _ToTerminal(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._terminal.tell(*self.format(record).splitlines())
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)


@contextmanager
def logging_to(terminal: Terminal, settings: Settings) -> Iterator[None]:
    log, handler = logging.getLogger("ai_gateway"), _ToTerminal(terminal)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    level, propagates = log.level, log.propagate
    log.setLevel(settings.log_level if "log_level" in settings.model_fields_set else logging.ERROR)
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagates
