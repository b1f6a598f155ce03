"""A laptop and the internet: two network namespaces of this machine with a cable between them.

    laptop  wire0 10.78.0.2, fd78::2  ───────  10.78.0.1, fd78::1 wire1  internet
                                               10.78.1.1 Copilot, 10.78.2.1 cloud, 10.78.9.1 name server

Nothing leads out of the two. Needs root, `ip` (Debian: iproute2) and `nft` (Debian: nftables).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COPILOT, CLOUD, NAME_SERVER, STALLED = "10.78.1.1", "10.78.2.1", "10.78.9.1", "10.78.1.2"
NOWHERE_6 = "fd78:6::1"  # routed to the far end, which has no such address and says nothing
_NETWORK_NAMESPACE = 0x40000000

_FAR_END = f"""\
link set lo up
address replace {COPILOT}/32 dev lo
address replace {STALLED}/32 dev lo
address replace {CLOUD}/32 dev lo
address replace {NAME_SERVER}/32 dev lo
link set wire1 up
address replace 10.78.0.1/24 dev wire1
address replace fd78::1/64 dev wire1 nodad
route replace 10.79.0.0/24 via 10.78.0.2
"""
_NEAR_END = """\
link set lo up
link set wire0 up
address flush dev wire0 scope global
address add 10.78.0.2/24 dev wire0
address add fd78::2/64 dev wire0 nodad
route replace default via 10.78.0.1
route replace ::/0 via fd78::1
"""
_DROP_IPV6 = f"""
table inet nowhere {{
  chain input {{ type filter hook input priority 0; ip6 daddr {NOWHERE_6} drop; }}
  chain forward {{ type filter hook forward priority 0; drop; }}
}}
"""


PROGRAMS = {"ip": "iproute2", "nft": "nftables", "openssl": "openssl"}  # and Debian's packages that hold them


def cannot() -> str | None:
    """Why real links cannot be made here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux to make network namespaces"
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"needs `{program}` (Debian: apt-get install {package})"
    trial = f"links{os.getpid()}-trial"
    try:
        run("ip", "netns", "add", trial)
        run("ip", "netns", "exec", trial, "nft", "list", "ruleset")
    except subprocess.CalledProcessError as exc:
        return f"network namespaces or packet filters are not allowed here: {exc.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", trial], capture_output=True, check=False, timeout=30)
    return None


def run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, input=text, timeout=30)


def sweep() -> None:
    """Take away what a killed run has left: its namespaces bear its process's number."""
    for found in Path("/run/netns").glob("links*-*"):
        number = found.name.removeprefix("links").partition("-")[0]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            subprocess.run(["ip", "netns", "delete", found.name], capture_output=True, check=False, timeout=30)
            shutil.rmtree(Path("/etc/netns") / found.name, ignore_errors=True)


class Wires:
    """Both ends of the cable. Times are readings of the monotonic clock, which all processes of a machine share."""

    def __init__(self, name: str) -> None:
        self.laptop, self.internet = f"{name}-laptop", f"{name}-internet"
        self._etc = Path("/etc/netns") / self.laptop

    def build(self) -> None:
        sweep()
        for namespace in (self.laptop, self.internet):
            run("ip", "netns", "add", namespace)
        run("ip", "-n", self.laptop, "link", "add", "wire0", "type", "veth", "peer", "name", "wire1",
            "netns", self.internet)  # fmt: skip
        self._etc.mkdir(parents=True, exist_ok=True)
        (self._etc / "resolv.conf").write_text(f"search .\nnameserver {NAME_SERVER}\n")
        (self._etc / "hosts").write_text("127.0.0.1 localhost\n")
        self.restore()

    def restore(self) -> None:
        """Every link up, every address and route in place, nothing filtered."""
        for namespace in (self.laptop, self.internet):
            run("ip", "netns", "exec", namespace, "nft", "flush", "ruleset")
        run("ip", "-n", self.internet, "-batch", "-", text=_FAR_END)
        run("ip", "-n", self.laptop, "-batch", "-", text=_NEAR_END)
        run("ip", "netns", "exec", self.internet, "nft", "-f", "-", text=_DROP_IPV6)

    def destroy(self) -> None:
        for namespace in (self.laptop, self.internet):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False, timeout=30)
        shutil.rmtree(self._etc, ignore_errors=True)

    def near(self, *arguments: str) -> float:
        """Change something on the laptop's side; the moment when it was done."""
        run("ip", "-n", self.laptop, *arguments)
        return time.monotonic()

    def far(self, *arguments: str) -> float:
        run("ip", "-n", self.internet, *arguments)
        return time.monotonic()

    def cut(self) -> float:
        """Pull the plug on the laptop's side."""
        return self.near("link", "set", "wire0", "down")

    def mend(self) -> float:
        run("ip", "-n", self.laptop, "-batch", "-", text=_NEAR_END)
        return time.monotonic()

    def filter(self, *rules: str) -> float:
        """Filter what reaches the internet, e.g. `ip daddr 10.78.1.1 drop`."""
        added = "".join(f"add rule inet faults input {rule}\n" for rule in rules)
        table = "add table inet faults\nadd chain inet faults input { type filter hook input priority 0; }\n"
        run("ip", "netns", "exec", self.internet, "nft", "-f", "-", text=table + added)
        return time.monotonic()

    @contextmanager
    def inside(self, namespace: str) -> Iterator[None]:
        """For the calling thread, and for threads that it starts: sockets are made in this namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(there)
            os.close(home)


def _enter(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _NETWORK_NAMESPACE) != 0:
        raise OSError(ctypes.get_errno(), "setns")
