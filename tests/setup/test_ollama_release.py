"""Ollama's release is installed whole and checked, or not at all."""

from __future__ import annotations

import gzip
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.environments import ROOT
from tests.missing import needs

from .release import FILES, PROGRAM, Mirror, listing, tar, zipped, zst

LINUX = "ollama-linux-amd64.tar.zst"
needs_zstd = pytest.mark.usefixtures("zstd")


fetching = runpy.run_path(str(ROOT / "scripts" / "ollama_release.py"))
Refused = fetching["Refused"]


def fetch(release: Mirror, folder: Path, system: str = "Linux", machine: str = "x86_64") -> None:
    fetching["fetch"](folder, system, machine, release.url)


def refused(release: Mirror, folder: Path, system: str = "Linux", machine: str = "x86_64") -> str:
    """Why it was refused; nothing was left behind."""
    with pytest.raises(Refused) as refusal:
        fetch(release, folder, system, machine)
    assert listing(folder.parent) == {}
    return str(refusal.value)


def started(release: Mirror, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "scripts/ollama_release.py", str(folder), "--system", "Linux", "--machine", "x86_64"]
    given = {**os.environ, "OLLAMA_DOWNLOAD_URL": release.url}
    return subprocess.Popen(command, cwd=ROOT, env=given, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def zstd() -> None:
    needs("zstd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parent = tmp_path / "data"
    parent.mkdir()
    return parent / "ollama"


@needs_zstd
@pytest.mark.parametrize(("machine", "kind"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_the_archive_for_this_machine_is_checked_and_unpacked(
    release: Mirror, folder: Path, machine: str, kind: str
) -> None:
    release.publish("ollama-linux-amd64.tar.zst", zst(tar({**FILES, "bin/amd64": ""})))
    release.publish("ollama-linux-arm64.tar.zst", zst(tar({**FILES, "bin/arm64": ""})))

    fetch(release, folder, machine=machine)

    assert (folder / "bin/ollama").read_text() == PROGRAM
    assert os.access(folder / "bin/ollama", os.X_OK)
    assert {path.name for path in (folder / "bin").iterdir()} == {"ollama", kind}
    assert release.asked == ["sha256sum.txt", f"ollama-linux-{kind}.tar.zst"]


@pytest.mark.parametrize(
    ("system", "machine", "name", "program"),
    [
        ("Linux", "x86_64", "ollama-linux-amd64.tgz", "bin/ollama"),
        ("Darwin", "arm64", "ollama-darwin.tgz", "ollama"),
        ("Windows", "AMD64", "ollama-windows-amd64.zip", "ollama.exe"),
        ("Windows", "ARM64", "ollama-windows-arm64.zip", "ollama.exe"),
    ],
)
def test_other_forms_of_the_release_are_unpacked_too(
    release: Mirror, folder: Path, system: str, machine: str, name: str, program: str
) -> None:
    files = {program: PROGRAM}
    release.publish(name, zipped(files) if name.endswith(".zip") else gzip.compress(tar(files)))

    fetch(release, folder, system, machine)

    assert (folder / program).read_text() == PROGRAM


@needs_zstd
def test_a_wrong_checksum_is_refused_in_one_line(release: Mirror, folder: Path) -> None:
    release.publish(LINUX, zst(tar(FILES)), checksum="0" * 64)
    process = started(release, folder)
    (line,) = process.communicate(timeout=60)[1].splitlines()

    assert process.returncode == 1
    assert f"but sha256sum.txt says {'0' * 64}" in line
    assert line.endswith("Nothing was installed.")
    assert listing(folder.parent) == {}


@needs_zstd
@pytest.mark.parametrize("name", [LINUX, "sha256sum.txt"])
def test_a_download_that_breaks_off_is_refused(release: Mirror, folder: Path, name: str) -> None:
    release.publish(LINUX, zst(tar(FILES)))
    release.cut[name] = 40

    assert f"{name} could not be read to its end" in refused(release, folder)


@needs_zstd
@pytest.mark.parametrize(
    ("files", "links", "words"),
    [
        ({"../escaped": "x"}, {}, "leads out of it: ../escaped"),
        ({"/escaped": "x"}, {}, "leads out of it: /escaped"),
        ({}, {"bin": "../../elsewhere"}, "leads out of it: bin"),
        ({"lib/nothing": ""}, {}, "holds no bin/ollama"),
    ],
)
def test_an_archive_that_is_not_what_it_should_be_is_refused(
    release: Mirror, folder: Path, files: dict[str, str], links: dict[str, str], words: str
) -> None:
    release.publish(LINUX, zst(tar(files, links)))

    assert words in refused(release, folder)


def test_what_cannot_be_unpacked_is_refused(release: Mirror, folder: Path) -> None:
    release.publish("ollama-darwin.tgz", b"checked, and yet no archive")

    assert "cannot be unpacked" in refused(release, folder, "Darwin", "arm64")


def test_a_missing_file_list_or_entry_is_told(release: Mirror, folder: Path) -> None:
    assert "sha256sum.txt was answered with 404" in refused(release, folder)
    release.publish("ollama-darwin.tgz", b"")
    assert f"names no {LINUX}" in refused(release, folder)
    assert "no release for Linux on riscv64" in refused(release, folder, machine="riscv64")


def test_a_way_that_others_can_change_is_refused(release: Mirror, folder: Path) -> None:
    release.moved["sha256sum.txt"] = "http://192.0.2.1/sha256sum.txt"

    assert "http://192.0.2.1 is not https" in refused(release, folder)


@needs_zstd
def test_a_proxy_of_the_network_is_not_asked_for_a_mirror_on_this_computer(
    release: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release.publish(LINUX, zst(tar(FILES)))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    fetch(release, folder)

    assert folder.is_dir()


def test_a_computer_without_zstd_is_told_so(release: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("this Python unpacks zstd by itself")
    release.publish(LINUX, b"never looked into")

    monkeypatch.setenv("PATH", "")

    assert "install the package zstd" in refused(release, folder)


def test_a_stop_in_the_middle_leaves_nothing_behind(release: Mirror, folder: Path) -> None:
    release.publish(LINUX, b"x" * 50_000_000)
    process = started(release, folder)
    until = time.monotonic() + 30
    while not listing(folder.parent) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)

    assert process.returncode == 130
    assert told.strip() == "Ollama: interrupted. Nothing was installed."
    assert listing(folder.parent) == {}


@needs_zstd
def test_what_a_killed_run_left_is_cleared_away(release: Mirror, folder: Path) -> None:
    (folder.parent / ".ollama-killed").mkdir()
    release.publish(LINUX, zst(tar(FILES)))

    fetch(release, folder)

    assert [path.name for path in folder.parent.iterdir()] == ["ollama"]
