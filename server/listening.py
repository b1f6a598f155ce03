"""The address to listen on: who may be let in there, and who sits there already."""

from __future__ import annotations

import errno
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path

from gateway_core import Settings, SettingsInvalid

_LISTENING = "0A"  # in /proc/net/tcp
_PORTS_TO_OFFER = 50
_HEALTH_FIELDS = {"status", "copilot_available", "cloud_available", "local_available", "circuit_state"}


class AddressTaken(SettingsInvalid):
    """Somebody listens there already. The message names them, as far as they can be found, and the cure."""


def listen(host: str, port: int, settings: Settings) -> socket.socket:
    """A socket that listens on the address.

    Raises `SettingsInvalid` when the address is open to others and no token is set, when it is not an address of
    this machine, or (`AddressTaken`) when it is in use.
    """
    family, address = _resolved(host, port)
    if not ip_address(address[0].partition("%")[0]).is_loopback and settings.ai_gateway_token is None:
        raise SettingsInvalid(
            f"AI_GATEWAY_TOKEN: must be set to listen on {host}, where others can reach the gateway; set it, "
            "or listen on 127.0.0.1"
        )
    # With its protocol named, accepted sockets send each word at once instead of waiting for acknowledgements.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        raise _refused(exc, host, port) from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Where to point a browser on this machine."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    if host in ("", "localhost"):
        host = "127.0.0.1" if host else "0.0.0.0"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsInvalid(f"AI_GATEWAY_HOST: {host} is not an address of this machine") from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


def _refused(exc: OSError, host: str, port: int) -> SettingsInvalid:
    match exc.errno:
        case errno.EADDRINUSE:
            free = _free_port(host, port)
            other = f"--port {free}" if free else "another --port"
            return AddressTaken(
                f"port {port} is taken by {_holder(host, port)}; stop it, or use {other} (AI_GATEWAY_PORT)"
            )
        case errno.EACCES:
            return SettingsInvalid(
                f"AI_GATEWAY_PORT: {port} needs an administrator; use a port from 1024, such as --port 8000"
            )
        case errno.EADDRNOTAVAIL:
            return SettingsInvalid(f"AI_GATEWAY_HOST: {host} is not an address of this machine")
    return SettingsInvalid(f"AI_GATEWAY_HOST: cannot listen on {host}:{port} ({exc.strerror})")


def _free_port(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + _PORTS_TO_OFFER, 65536)):
        family, address = _resolved(host, candidate)
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            try:
                trial.bind(address)
            except OSError:
                continue
            return candidate
    return None


def _holder(host: str, port: int) -> str:
    """Best effort: its name and process number where the system tells them."""
    what = "another AI Gateway" if _is_gateway(host, port) else "another program"
    for pid, name in _listeners(port):
        return f"{what} ({name}, process {pid})"
    return what


def _is_gateway(host: str, port: int) -> bool:
    there = "127.0.0.1" if host in ("", "0.0.0.0", "localhost") else "::1" if host == "::" else host
    connection = HTTPConnection(there, port, timeout=0.5)
    try:
        connection.request("GET", "/health", headers={"Host": f"127.0.0.1:{port}"})
        return set(json.loads(connection.getresponse().read(10_000))) == _HEALTH_FIELDS
    except (OSError, HTTPException, ValueError, TypeError):
        return False
    finally:
        connection.close()


def _listeners(port: int) -> Iterator[tuple[int, str]]:
    """Processes that listen on the port, of those this user may look at (Linux)."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    if not inodes:
        return
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and inodes.intersection(_open_files(process)):
            try:
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
            except OSError:
                continue
            yield int(process.name), name


def _open_files(process: Path) -> Iterator[str]:
    try:
        for link in (process / "fd").iterdir():
            with suppress(OSError):  # closed in the meantime
                yield str(link.readlink())
    except OSError:  # another user's
        return
