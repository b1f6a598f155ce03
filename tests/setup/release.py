"""A release of Ollama in small, and a mirror on loopback that serves it, also wrongly."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# What stands in for the program: it notes what it was given, and answers as an Ollama without models does.
PROGRAM = """#!/usr/bin/env python3
import http.server, json, os, pathlib, sys
assert sys.argv[1:] == ["serve"], sys.argv
pathlib.Path(os.environ["HOME"], "ollama-environment.json").write_text(json.dumps(dict(os.environ)))
REPLIES = {"/api/version": {"version": "0.34.4"}, "/api/tags": {"models": []}, "/api/ps": {"models": []}}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        reply = json.dumps(REPLIES.get(self.path, {})).encode()
        self.send_response(200 if self.path in REPLIES else 404)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
    def log_message(self, *_): pass
host, port = os.environ["OLLAMA_HOST"].rsplit(":", 1)
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""
FILES = {"bin/ollama": PROGRAM, "lib/ollama/libggml-cpu.so": "not really a library\n" * 2000}


def tar(files: dict[str, str], links: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return packed.getvalue()


def zst(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=content, capture_output=True, check=True).stdout


def zipped(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


class Mirror:
    """Serves `files` by name. `cut` ends a body after so many bytes; `moved` answers with another address."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.moved: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""

    def publish(self, name: str, content: bytes, checksum: str | None = None) -> None:
        """Put a file there, and its checksum, right unless given, into sha256sum.txt as Ollama writes it."""
        self.files[name] = content
        line = f"{checksum or hashlib.sha256(content).hexdigest()}  ./{name}\n"
        self.files["sha256sum.txt"] = self.files.get("sha256sum.txt", b"") + line.encode()

    def clear(self) -> None:
        for held in (self.files, self.cut, self.moved):
            held.clear()
        self.asked.clear()


@contextmanager
def mirror() -> Iterator[Mirror]:
    held = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            held.asked.append(name)
            if name in held.moved:
                self.send_response(302)
                self.send_header("location", held.moved[name])
                self.end_headers()
                return
            body = held.files.get(name)
            self.send_response(404 if body is None else 200)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write((body or b"")[: held.cut.get(name)])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_port}/releases"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listing(folder: Path, *but: str) -> dict[str, str]:
    """Every path below `folder` with its kind, mode, time and checksum, except below the paths in `but`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(name == skipped or name.startswith(f"{skipped}/") for skipped in but):
            continue
        status = path.lstat()
        what = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        # A folder's own time changes when something in it comes and goes again; what is in it is looked at itself.
        when = status.st_mtime_ns if what else 0
        found[name] = f"{status.st_mode:o} {when} {what}"
    return found
