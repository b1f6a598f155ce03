"""`ai-gateway local install`: model files come whole or not at all, over a real server that can do everything wrong."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway_core.cli import local_install
from gateway_core.cli.arguments import parser
from gateway_core.local_engine import fetching
from gateway_core.local_engine.fetching import CannotInstall, Source, install
from gateway_core.local_engine.model_file import models_in, parts_of


class Mirror(ThreadingHTTPServer):
    """Serves one file. `cuts` says after how many bytes each connection breaks; `faults` are statuses sent first."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.cuts: list[int] = []
        self.faults: list[int] = []
        self.knows_ranges = True
        self.redirect_to: str | None = None
        self.tells_length = True
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror, wanted = self.server, self.headers.get("range")
        mirror.ranges.append(wanted)
        if mirror.faults:
            self.send_error(mirror.faults.pop(0))
            return
        if mirror.redirect_to is not None and self.path.startswith("/there"):
            self.send_response(302)
            self.send_header("location", mirror.redirect_to)
            self.end_headers()
            return
        begun = int(re.findall(r"\d+", wanted)[0]) if wanted and mirror.knows_ranges else 0
        if begun and begun >= len(mirror.content):
            self.send_response(416)
            self.send_header("content-range", f"bytes */{len(mirror.content)}")
            self.end_headers()
            return
        body = mirror.content[begun:]
        self.send_response(206 if begun else 200)
        if begun:
            self.send_header("content-range", f"bytes {begun}-{len(mirror.content) - 1}/{len(mirror.content)}")
        if mirror.tells_length:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: mirror.cuts.pop(0)] if mirror.cuts else body)

    def log_message(self, *_: object) -> None:
        return


CONTENT = b"GGUF" + os.urandom(3_000_000)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(fetching, "PAUSE", 0.01)
    with Mirror(CONTENT) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def source(mirror: Mirror, path: str = "/tiny.gguf", sha256: str | None = CHECKSUM) -> Source:
    return Source(mirror.url + path, sha256)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_that_breaks_off_goes_on_where_it_stopped(mirror: Mirror, folder: Path) -> None:
    mirror.cuts = [1_000_000, 700_000]
    seen: list[tuple[int, int | None]] = []
    path = install(source(mirror), folder, lambda *told: seen.append(told))
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == ["tiny.gguf"]
    assert mirror.ranges == [None, "bytes=1000000-", "bytes=1700000-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_the_next_run_goes_on_too(mirror: Mirror, folder: Path) -> None:
    mirror.cuts, mirror.faults = [1_000_000], []
    mirror.cuts += [0] * 9
    with pytest.raises(CannotInstall, match="broke off") as raised:
        install(source(mirror), folder)
    assert "run it again" in raised.value.cure
    assert files(folder) == ["tiny.gguf.part"]
    mirror.cuts, mirror.ranges = [], []
    assert install(source(mirror), folder).read_bytes() == CONTENT
    assert mirror.ranges == ["bytes=1000000-"]


def test_a_whole_part_is_only_checked(mirror: Mirror, folder: Path) -> None:
    folder.mkdir()
    (folder / "tiny.gguf.part").write_bytes(CONTENT)
    assert install(source(mirror), folder).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"something longer than the file" * 200_000, b"GGUF of yesterday"])
def test_what_is_left_of_another_file_does_no_harm(mirror: Mirror, folder: Path, left: bytes) -> None:
    folder.mkdir()
    (folder / "tiny.gguf.part").write_bytes(left)
    try:
        path = install(source(mirror), folder)
    except CannotInstall:
        path = install(source(mirror), folder)  # the mixture was found out and thrown away
    assert path.read_bytes() == CONTENT


def test_without_a_checksum_the_part_of_another_address_is_left_alone(mirror: Mirror, folder: Path) -> None:
    mirror.cuts = [1_000_000, *[0] * 9]
    with pytest.raises(CannotInstall, match="broke off"):
        install(Source(f"{mirror.url}/here/tiny.gguf", None), folder)
    mirror.cuts, mirror.content = [], b"GGUF" + bytes(3_000_000)

    assert install(Source(f"{mirror.url}/there/tiny.gguf", None), folder).read_bytes() == mirror.content


def test_a_server_without_ranges_and_with_a_bad_moment(mirror: Mirror, folder: Path) -> None:
    mirror.knows_ranges, mirror.cuts, mirror.faults = False, [500_000], [503]
    assert install(source(mirror), folder).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "told"), [(b"GGUF other", "SHA-256"), (b"<html>log in</html>", "not a model file")]
)
def test_another_file_is_refused_and_nothing_stays(mirror: Mirror, folder: Path, content: bytes, told: str) -> None:
    mirror.content = content
    with pytest.raises(CannotInstall, match=told):
        install(source(mirror), folder)
    assert files(folder) == []


def test_redirects_are_followed_but_never_to_plain_http(mirror: Mirror, folder: Path) -> None:
    mirror.redirect_to = "/tiny.gguf"
    assert install(source(mirror, "/there/tiny.gguf"), folder).read_bytes() == CONTENT
    (folder / "tiny.gguf").unlink()
    mirror.redirect_to = "http://model.example/tiny.gguf"
    with pytest.raises(CannotInstall, match=r"model\.example"):
        install(source(mirror, "/there/tiny.gguf"), folder)
    mirror.redirect_to = "/there/tiny.gguf"
    with pytest.raises(CannotInstall, match="circles"):
        install(source(mirror, "/there/tiny.gguf"), folder)


@pytest.mark.parametrize("place", ["http://model.example/a.gguf", "ftp://model.example/a.gguf"])
def test_plain_addresses_are_refused(folder: Path, place: str) -> None:
    with pytest.raises(CannotInstall, match=r"model\.example"):
        install(Source(place, None), folder)


