"""A running gateway, asked over REST instead of the gateway inside this kernel.

The standard library's client, in a thread of its own: hanging up shuts the socket, which the server hears at once.
"""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from gateway_core import (
    AllTiersFailed,
    Answer,
    AnswerInterrupted,
    Attempt,
    AttemptOutcome,
    Delta,
    Document,
    Done,
    GatewayError,
    Meta,
    PromptRefused,
    Reason,
    Segment,
    SegmentStarted,
    Source,
    Usage,
)

if TYPE_CHECKING:
    from gateway_core import Event

T = TypeVar("T")
CONNECT, SILENCE = 2.0, 45.0  # seconds; the server says something at least every 10


class ServerUnreachable(GatewayError):
    """No gateway answers at the address."""


class ServerRefused(GatewayError):
    """The gateway there does not want this caller."""


class RemoteGateway:
    """What the magics need of a gateway, asked of a server."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._is_https = parts.scheme == "https"
        self._token = token

    def stream(self, prompt: str, *, documents: Sequence[Document | str] | None = None, **options: Any) -> RemoteStream:
        body = {"prompt": prompt, "stream": True, "details": True, **options}
        if "messages" in body:
            body["messages"] = [{"role": m.role, "content": m.content} for m in body["messages"]]
        path = "/ai/query"
        if documents is not None:
            path = "/ai/query/rag"
            body["documents"] = [d if isinstance(d, str) else {"text": d.text, "name": d.name} for d in documents]
        return RemoteStream(lambda: self._connection(SILENCE), self._path + path, json.dumps(body), self._headers())

    def status(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._call("GET", "/status")
        return found

    def reset(self) -> None:
        self._call("POST", "/admin/reset")

    def close(self) -> None:
        return

    def _call(self, method: str, path: str) -> Any:
        connection = self._connection(10.0)
        try:
            connection.request(method, self._path + path, headers=self._headers())
            response = connection.getresponse()
            body = json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise self._unreachable(exc) from None
        finally:
            connection.close()
        if response.status >= 400:
            raise error_of(body)
        return body

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "text/event-stream, application/json"}
        return headers | ({"authorization": f"Bearer {self._token}"} if self._token else {})

    def _connection(self, silence: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._is_https else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT)
        try:
            connection.connect()
        except OSError as exc:
            raise self._unreachable(exc) from None
        connection.sock.settimeout(silence)
        return connection

    def _unreachable(self, exc: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"no gateway answers at {self.url} ({type(exc).__name__}). Start it with `ai-gateway serve`, or "
            "use the one inside this kernel: %ai config url="
        )


class RemoteStream(Iterator["Event"]):
    """The events of one answer from a server; the same manners as the core's own blocking stream."""

    def __init__(self, connect: Any, path: str, body: str, headers: Mapping[str, str]) -> None:
        self._events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        self._connection: http.client.HTTPConnection | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self.is_over = False
        self._thread = threading.Thread(target=self._read, args=(connect, path, body, headers), daemon=True)
        self._thread.start()

    def __next__(self) -> Event:
        while not self.is_over:
            event = self.wait(0.1)
            if event is not None:
                return event
        raise StopIteration

    def wait(self, seconds: float) -> Event | None:
        """The next event, or `None` when none came in `seconds` or the answer `is_over`."""
        if self.is_over:
            return None
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        except BaseException:
            self.close()
            raise
        self.is_over = event is None or isinstance(event, BaseException)
        if isinstance(event, BaseException):
            raise event
        return event

    def close(self) -> None:
        """Hang up."""
        self.is_over = True
        with self._lock:
            self._is_closed = True
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _read(self, connect: Any, path: str, body: str, headers: Mapping[str, str]) -> None:
        try:
            connection = connect()
            with self._lock:
                self._connection = connection
                if self._is_closed:
                    return
            try:
                self._follow(connection, path, body, headers)
            finally:
                connection.close()
            self._events.put(None)
        except GatewayError as exc:
            self._events.put(exc)
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as exc:
            self._events.put(ServerUnreachable(f"the gateway's reply broke off ({type(exc).__name__})"))

    def _follow(self, connection: http.client.HTTPConnection, path: str, body: str, headers: Mapping[str, str]) -> None:
        # Keep the socket: the client library forgets it when the reply says that it is the last one.
        connection.auto_open = 0
        connection.request("POST", path, body.encode(), dict(headers))
        connection_socket = connection.sock
        response = connection.getresponse()
        connection.sock = connection.sock or connection_socket
        if response.status >= 400:
            raise error_of(json.loads(response.read() or b"null"))
        story = _Story()
        for name, data in server_sent(iter(response.readline, b"")):
            event = story.event(name, data)
            if event is not None:
                self._events.put(event)
            if isinstance(event, Done):
                return
        raise ServerUnreachable("the gateway's reply ended before the answer did")


