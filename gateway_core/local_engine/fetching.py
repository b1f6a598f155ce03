"""A model file comes onto this laptop: fetched with resume, or copied; believed only with the right checksum.

What has come stays in `NAME.part` until it is whole: an interrupted download goes on where it stopped. The file takes
its own name only after checksum and magic number were found right, so no half model is ever loaded.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from ..secrets import private_folder
from ..settings import is_loopback

MAGIC = b"GGUF"
PIECE = 1024 * 1024
TRIES_WITHOUT_PROGRESS = 4
PAUSE = 1.0  # seconds before a connection that broke is tried again, doubling
SPARE = 512 * 1024 * 1024  # bytes of the disk that stay free
LOOK_EVERY = 16 * 1024 * 1024  # bytes after which the free room is looked at again: others write too
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.gguf")

# Bytes that are here, and bytes in all if that is known.
Progress = Callable[[int, int | None], None]


class CannotInstall(Exception):
    """`cure` says what to do about it."""

    def __init__(self, told: str, cure: str) -> None:
        super().__init__(told)
        self.cure = cure


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model file comes from. `sha256` is its checksum in hexadecimal digits; `None`: nobody vouches for it.

    `size` is about how many bytes it has; a twentieth more, and it is another file.
    """

    place: str  # an address, or a path
    sha256: str | None
    size: int | None = None
    licence: str = ""

    @property
    def most(self) -> int | None:
        """No more bytes than these are taken."""
        return None if self.size is None else self.size + self.size // 20

    @property
    def is_file(self) -> bool:
        return "://" not in self.place

    @property
    def name(self) -> str:
        """The name of the file to be. Raises `CannotInstall` where the source's name is none for a model file."""
        last = Path(self.place).name if self.is_file else unquote(_parts(self.place).path).rpartition("/")[2]
        if not _NAME.fullmatch(last):
            raise CannotInstall(f"{last or self.place} is no name of a model file", "name a file that ends in .gguf")
        return last


def install(source: Source, folder: Path, progress: Progress = lambda here, whole: None) -> Path:
    """Bring the file into `folder` and give its path. Raises `CannotInstall`; what has come then stays for next time.

    An address must be https, or http on this laptop; redirects are followed by the same rule.
    """
    target = private_folder(folder) / source.name
    if target.exists():
        raise CannotInstall(
            f"{target.name} is there already", f"remove it first: ai-gateway local remove {target.stem}"
        )
    part = target.with_name(f"{target.name}{_mark(source)}.part")
    try:
        if source.is_file:
            _copy(Path(source.place), part, progress)
        else:
            _fetch(source, part, progress)
        _check(part, source)
        part.replace(target)
    except OSError as exc:
        raise CannotInstall(
            f"{target.name} cannot be written: {exc.strerror}", "make room, then run it again"
        ) from None
    return target


def _mark(source: Source) -> str:
    """Where no checksum would tell, what came from another address is not gone on with."""
    if source.sha256 is not None or source.is_file:
        return ""
    return "." + hashlib.sha256(source.place.encode()).hexdigest()[:8]


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(part: Path, source: Source) -> None:
    with part.open("rb") as file:
        magic = file.read(len(MAGIC))
    told = None
    if magic != MAGIC:
        told = "what came is not a model file (no GGUF)"
    elif source.sha256 is not None and checksum(part) != source.sha256.lower():
        told = "the file is not the one that was meant: its SHA-256 differs"
    if told is not None:
        part.unlink()
        raise CannotInstall(told, "check the address; nothing was installed")