@pytest.mark.parametrize("place", ["https://h/x.bin", "https://h/", "/etc/passwd", "https://h/.gguf"])
def test_names_that_are_none_are_refused(folder: Path, place: str) -> None:
    with pytest.raises(CannotInstall, match="no name of a model file"):
        install(Source(place, None), folder)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("https://[nowhere/a.gguf", "is none"),
        ("https://h:port/a.gguf", "is none"),
        ("https://me:hidden@h/a.gguf", "user name or password"),
    ],
)
def test_addresses_that_are_none_are_told_in_one_line_without_a_password(tmp_path: Path, place: str, told: str) -> None:
    done = command(tmp_path, "install", place, "--yes")
    assert (done.returncode, done.stdout) == (3, "")
    assert told in done.stderr
    assert "hidden" not in done.stderr
    assert "error of our own" not in done.stderr


def test_no_room_is_told_before_anything_comes(mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SPARE", 1 << 60)
    with pytest.raises(CannotInstall, match="GB free"):
        install(source(mirror), folder)
    assert files(folder) == []


@pytest.mark.parametrize("tells_length", [True, False])
def test_no_more_is_taken_than_the_file_that_was_meant_has(mirror: Mirror, folder: Path, tells_length: bool) -> None:
    mirror.tells_length = tells_length
    seen = [0]
    with pytest.raises(CannotInstall, match="larger than the one that was meant"):
        install(
            Source(f"{mirror.url}/tiny.gguf", CHECKSUM, size=1_000_000), folder, lambda here, whole: seen.append(here)
        )
    assert max(seen) <= 1_050_000
    assert files(folder) == []


def test_about_the_size_that_was_told_is_the_right_size(mirror: Mirror, folder: Path) -> None:
    assert install(Source(f"{mirror.url}/tiny.gguf", CHECKSUM, size=2_950_000), folder).read_bytes() == CONTENT


def test_a_disk_that_fills_up_while_a_file_of_unknown_length_comes_stops_it_and_it_goes_on_later(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.tells_length = False
    monkeypatch.setattr(fetching, "LOOK_EVERY", 500_000)

    def fills_up(here: int, whole: int | None) -> None:
        monkeypatch.setattr(fetching, "SPARE", 1 << 60 if here > 1_000_000 else 0)

    with pytest.raises(CannotInstall, match="GB free"):
        install(source(mirror), folder, fills_up)
    left = (folder / "tiny.gguf.part").stat().st_size
    monkeypatch.setattr(fetching, "SPARE", 0)

    assert 1_000_000 < left < 2_000_000
    assert install(source(mirror), folder).read_bytes() == CONTENT
    assert mirror.ranges == [None, f"bytes={left}-"]


def test_no_proxy_is_asked_for_what_is_on_this_laptop(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert install(source(mirror), folder).read_bytes() == CONTENT


def command(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AI_GATEWAY_STATE_DIR": str(home / "state"),
        **environ,
    }
    return subprocess.run(
        [sys.executable, "-m", "gateway_core", "local", *arguments], env=environment, cwd=home, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


def test_a_file_is_copied_answers_a_first_word_and_goes_again(model: Path, tmp_path: Path) -> None:
    done = command(tmp_path, "install", str(model))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    done = command(tmp_path, "install", str(model), "--yes")
    assert (done.returncode, done.stdout) == (0, "scripted.gguf is installed and answers\n"), done.stderr
    assert "scripted.gguf" in command(tmp_path, "list").stdout
    assert command(tmp_path, "install", str(model), "--yes").returncode == 3, "it is there already"
    assert "scripted" in command(tmp_path, "remove", "other", "--yes").stderr
    done = command(tmp_path, "remove", "scripted", "--yes")
    assert (done.returncode, done.stdout) == (0, "scripted.gguf is removed\n")
    assert "no model file" in command(tmp_path, "list").stdout


def test_a_file_that_is_no_model_is_told_after_the_first_word(mirror: Mirror, tmp_path: Path) -> None:
    done = command(tmp_path, "install", f"{mirror.url}/tiny.gguf", "--sha256", CHECKSUM, "--yes")
    assert done.returncode == 3
    assert "does not answer" in done.stderr
    assert "local remove tiny" in done.stderr


def test_the_built_in_model_comes_from_the_mirror_that_is_named(mirror: Mirror, tmp_path: Path) -> None:
    mirror.content = b"GGUF, but not the one"
    done = command(tmp_path, "install", "--yes", HF_ENDPOINT=mirror.url)
    assert done.returncode == 3
    assert "SHA-256" in done.stderr
    assert "Apache-2.0" in done.stderr
    assert not list((tmp_path / "state" / "models").iterdir())


def test_all_parts_of_a_model_go_together(tmp_path: Path) -> None:
    for name in ("big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "bigger.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    (first,) = [path for path in models_in(tmp_path) if "of" in path.name]
    assert [path.name for path in parts_of(first)] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]


def test_the_default_is_in_the_catalogue() -> None:
    options = parser().parse_args(["local", "install"])
    assert local_install.source_of(options.source, None).sha256
    assert local_install.source_of(options.source, None).place.startswith("https://")


def test_a_host_that_cannot_be_reached_is_named_with_other_ways(mirror: Mirror, folder: Path) -> None:
    gone = source(mirror)
    mirror.shutdown()
    mirror.server_close()
    with pytest.raises(CannotInstall, match=r"127\.0\.0\.1 cannot be reached") as raised:
        install(gone, folder)
    assert "HF_ENDPOINT" in raised.value.cure
