"""Container images without an engine: a base from Debian's packages, the rest by buildah, and what is in them.

The base stands for `python:3.13-slim`, which only a registry of images has: the machine's own Debian with its Python,
from the mirror that the machine's apt uses. It is kept in `.environments/`, the images in the test's own folder.
Mounts are made in mount namespaces of the programs that need them, and end with those, however they end.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.environments import ROOT
from tests.missing import missing

PROGRAMS = ("buildah", "debootstrap", "unshare", "nsenter", "setpriv", "ip")
BASE = "localhost/base"
_KEPT = ROOT / ".environments"
_INCLUDED = "python3,python3-venv,ca-certificates"
_OUTSIDE = dict(os.environ)  # as the run was started: the tests themselves live in an empty home
_TIME = 900
# What a pip of the machine may need to reach its packages; it goes into a secret, which no layer holds.
_FOR_PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
_CA_IN_BUILD = "/etc/ssl/build-ca.pem"


@dataclass(frozen=True)
class Image:
    """`config` is Docker's: Env, Cmd, Entrypoint, Healthcheck, User, Volumes. `history`: how it was made."""

    name: str
    config: dict[str, Any]
    history: str
    bytes: int


class Images:
    """A store of images in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secrets = folder / "secrets"
        self._containers: dict[str, str] = {}
        self._driver = "overlay"
        absent = [name for name in PROGRAMS if shutil.which(name) is None]
        if absent or os.geteuid() != 0:
            missing(f"needs root and {', '.join(absent) or 'nothing more'} (./scripts/test --all installs them)")
        base = _base_system()
        first = self._buildah("from", "scratch")
        if self._run("mount", first.strip()).returncode:
            self._run("rm", "--all")
            self._driver = "vfs"
            first = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", first.strip(), str(base), "/")
        self._buildah("commit", "--quiet", "--rm", first.strip(), BASE)

    def build(self, context: Path, name: str, **arguments: str) -> Image:
        """`docker build` of the Dockerfile there, with this machine's way to the packages handed over as secrets."""
        command = [
            "bud",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--format",
            "docker",
            "--pull-never",
            "--layers",
        ]
        command += [option for secret in self._handed_over() for option in ("--secret", secret)]
        for key, value in {"BASE": BASE, **arguments}.items():
            command += ["--build-arg", f"{key}={value}"]
        self._buildah(*command, "--tag", name, str(context))
        told = json.loads(self._buildah("inspect", "--type", "image", name))
        sizes = json.loads(self._buildah("images", "--json", name))
        return Image(name, told["Docker"]["config"], json.dumps(told["Docker"]["history"]), _bytes(sizes[0]["size"]))

    def container(self, image: Image) -> str:
        """One for all starts of the image: nobody can write to its file system."""
        if image.name not in self._containers:
            self._containers[image.name] = self._buildah("from", "--pull-never", image.name).strip()
        return self._containers[image.name]

    def mounting(self, container: str) -> str:
        """A shell command that mounts its file system where it is run, and prints where."""
        return " ".join(self._command("mount", container))

    def close(self) -> None:
        """Remove the store; whatever was mounted, was so in a namespace that is gone."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _handed_over(self) -> list[str]:
        self._secrets.mkdir(mode=0o700, exist_ok=True)
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], env=_OUTSIDE, capture_output=True, text=True, check=True
        ).stdout
        found: dict[str, str] = {}
        for line in listed.splitlines():  # files first, then the environment, which wins
            name, _, value = line.partition("=")
            found[name.rpartition(".")[2]] = value.strip("'\"")
        lines = [f"{name} = {found[name]}" for name in _FOR_PIP if name in found]
        given = []
        ca = found.get("cert") or _OUTSIDE.get("SSL_CERT_FILE", "")
        if ca and Path(ca).is_file():
            lines.append(f"cert = {_CA_IN_BUILD}")
            given.append(f"id=ca,src={ca}")
        conf = self._secrets / "pip.conf"
        conf.write_text("\n".join(["[global]", *lines, ""]))
        return [*given, f"id=pip,src={conf}"]

    def _buildah(self, *arguments: str) -> str:
        done = self._run(*arguments)
        assert done.returncode == 0, f"buildah {arguments[0]}: {(done.stdout + done.stderr)[-3000:]}"
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # What buildah mounts is gone with the namespace; what kills this process kills buildah.
        own = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
        return subprocess.run(
            [*own, *self._command(*arguments)], env=_OUTSIDE, capture_output=True, text=True, timeout=_TIME
        )

    def _command(self, *arguments: str) -> list[str]:
        store = ["--root", str(self._folder / "store"), "--runroot", str(self._folder / "run")]
        return ["buildah", *store, "--storage-driver", self._driver, *arguments]


def _base_system() -> Path:
    """An archive of a minimal Debian with Python, made once."""
    mirror, suite = _mirror()
    _KEPT.mkdir(exist_ok=True)
    archive = _KEPT / f"debian-{suite}.tar"
    with (_KEPT / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            with tempfile.TemporaryDirectory(prefix="debian-", dir=_KEPT) as made:
                root = Path(made) / "root"
                command = ["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", suite, str(root), mirror]
                done = subprocess.run(command, env=_OUTSIDE, capture_output=True, text=True, timeout=_TIME)
                if done.returncode:
                    missing(f"no Debian can be had here: {(done.stdout + done.stderr).strip()[-400:]}")
                packed = Path(made) / "packed.tar"
                left_out = [f"--exclude=./{path}/*" for path in ("var/cache/apt", "var/lib/apt/lists", "dev")]
                subprocess.run(["tar", "-C", str(root), *left_out, "-cf", str(packed), "."], check=True)
                packed.rename(archive)
    return archive


def _mirror() -> tuple[str, str]:
    """Where this machine's own packages come from, and its Debian's name."""
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    form = "$(REPO_URI) $(CODENAME)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    listed = subprocess.run(command, env=_OUTSIDE, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        address, _, name = line.partition(" ")
        if name == suite and address.startswith("http"):
            return address, suite
    missing("apt knows no mirror of this machine's Debian (apt-get update has not been run?)")


def _bytes(told: str | int) -> int:
    """Of "632 MB"."""
    number, _, unit = str(told).partition(" ")
    return int(float(number) * 1000 ** ["", "KB", "MB", "GB"].index(unit.upper() if unit != "B" else ""))