def _room_for(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise CannotInstall(
            f"{size / 1e9:.1f} GB are to come, and the disk has {free / 1e9:.1f} GB free", "make room on the disk"
        )


def _copy(file: Path, part: Path, progress: Progress) -> None:
    if not file.is_file():
        raise CannotInstall(f"there is no file {file}", "check the path")
    size = file.stat().st_size
    _room_for(part.parent, size)
    with file.open("rb") as here, part.open("wb") as there:
        while piece := here.read(PIECE):
            there.write(piece)
            progress(there.tell(), size)
        os.fsync(there.fileno())


def _fetch(source: Source, part: Path, progress: Progress) -> None:
    trust = ssl.create_default_context()
    tries, pause = TRIES_WITHOUT_PROGRESS, PAUSE
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _go_on(trust, source, part, before, progress)
            return
        except httpx.HTTPError as exc:
            has_come = part.exists() and part.stat().st_size > before
            tries, pause = (TRIES_WITHOUT_PROGRESS, PAUSE) if has_come else (tries - 1, pause * 2)
            if not tries:
                if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout) and not before:
                    raise CannotInstall(
                        f"{exc.request.url.host} cannot be reached",
                        "check the network, or name a mirror by HF_ENDPOINT, or give the path of a .gguf file",
                    ) from None
                raise CannotInstall(
                    f"the download broke off ({type(exc).__name__})", "run it again: it goes on where it stopped"
                ) from None
            time.sleep(pause)
        except httpx.InvalidURL:
            raise CannotInstall("the address is none", "check the address") from None


def _client(trust: ssl.SSLContext, url: str) -> httpx.Client:
    # What is served on this laptop is asked for directly: a proxy would look on its own.
    is_here = is_loopback(url)
    return httpx.Client(timeout=httpx.Timeout(30.0, connect=10.0), verify=trust, trust_env=not is_here)


def _go_on(trust: ssl.SSLContext, source: Source, part: Path, begun: int, progress: Progress) -> None:
    """One connection's worth of the file, from `begun` on."""
    headers = {"accept-encoding": "identity", **({"range": f"bytes={begun}-"} if begun else {})}
    url = source.place
    for _ in range(5):
        _refuse_unsafe(url)
        with _client(trust, url) as client, client.stream("GET", url, headers=headers) as reply:
            if reply.is_redirect:
                url = str(reply.url.join(reply.headers["location"]))
                continue
            if reply.status_code == 416:  # nothing is left to come, or the file is another one now
                if reply.headers.get("content-range", "").endswith(f"/{begun}"):
                    return
                part.unlink()
                raise httpx.ReadError("begin anew")
            if reply.status_code >= 500 or reply.status_code == 429:
                raise httpx.ReadError(str(reply.status_code))
            if reply.status_code not in (200, 206):
                raise CannotInstall(f"{urlsplit(url).hostname} answers {reply.status_code}", "check the address")
            goes_on = reply.status_code == 206 and reply.headers.get("content-range", "").startswith(f"bytes {begun}-")
            begun = begun if goes_on else 0
            length = reply.headers.get("content-length", "")
            whole = begun + int(length) if length.isdecimal() else source.size
            if whole is not None:
                _refuse_more(source, part, whole)
                _room_for(part.parent, whole - begun)
            with part.open("ab" if goes_on else "wb") as file:
                looked_at = begun
                for piece in reply.iter_raw():  # raises where fewer come than were announced
                    _refuse_more(source, part, file.tell() + len(piece))
                    if file.tell() - looked_at >= LOOK_EVERY:
                        looked_at = file.tell()
                        _room_for(part.parent, LOOK_EVERY)
                    file.write(piece)
                    progress(file.tell(), whole)
                os.fsync(file.fileno())
            return
    raise CannotInstall("the address leads in circles", "check the address")


def _refuse_more(source: Source, part: Path, size: int) -> None:
    if source.most is not None and size > source.most:
        part.unlink(missing_ok=True)  # of another file: there is nothing to go on with
        raise CannotInstall("the file is larger than the one that was meant", "check the address")


def _parts(url: str) -> SplitResult:
    """The address taken apart. Raises `CannotInstall` for what is none, or would be shown with a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise CannotInstall("the address is none", "check the address") from None
    if "@" in parts.netloc:
        raise CannotInstall("the address holds a user name or password", "fetch the file yourself and name its path")
    return parts


def _refuse_unsafe(url: str) -> None:
    parts = _parts(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)):
        return
    raise CannotInstall(f"{parts.scheme or 'no'} address: {parts.hostname or url}", "use an https address")
