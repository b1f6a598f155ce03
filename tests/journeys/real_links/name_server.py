"""A name server of a few lines: answers A and AAAA from a table, says NXDOMAIN to the rest, or nothing at all."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from ipaddress import ip_address

_HEAD = struct.Struct("!HHHHHH")
_A, _AAAA = 1, 28
_ANSWER, _NO_SUCH_NAME = 0x8180, 0x8183


class NameServer:
    """Made inside a namespace, it serves there. `records`: name → addresses. `silent`: questions are swallowed."""

    def __init__(self, host: str) -> None:
        self.records: dict[str, tuple[str, ...]] = {}
        self.silent = False
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0.2)
        self._socket.bind((host, 53))
        self._is_open = True
        self._thread = threading.Thread(target=self._serve, name="name-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_open = False
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while self._is_open:
            try:
                question, whose = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            name, kind, end = _read(question)
            self.asked.append(name)
            if not self.silent:
                with suppress(OSError):  # no way back to who asked, just now
                    self._socket.sendto(self._reply(question, name, kind, end), whose)

    def _reply(self, question: bytes, name: str, kind: int, end: int) -> bytes:
        known = self.records.get(name)
        version = {_A: 4, _AAAA: 6}.get(kind)
        found = [ip_address(a).packed for a in known or () if ip_address(a).version == version]
        flags = _NO_SUCH_NAME if known is None else _ANSWER
        head = _HEAD.pack(int.from_bytes(question[:2], "big"), flags, 1, len(found), 0, 0)
        rows = (struct.pack("!HHHIH", 0xC00C, kind, 1, 1, len(a)) + a for a in found)
        return head + question[_HEAD.size : end] + b"".join(rows)


def _read(question: bytes) -> tuple[str, int, int]:
    """Name, kind, and where the question ends."""
    labels, at = [], _HEAD.size
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels).lower(), int.from_bytes(question[at + 1 : at + 3], "big"), at + 5