class _Story:
    """Turns a server's events into ours, and keeps what was shown in case the answer breaks off."""

    def __init__(self) -> None:
        self._meta = Meta("", "", "closed")
        self._texts: list[tuple[str, str]] = []  # backend and text, segment by segment

    def event(self, name: str, data: Mapping[str, Any]) -> Event | None:
        if name == "meta":
            self._meta = Meta(data["id"], data["backend"], data["state"])
            self._texts = [(self._meta.backend, "")]
            return self._meta
        if name == "delta":
            backend, text = self._texts.pop()
            self._texts.append((backend, text + data["text"]))
            return Delta(data["text"], data["segment"], data["seq"])
        if name == "segment":
            if data["action"] == "restart":
                self._texts = []
            self._texts.append((data["backend"], ""))
            reason = _reason(data.get("reason")) or Reason.STREAM_INTERRUPTED
            return SegmentStarted(data["segment"], data["backend"], reason, data["action"])
        if name == "done":
            return Done(answer_of(data))
        if name == "error":
            raise error_of(data, self._partial())
        return None

    def _partial(self) -> Answer:
        segments, at = [], 0
        for backend, text in self._texts:
            segments.append(Segment(backend, at, at + len(text)))
            at += len(text)
        text = "".join(text for _, text in self._texts)
        backend = self._texts[-1][0] if self._texts else self._meta.backend
        return Answer(
            self._meta.id, text, backend, backend, None, self._meta.state, "interrupted", tuple(segments), attempts=()
        )


def server_sent(lines: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    """Name and data of each server-sent event. Lines end at LF or CRLF only, never at a Unicode line separator."""
    name, data = "", list[str]()
    for raw in lines:
        line = raw.rstrip(b"\r\n").decode()
        if not line:
            if data:
                yield name, json.loads("\n".join(data))
            name, data = "", []
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)


def answer_of(reply: Mapping[str, Any]) -> Answer:
    details = reply.get("details") or {}
    timing = details.get("timing") or {}
    text, backend = reply["response"], reply["backend"]
    return Answer(
        id=details.get("id", ""),
        text=text,
        backend=backend,
        mode=details.get("mode") or backend,
        model=details.get("model"),
        state=reply["state"],
        finish_reason=details.get("finish_reason") or "stop",
        segments=tuple(_made(Segment, s) for s in details.get("segments") or ()) or (Segment(backend, 0, len(text)),),
        attempts=_attempts(details.get("attempts")),
        sources=tuple(_made(Source, s) for s in details.get("sources") or ()),
        grounding=details.get("grounding"),
        usage=_made(Usage, details.get("usage") or {}),
        notes=tuple(details.get("notes") or ()),
        first_token_ms=timing.get("first_token_ms"),
        total_ms=timing.get("total_ms") or 0.0,
    )


def error_of(problem: Any, partial: Answer | None = None) -> GatewayError:
    """The error a problem document tells of, as the gateway inside the kernel would have raised it."""
    if not isinstance(problem, Mapping):
        return ServerRefused("the gateway answered with an error it did not explain")
    code, detail, cure = str(problem.get("code")), str(problem.get("detail")), str(problem.get("cure") or "")
    attempts = _attempts(problem.get("attempts"))
    if code == Reason.NO_TIER_ANSWERED:
        return AllTiersFailed(attempts)
    if code == Reason.STREAM_INTERRUPTED and partial is not None:
        from dataclasses import replace

        reason = next((a.reason for a in attempts if a.outcome == "interrupted" and a.reason), None)
        broken = replace(partial, attempts=attempts)
        return AnswerInterrupted(broken, reason or Reason.STREAM_INTERRUPTED, detail, cure=cure)
    if problem.get("status") in (413, 422):
        refused = PromptRefused(detail, field=problem.get("field"), cure=cure, attempts=attempts)
        refused.reason = _reason(code) or Reason.INVALID_REQUEST
        return refused
    return ServerRefused(" ".join(part for part in (f"{problem.get('title')}: {detail}.", cure) if part))


def _attempts(items: Any) -> tuple[Attempt, ...]:
    found = []
    for item in items or ():
        known = {**item, "outcome": AttemptOutcome(item["outcome"]), "reason": _reason(item.get("reason"))}
        found.append(_made(Attempt, known))
    return tuple(found)


def _reason(word: Any) -> Reason | None:
    return Reason(word) if word in set(Reason) else None


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    """The value, without fields that a newer server may send."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in known})
