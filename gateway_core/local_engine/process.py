"""Our side of the embedded engine: start it, know its address, notice its end, stop it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..extras import how_to_add
from ..types import Reason

STARTS_WITHIN = 180.0
STOPS_WITHIN = 3.0
SLEEP_AFTER = 1800  # the model leaves memory after half an hour without a question
LINES_KEPT = 50

# What the child needs to find Python, its packages and its graphics card. No token is handed on.
_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "WINDIR", "USERPROFILE", "APPDATA",
    "LOCALAPPDATA", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip

_GET_ANOTHER = "Install the model file again, or another one."
_SMALLER = "Close other programs, or use a smaller model."

# What the engine's log says, and what that means to a person.
_TOLD_BY_LOG: tuple[tuple[str, Reason, str, str], ...] = (
    (r"invalid magic", Reason.BAD_PAYLOAD, "the model file is not a GGUF file", _GET_ANOTHER),
    (
        r"not within the file bounds|corrupted|failed to read|unexpectedly reached end|invalid or corrupt",
        Reason.BAD_PAYLOAD,
        "the model file is damaged or incomplete",
        _GET_ANOTHER,
    ),
    (r"No such file|Permission denied", Reason.MODEL_MISSING, "the model file cannot be read", _GET_ANOTHER),
    (
        r"unknown model architecture|unknown pre-tokenizer|wrong number of tensors|missing tensor",
        Reason.UNSUPPORTED,
        "the engine does not know this kind of model",
        "Update the engine with: pip install -U xllamacpp",
    ),
    (
        r"out of memory|failed to allocate|unable to allocate|cannot allocate|bad_alloc",
        Reason.OUT_OF_MEMORY,
        "the model does not fit into memory",
        _SMALLER,
    ),
)

# How a process ended, when it could not say why.
_TOLD_BY_SIGNAL: dict[str, tuple[Reason, str, str]] = {
    "SIGILL": (Reason.UNSUPPORTED, "this processor lacks instructions that the engine needs (AVX2)", "Use Ollama."),
    "SIGKILL": (Reason.OUT_OF_MEMORY, "the engine was killed, most likely for want of memory", _SMALLER),
}


# Windows has no signals: an illegal instruction is an exit code.
_SIGNAL_OF_CODE = {0xC000001D: "SIGILL"}


class EngineFailed(Exception):
    """The engine did not start."""

    def __init__(self, reason: Reason, detail: str, cure: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.cure = cure


@dataclass(frozen=True, slots=True)
class EngineConfig:
    model: Path
    context: int = 8192
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    reader: threading.Thread
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


@dataclass(frozen=True, slots=True)
class Running:
    """Where the engine listens, and the key it wants."""

    address: str
    api_key: str = field(repr=False)
    pid: int


class EngineProcess:
    """At most one child. `running` starts it when there is none; a child that died is replaced at the next call.

    Usable from any event loop: the child is watched by a thread, not by a loop.
    """

    def __init__(self, config: EngineConfig, *, starts_within: float = STARTS_WITHIN) -> None:
        self.config = config
        self._starts_within = starts_within
        self._child: _Child | None = None
        self._running: Running | None = None
        self._starting = threading.Lock()

    @property
    def is_alive(self) -> bool:
        return self._child is not None and self._child.is_alive

    async def running(self) -> Running:
        """The engine, started if need be; raises `EngineFailed`. Cancelling leaves the start to go on."""
        if self._running is not None and self.is_alive:
            return self._running
        return await asyncio.to_thread(self._start)

    async def has_ended(self, within: float) -> bool:
        """True once the child is gone; its connections end a moment before it does."""
        child = self._child
        if child is None:
            return True
        try:
            await asyncio.to_thread(child.process.wait, within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def why_it_ended(self) -> tuple[Reason, str, str]:
        """Reason, what happened and the cure, from the log and the way the last child ended."""
        child = self._child
        if child is None:
            return Reason.UPSTREAM_ERROR, "the engine is not running", ""
        child.reader.join(STOPS_WITHIN)
        return _explained(child.process.poll(), list(child.log))

    def stop(self) -> None:
        """End the child: first by closing its input, then by force. Safe to call twice."""
        child = self._child
        if child is not None and self._running is None:
            child.process.kill()  # still loading: whoever waits for it learns so at once
        with self._starting:
            self._stop()

    def _start(self) -> Running:
        with self._starting:
            if self._running is not None and self.is_alive:
                return self._running
            self._stop()
            api_key = secrets.token_urlsafe(24)
            child = _spawn()
            self._child = child
            limit = threading.Timer(self._starts_within, child.process.kill)
            limit.daemon = True
            limit.start()
            try:
                address = self._address(child, api_key)
            except EngineFailed:
                self._stop()
                if limit.finished.is_set():
                    raise EngineFailed(
                        Reason.FIRST_TOKEN_TIMEOUT,
                        f"the model was not loaded within {self._starts_within:g} s",
                        _SMALLER,
                    ) from None
                raise
            finally:
                limit.cancel()
            self._running = Running(address, api_key, child.process.pid)
            return self._running

    def _address(self, child: _Child, api_key: str) -> str:
        config = {
            "model": str(self.config.model),
            "alias": self.config.model.stem,
            "context": self.config.context,
            "threads": self.config.threads,
            "sleep_after": SLEEP_AFTER,
            "api_key": api_key,
        }
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        try:
            child.process.stdin.write(json.dumps(config).encode() + b"\n")
            child.process.stdin.flush()
        except BrokenPipeError:
            line = b""
        else:
            line = child.process.stdout.readline()
        told = json.loads(line) if line.startswith(b"{") else {}
        if "address" not in told:
            child.process.wait()
            raise EngineFailed(*self.why_it_ended())
        return str(told["address"])

    def _stop(self) -> None:
        child, self._child, self._running = self._child, None, None
        if child is None:
            return
        process = child.process
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # it has gone already, with our last line unread
                process.stdin.close()
        try:
            process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        child.reader.join(STOPS_WITHIN)
        if process.stdout is not None:
            process.stdout.close()


def _spawn() -> _Child:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    root = Path(__file__).resolve().parents[2]
    if not {"site-packages", "dist-packages"} & set(root.parts):  # run from a checkout
        environment["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [environment.get("PYTHONPATH")])])
    # -P: a file of the user's working directory must not stand in for a module.
    command = [sys.executable, "-P", "-m", "gateway_core.local_engine"]
    if sys.platform == "win32":
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW,
        )
    else:
        # Its own session: Ctrl-C in the terminal does not reach it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    log: deque[str] = deque(maxlen=LINES_KEPT)
    reader = threading.Thread(target=_keep, args=(process.stderr, log), name="ai-gateway-engine-log", daemon=True)
    reader.start()
    return _Child(process, reader, log)


def _keep(stderr: IO[bytes], log: deque[str]) -> None:
    """Keep the last lines; a full pipe would stop the engine."""
    with stderr:
        for line in iter(lambda: stderr.readline(2000), b""):
            log.append(line.decode("utf-8", "replace").rstrip())


def _explained(code: int | None, log: list[str]) -> tuple[Reason, str, str]:
    from .__main__ import NOT_INSTALLED

    told = "\n".join(log)
    for pattern, reason, detail, cure in _TOLD_BY_LOG:
        if re.search(pattern, told, re.IGNORECASE):
            return reason, detail, cure
    if code == NOT_INSTALLED:
        return Reason.NOT_CONFIGURED, "the engine is not installed", how_to_add("local")
    name = _SIGNAL_OF_CODE.get(code or 0) or (signal.Signals(-code).name if code is not None and code < 0 else "")
    if name:
        return _TOLD_BY_SIGNAL.get(name, (Reason.UPSTREAM_ERROR, f"the engine was ended by {name}", ""))
    if code is None:
        return Reason.UPSTREAM_ERROR, "the engine does not answer", ""
    return Reason.UPSTREAM_ERROR, f"the engine ended with exit code {code}", ""
