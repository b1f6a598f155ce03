"""`ai-gateway local install` and `local remove`: the embedded engine's model files."""

from __future__ import annotations

import asyncio
import os
import time
from argparse import Namespace
from contextlib import aclosing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ..clock import SystemClock
from ..deadline import Deadline
from ..errors import TierFailed
from ..extras import how_to_add
from ..local_engine.fetching import CannotInstall, Source, install
from ..local_engine.model_file import models_in, parts_of
from ..settings import Settings
from ..tiers import local_models
from ..tiers.base import Call
from ..tiers.embedded import EmbeddedTier
from ..tiers.http import Http
from ..tiers.local import MODELS
from ..types import Message, Prompt
from .arguments import PROGRAM
from .exits import ANSWERED, FAULT, NOT_ANSWERED, STOPPED, USAGE
from .terminal import Terminal

HUB = "https://huggingface.co"
MODEL = "qwen3-1.7b"
# One small model that answers on any laptop of today. The checksum is what vouches for the file, whoever serves it.
CATALOGUE = {
    MODEL: Source(
        "/Qwen/Qwen3-1.7B-GGUF/resolve/main/Qwen3-1.7B-Q8_0.gguf",
        "061b54daade076b5d3362dac252678d17da8c68f07560be70818cace6590cb1a",
        1_830_000_000,  # about
        "Apache-2.0",
    )
}
MAGIC = b"GGUF"  # how such a file begins
FIRST_WORD_WITHIN = 180.0
NEEDS = 1.4  # times its size in memory, with a context


def run(options: Namespace, settings: Settings, terminal: Terminal) -> int:
    folder = settings.ai_gateway_state_dir / MODELS
    try:
        if options.action == "remove":
            return _remove(options.name, options.yes, folder, terminal)
        return _install(options, folder, terminal)
    except CannotInstall as exc:
        terminal.tell(f"{PROGRAM}: {exc}; {exc.cure}")
        return NOT_ANSWERED
    except KeyboardInterrupt:
        terminal.tell(f"{PROGRAM}: stopped; what has come is kept, and the next run goes on from there")
        return STOPPED


def source_of(named: str, sha256: str | None) -> Source:
    """A name of the catalogue, an address, or a path."""
    if named in CATALOGUE:
        known = CATALOGUE[named]
        hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
        return replace(known, place=hub + known.place, sha256=sha256 or known.sha256)
    return Source(named if "://" in named else str(Path(named).expanduser()), sha256)


def _install(options: Namespace, folder: Path, terminal: Terminal) -> int:
    source = source_of(options.source, options.sha256)
    if source.is_file:
        _check_file(Path(source.place))
    size = f", {source.size / 1e9:.1f} GB" if source.size else ""
    licence = f", licence {source.licence}" if source.licence else ""
    terminal.tell(f"{source.name}{size}{licence}", f"  from {source.place}", f"  into {folder}")
    if source.sha256 is None and not source.is_file:
        terminal.tell("  no --sha256 was given: nobody vouches that the file is the one you mean")
    free = local_models.free_memory()
    if source.size and free and free < NEEDS * source.size:
        terminal.tell(f"  it wants about {NEEDS * source.size / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free")
    refused = _unasked(options.yes, "Install it?", terminal)
    if refused is not None:
        return refused
    path = install(source, folder, _Meter(terminal))
    terminal.pass_by()
    return _try(path, terminal)


def _check_file(path: Path) -> None:
    """Raises `CannotInstall` for a file that is not there or is no model: nobody need say yes to it first."""
    if not path.is_file():
        told = "it is a folder" if path.is_dir() else "there is no such file"
        raise CannotInstall(f"{path}: {told}", f"check the path, or name {MODEL} or an https address")
    try:
        with path.open("rb") as file:
            is_model = file.read(len(MAGIC)) == MAGIC
    except OSError as exc:
        raise CannotInstall(f"{path} cannot be read ({exc.strerror})", "let this user read it") from None
    if not is_model:
        raise CannotInstall(f"{path} is no model file (GGUF)", "name one that begins with GGUF, or fetch it once more")


def _unasked(yes: bool, question: str, terminal: Terminal) -> int | None:
    """The exit code when nobody said yes."""
    if yes:
        return None
    if not terminal.can_ask:
        terminal.tell(f"{PROGRAM}: nobody can be asked here; --yes goes on without asking")
        return USAGE
    if terminal.ask(f"{question} [y/N] "):
        return None
    terminal.tell("nothing was changed")
    return FAULT


class _Meter:
    """How far a download is, on a line that gives way."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._begun: tuple[float, int] | None = None
        self._told = 0.0

    def __call__(self, here: int, whole: int | None) -> None:
        now = time.monotonic()
        self._begun = self._begun or (now, here)
        if now - self._told < 0.2:
            return
        self._told = now
        seconds, bytes_come = now - self._begun[0], here - self._begun[1]
        pace = bytes_come / seconds if seconds > 1 else 0.0
        shown = f"{here / 1e9:.2f}" + (f" of {whole / 1e9:.2f} GB" if whole else " GB")
        if pace:
            shown += f", {pace / 1e6:.1f} MB/s"
            shown += f", {max(0.0, (whole - here) / pace / 60):.0f} min left" if whole else ""
        self._terminal.pass_by(shown)


def _try(path: Path, terminal: Terminal) -> int:
    """One word from the new model, where the engine is installed."""
    if find_spec("xllamacpp") is None:
        terminal.write(f"{path.name} is installed\n")
        terminal.tell(f"the engine is not: {how_to_add('local')}")
        return ANSWERED
    terminal.pass_by(f"{path.name} is loaded for a first word ...")
    try:
        asyncio.run(_first_word(path))
    except (TierFailed, TimeoutError) as failed:
        told = failed.detail if isinstance(failed, TierFailed) else "no word within three minutes"
        terminal.tell(f"{PROGRAM}: {path.name} is installed, but does not answer: {told}")
        terminal.tell(f"  to take it away: {PROGRAM} local remove {path.stem}")
        return NOT_ANSWERED
    terminal.write(f"{path.name} is installed and answers\n")
    return ANSWERED


async def _first_word(path: Path) -> None:
    http = Http()
    tier = EmbeddedTier(http, model_file=path)
    try:
        call = Call(Deadline.after(FIRST_WORD_WITHIN, SystemClock()), 5.0, lambda: None)
        prompt = Prompt((Message("user", "Say one word."),), max_tokens=1)
        async with asyncio.timeout(FIRST_WORD_WITHIN), aclosing(tier.stream(prompt, call)) as chunks:
            async for chunk in chunks:
                if chunk.finish_reason is not None:
                    return
    finally:
        await tier.aclose()
        await http.aclose()


def _remove(name: str, yes: bool, folder: Path, terminal: Terminal) -> int:
    files = [path for path in models_in(folder) if name in (path.stem, path.name)]
    if not files:
        here = ", ".join(path.stem for path in models_in(folder)) or "none"
        terminal.tell(f"{PROGRAM}: no model file {name} in {folder}; there are: {here}")
        return USAGE
    parts = parts_of(files[0])
    size = sum(path.stat().st_size for path in parts)
    terminal.tell(*(f"{path}" for path in parts))
    refused = _unasked(yes, f"Remove it ({size / 1e9:.1f} GB)?", terminal)
    if refused is not None:
        return refused
    for path in parts:
        path.unlink()
    terminal.write(f"{files[0].name} is removed\n")
    return ANSWERED
