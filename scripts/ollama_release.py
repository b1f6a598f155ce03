"""Fetch Ollama's release for this computer, check it, and unpack it whole or not at all.

usage: python scripts/ollama_release.py FOLDER --system Linux --machine x86_64

The archive and the release's own `sha256sum.txt` come from `OLLAMA_DOWNLOAD_URL`, else from the newest release. FOLDER
appears only when the checksum was right and everything is unpacked; before that there is a hidden folder beside it,
which goes away whatever happens. Exit status 1 and one line on standard error say what was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import httpx

from gateway_core.settings import is_loopback

RELEASES = "https://github.com/ollama/ollama/releases/latest/download"
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
PROGRAMS = {"Linux": "bin/ollama", "Darwin": "ollama", "Windows": "ollama.exe"}
MOST_SUMS = 1_000_000  # bytes of sha256sum.txt
UNPACKED = 3  # an archive grows about this much
PATIENCE = 60.0  # seconds of silence


class Refused(Exception):
    """Nothing was installed; the words say why, and what to do."""


def archives(system: str, machine: str) -> tuple[str, ...]:
    """What the release for this computer is called, newest custom first."""
    kind = MACHINES.get(machine.lower())
    if kind is None or system not in PROGRAMS:
        raise Refused(f"Ollama has no release for {system} on {machine}")
    if system == "Darwin":
        return ("ollama-darwin.tgz",)  # one for both kinds of Mac
    if system == "Windows":
        return (f"ollama-windows-{kind}.zip",)
    return (f"ollama-linux-{kind}.tar.zst", f"ollama-linux-{kind}.tgz")  # .tgz before 0.14


def fetch(folder: Path, system: str, machine: str, base: str) -> str:
    """Install the release into `folder`, which must not be there yet. Returns the archive's checksum."""
    names = archives(system, machine)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}-*"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    with _client() as client, _scratch(folder) as scratch:
        sums = _sums(client, f"{base}/sha256sum.txt")
        name = next((name for name in names if name in sums), None)
        if name is None:
            raise Refused(f"{base}/sha256sum.txt names no {names[0]}")
        archive = scratch / name
        found = _download(client, f"{base}/{name}", archive)
        if found != sums[name]:
            raise Refused(f"the checksum of {name} is {found}, but sha256sum.txt says {sums[name]}")
        tree = scratch / "tree"
        tree.mkdir()
        _unpack(archive, tree)
        if not (tree / PROGRAMS[system]).is_file():
            raise Refused(f"{name} holds no {PROGRAMS[system]}")
        tree.rename(folder)
    return found


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _client() -> httpx.Client:
    direct = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}
    return httpx.Client(
        follow_redirects=True, timeout=PATIENCE, mounts=direct, event_hooks={"request": [_refuse_open_ways]}
    )


def _refuse_open_ways(request: httpx.Request) -> None:
    # Whoever can change the archive on an open way can change the checksums beside it too.
    if request.url.scheme != "https" and not is_loopback(str(request.url)):
        raise Refused(f"{request.url.scheme}://{request.url.host} is not https")


def _sums(client: httpx.Client, url: str) -> dict[str, str]:
    """The checksums by file name; lines are `<64 hex digits>  ./name`."""
    text = bytearray()
    with _reading(url), client.stream("GET", url) as reply:
        reply.raise_for_status()
        for piece in reply.iter_bytes():
            text += piece
            if len(text) > MOST_SUMS:
                raise Refused(f"{url} is too long to be a list of checksums")
    sums = {}
    for line in text.decode("utf-8", "replace").splitlines():
        checksum, _, name = line.strip().partition(" ")
        if len(checksum) == 64 and set(checksum.lower()) <= set("0123456789abcdef"):
            sums[name.strip().lstrip("*").removeprefix("./")] = checksum.lower()
    return sums


def _download(client: httpx.Client, url: str, path: Path) -> str:
    digest, done, told = hashlib.sha256(), 0, -1
    with _reading(url), client.stream("GET", url) as reply, path.open("wb") as file:
        reply.raise_for_status()
        whole = int(reply.headers.get("content-length", 0))
        needed, free = whole * (1 + UNPACKED), shutil.disk_usage(path.parent).free
        if needed > free:
            raise Refused(f"it needs {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB are free")
        for piece in reply.iter_bytes(1 << 20):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            if sys.stderr.isatty() and whole and (percent := done * 100 // whole) != told:
                told = percent
                print(f"\r  {percent} % of {whole / 1e6:.0f} MB", end="", file=sys.stderr, flush=True)
    if told >= 0:
        print(file=sys.stderr)
    return digest.hexdigest()


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as failure:
        raise Refused(f"{url} was answered with {failure.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        raise Refused(f"{url} could not be read to its end ({failure or type(failure).__name__})") from None


def _unpack(archive: Path, tree: Path) -> None:
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(tree)  # drops `..` and leading slashes by itself
        elif archive.suffix == ".zst":
            with _zst(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as packed:
                _extract(packed, tree)
        else:
            with tarfile.open(archive, "r:gz") as packed:
                _extract(packed, tree)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as failure:
        raise Refused(f"{archive.name} cannot be unpacked ({failure})") from None


def _extract(packed: tarfile.TarFile, tree: Path) -> None:
    guard = getattr(tarfile, "data_filter", None)  # Python 3.11.4
    for member in packed:
        if _leads_out(member.name) or (member.islnk() and _leads_out(member.linkname)):
            raise Refused(f"the archive holds a path that leads out of it: {member.name}")
        if member.issym() and _leads_out(str(PurePosixPath(member.name).parent / member.linkname)):
            raise Refused(f"the archive holds a link that leads out of it: {member.name}")
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise Refused(f"the archive holds something that is neither file nor folder: {member.name}")
        if guard is not None:
            packed.extract(member, tree, filter="data")
        else:
            packed.extract(member, tree)


def _leads_out(name: str) -> bool:
    """True when a path, followed step by step, leaves the folder it starts in."""
    if name.startswith("/"):
        return True
    depth = 0
    for part in PurePosixPath(name).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


@contextmanager
def _zst(archive: Path) -> Iterator[IO[bytes]]:
    try:
        zstd: Any = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        program = shutil.which("zstd")
        if program is None:
            raise Refused("the program zstd is needed to unpack it: install the package zstd") from None
    else:
        with zstd.open(archive, "rb") as stream:
            yield stream
        return
    child = subprocess.Popen([program, "-dcq", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    try:
        yield child.stdout
        while child.stdout.read(1 << 16):  # what follows the archive's end mark
            pass
    finally:
        child.stdout.close()
        status = child.wait()
    if status:
        raise Refused(f"{archive.name} cannot be unpacked (zstd ended with {status})")


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--system", required=True, help="as `uname -s` says it, or Windows")
    parser.add_argument("--machine", required=True, help="as `uname -m` says it")
    options = parser.parse_args()
    base = (os.environ.get("OLLAMA_DOWNLOAD_URL") or RELEASES).rstrip("/")
    signal.signal(signal.SIGTERM, _stopped)
    try:
        fetch(options.folder, options.system, options.machine, base)
    except Refused as refusal:
        print(f"Ollama: {refusal}. Nothing was installed.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nOllama: interrupted. Nothing was installed.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
