"""Every test runs in an empty home, without anybody's settings, and reaches nothing but this machine."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from gateway_core.settings import Settings

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A shell that runs the tests in the background starts them with Ctrl-C ignored, and what they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FOREIGN = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "OLLAMA_HOST", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of its own, and none of the machine's settings, proxies or logins."""
    home = tmp_path / "home"
    home.mkdir()
    for name in (*Settings.model_fields, *FOREIGN):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("AI_GATEWAY_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("COPILOT_USE_GH", "0")
    monkeypatch.chdir(home)
    return home


def _is_here(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0]).partition("%")[0]
    if host in ("", "localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        try:
            ip = ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(host)))  # "127.1"
        except OSError:
            return False
    # Addresses for documentation are never routed: the gate asks the kernel for a way to them and sends nothing.
    documentation = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    return ip.is_loopback or ip.is_unspecified or any(ip in ipaddress.ip_network(n) for n in documentation)


@pytest.fixture(autouse=True, scope="session")
def only_this_machine() -> Iterator[None]:
    """Connecting anywhere else fails at once, whatever the code under test tries."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded(self: socket.socket, address: Any) -> None:
        if not _is_here(address):
            raise OSError(f"a test tried to reach {address}")
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        return connect_ex(self, address) if _is_here(address) else 101

    def guarded_look_up(host: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not _is_here((name, 0)):
            raise socket.gaierror(socket.EAI_NONAME, f"a test tried to look up {name}")
        return look_up(host, *rest, **options)

    patch = pytest.MonkeyPatch()
    if "AI_GATEWAY_TEST_NAMESPACE" not in os.environ:
        patch.setattr(socket.socket, "connect", guarded)
        patch.setattr(socket.socket, "connect_ex", guarded_ex)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    patch.undo()
