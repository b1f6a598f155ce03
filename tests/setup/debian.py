"""A bare Debian to set things up in: made by debootstrap once, and a fresh layer over it for each journey.

Everything is mounted in a mount and process namespace of its own, whose first process ends with this one: when a test
is killed, the kernel ends all that runs inside and takes the mounts away.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.environments import ROOT
from tests.missing import missing

_OUTSIDE = dict(os.environ)
_MADE = ROOT / ".environments"
USER = "bare"
HOME = f"/home/{USER}"
CHECKOUT = f"{HOME}/ai gateway"  # people have blanks in their folders
CERTIFICATES = "/usr/local/share/machine-certificates.crt"  # inside; what the machine itself trusts
PROGRAMS = ("debootstrap", "unshare", "nsenter", "chroot", "apt-get")
# What the clients of package registries are told on this machine: they are told the same inside.
CLIENTS = re.compile(r"(PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT)|UV_(INDEX|DEFAULT_INDEX)"
                     r"|(https?|all|no)_proxy)", re.IGNORECASE)  # fmt: skip


def base() -> Path:
    """The folder of a minimal Debian with sudo and one user, who may not use it."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0 or absent:
        missing(f"a bare Debian is made by root with debootstrap; missing: {' '.join(absent) or 'root'}")
    folder = _MADE / "bare-debian"
    _MADE.mkdir(exist_ok=True)
    with (_MADE / "bare-debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = _MADE / "bare-debian.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _make(unfinished)
            unfinished.rename(folder)
    return folder


def _make(folder: Path) -> None:
    suite, sources = _sources()
    mirror = sources[0].split()[1]
    command = ["debootstrap", "--variant=minbase", "--include=sudo", suite, str(folder), mirror]
    done = subprocess.run(command, env=_OUTSIDE, capture_output=True, text=True, timeout=600)
    if done.returncode:
        missing(f"debootstrap cannot make a Debian here: {done.stdout.strip()[-300:]} {done.stderr.strip()[-300:]}")
    (folder / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    for path in Path("/etc/apt/apt.conf.d").glob("*"):
        if re.search(r"^\s*Acquire::", path.read_text(errors="replace"), re.MULTILINE):
            shutil.copy(path, folder / "etc/apt/apt.conf.d")
    if trusted := _OUTSIDE.get("SSL_CERT_FILE") or _OUTSIDE.get("PIP_CERT"):
        shutil.copy(trusted, folder / CERTIFICATES.lstrip("/"))
    for path in (Path("/etc/pip.conf"), Path("/etc/hosts"), Path("/etc/resolv.conf")):
        if path.is_file():
            target = folder / str(path)[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a link in there would lead to this machine's own file
            shutil.copy(path, target)
    subprocess.run(["chroot", folder, "useradd", "--create-home", "--shell", "/bin/bash", USER], check=True)
    for path in (folder / "var/cache/apt/archives").glob("*.deb"):
        path.unlink()


def _sources() -> tuple[str, list[str]]:
    """The suite of this machine's own Debian, and its lines for sources.list, as apt itself understands them."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
    suite = release.get("VERSION_CODENAME", "")
    form = "$(REPO_URI) $(SUITE) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    told = subprocess.run(command, env=_OUTSIDE, capture_output=True, text=True).stdout
    lines = []
    for uri, _, name, component in (line.split() for line in sorted(set(told.splitlines()))):
        if release.get("ID") == "debian" and name.split("-")[0] == suite and component == "main":
            lines.append(f"deb {uri} {name} main")
    if not any(line.split()[2] == suite for line in lines):
        missing("this machine's apt names no archive of its own Debian")
    return suite, sorted(lines, key=lambda line: (line.split()[2] != suite, line))


class Bare:
    """A running bare Debian, with this repository in the home of its one user."""

    def __init__(self, keeper: int, root: Path) -> None:
        self._keeper = keeper
        self._root = root
        self._settings = {name: value for name, value in _OUTSIDE.items() if CLIENTS.fullmatch(name)}
        if self.path(CERTIFICATES).exists():
            self._settings |= {"SSL_CERT_FILE": CERTIFICATES, "PIP_CERT": CERTIFICATES}

    def path(self, inside: str) -> Path:
        """A path inside, as this process reaches it."""
        return Path(f"/proc/{self._keeper}/root{self._root}{inside}")

    def tree(self) -> Path:
        """What differs from the bare Debian, as a folder; the whole of it where the kernel has no layers."""
        upper = Path(f"/proc/{self._keeper}/root{self._root.parent}/upper")
        return upper if any(upper.iterdir()) else self.path("")

    def as_root(self, *command: str) -> None:
        words, variables = self._words("root", command, {}, "/")
        done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(
        self, *command: str, cwd: str = CHECKOUT, answers: str = "", timeout: float = 400, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command of the bare user, with `answers` on its standard input; its errors stand among its output."""
        words, variables = self._words(USER, command, environment, cwd)
        return subprocess.run(words, env=variables, input=answers, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=timeout)  # fmt: skip

    def start(self, *command: str, cwd: str = CHECKOUT, **environment: str) -> subprocess.Popen[str]:
        words, variables = self._words(USER, command, environment, cwd)
        return subprocess.Popen(words, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)  # fmt: skip

    def _words(
        self, user: str, command: Sequence[str], environment: dict[str, str], cwd: str
    ) -> tuple[list[str], dict[str, str]]:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        home = "/root" if user == "root" else HOME
        variables = {**self._settings, "HOME": home, "USER": user, "PATH": path, **environment}
        enter = ["nsenter", "--target", str(self._keeper), "--mount", "--pid", "--"]
        # The shell changes the folder inside; the words of the command reach it untouched.
        shell = ["/bin/bash", "-c", 'cd "$0" && exec "$@"', cwd, *command]
        return [*enter, "chroot", f"--userspec={user}:{user}", str(self._root), *shell], variables


# Ends when its standard input does, and everything inside with it. A kernel without layers gets a copy instead.
KEEPER = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/debian"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/debian" 2>/dev/null ||
  cp -a "$1/." "$2/debian"
mount -t proc proc "$2/debian/proc"
mount --rbind /dev "$2/debian/dev"
echo ready
read -r _ || true
"""


@contextmanager
def bare_debian(folder: Path) -> Iterator[Bare]:
    """A fresh bare Debian that shares this machine's network; `folder` is an empty one to mount it on."""
    below = base()
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
               "bash", "-c", KEEPER, "keeper", str(below), str(folder)]  # fmt: skip
    keeper = subprocess.Popen(command, env=_OUTSIDE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    try:
        if keeper.stdout.readline() != "ready\n":
            pytest.skip(f"no namespaces or mounts on this machine: {keeper.stderr.read().strip()}")
        first = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()[0]
        bare = Bare(int(first), folder / "debian")
        _check_out(bare)
        yield bare
    finally:
        keeper.stdin.close()
        keeper.wait(30)
        keeper.stdout.close()
        keeper.stderr.close()


def _check_out(bare: Bare) -> None:
    """This repository's files as they are now, without what git ignores, as the user's own."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            target = bare.path(f"{CHECKOUT}/{name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    bare.as_root("chown", "-R", f"{USER}:{USER}", HOME)
