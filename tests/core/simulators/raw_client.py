"""A client that sees every byte: what came, in which pieces, and how it ended."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

GUARD = 5.0  # seconds after which a test would hang

HELLO = [{"role": "user", "content": "hello"}]
COPILOT_HEADERS = {"authorization": "Bearer gho_test", "user-agent": "test", "x-initiator": "user"}

# wire: path, headers, body
WIRES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"authorization": "Bearer sk-test"}, {"model": "gpt-6-luna", "messages": HELLO}),
    "copilot": ("/chat/completions", COPILOT_HEADERS, {"model": "gemini-3.8-flash", "messages": HELLO}),
    "responses": ("/responses", COPILOT_HEADERS, {"model": "gpt-6-luna", "input": "hello"}),
    "ollama": ("/api/chat", {}, {"model": "llama3", "messages": HELLO}),
    "generate": ("/api/generate", {}, {"model": "llama3", "prompt": "hello"}),
}


@dataclass
class Heard:
    """`end`: clean (as the framing promised), short (closed before), reset, silent (nothing more came)."""

    raw: bytes
    end: str
    sock: socket.socket | None = None
    head: bytes = b""
    payload: bytes = b""
    pieces: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}

    @property
    def json(self) -> Any:
        return json.loads(self.payload)

    @property
    def frames(self) -> list[Any]:
        """The JSON of each event or line; a broken one is None, `[DONE]` is itself."""
        text = self.payload.decode("utf-8", "replace").lstrip("\ufeff")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        if "event-stream" in self.headers.get("content-type", ""):
            lines = [line[5:].strip() for line in lines if line.startswith("data:")]
        return ["[DONE]" if line == "[DONE]" else _json_or_none(line) for line in lines if line]

    @property
    def events(self) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, dict)]

    @property
    def text(self) -> str:
        return "".join(_text_of(event) for event in self.events)


def _json_or_none(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _text_of(event: dict[str, Any]) -> str:
    """The visible text of an event; none where the shape is wrong."""
    try:
        if event.get("type") == "response.output_text.delta":
            return event["delta"] if isinstance(event["delta"], str) else ""
        for choice in event.get("choices", []):
            return (choice.get("delta") or choice.get("message") or {}).get("content") or ""
        return (event.get("message") or {}).get("content") or event.get("response") or "" if "done" in event else ""
    except AttributeError:
        return ""


def connect(simulator: Any) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", simulator.port), GUARD)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send(sock: socket.socket, method: str, path: str, headers: dict[str, str], body: Any = None) -> None:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in ({"host": "127.0.0.1"} | headers).items())]
    lines.append(f"content-length: {len(data)}")
    sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def listen(sock: socket.socket, timeout: float = GUARD, head_only: bool = False) -> Heard:
    """Everything up to the end of the reply, however it ends. The socket stays open after a clean one."""
    sock.settimeout(timeout)
    raw, end = bytearray(), ""
    while not end:
        if _is_whole(bytes(raw), head_only):
            end = "clean"
            break
        try:
            more = sock.recv(1 << 16)
            end = "" if more else "short"
            raw += more
        except ConnectionResetError:
            end = "reset"
        except TimeoutError:
            end = "silent"
    heard = Heard(bytes(raw), end, sock)
    head, _, rest = bytes(raw).partition(b"\r\n\r\n")
    heard.head = head
    if b"transfer-encoding: chunked" in head:
        heard.pieces = [piece for piece in _chunks(rest) if piece]
        heard.payload = b"".join(heard.pieces)
    else:
        heard.payload = rest
        if end == "short" and b"connection: close" in head:
            heard.end = "clean"
    return heard


def _is_whole(raw: bytes, head_only: bool) -> bool:
    head, mark, rest = raw.partition(b"\r\n\r\n")
    if not mark or head_only:
        return bool(mark)
    if b"transfer-encoding: chunked" in head:
        return rest == b"0\r\n\r\n" or rest.endswith(b"\r\n0\r\n\r\n")
    if b"content-length: " in head:
        return len(rest) >= int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    return False


def _chunks(rest: bytes) -> list[bytes]:
    pieces = []
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return pieces


def request(simulator: Any, method: str, path: str, body: Any = None, timeout: float = GUARD, **headers: str) -> Heard:
    with connect(simulator) as sock:
        send(sock, method, path, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        return listen(sock, timeout, head_only=method == "HEAD")


def ask(simulator: Any, wire: str = "openai", stream: bool = True, timeout: float = GUARD, **body: Any) -> Heard:
    """One question on a fresh connection."""
    path, headers, usual = WIRES[wire]
    with connect(simulator) as sock:
        send(sock, "POST", path, headers, {**usual, "stream": stream, **body})
        return listen(sock, timeout)


def wait_for(something: Callable[[], object]) -> None:
    """Until it is true; an error if it never is."""
    until = time.monotonic() + GUARD
    while not something():
        assert time.monotonic() < until
        time.sleep(0.001)
