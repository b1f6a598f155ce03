"""A collector of traces on a loopback port: keeps the bytes as they came, and decodes them by OTLP's own schema."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass
class Span:
    """One span in plain values. `error` is its status."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    begun: int
    ended: int
    error: bool
    scope: str
    facts: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]


@dataclass
class Collector:
    url: str
    bodies: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    status: int = 200

    @property
    def spans(self) -> list[Span]:
        """All spans, by the moment they began; a parent stands before its children."""
        spans = [
            _plain(span, scope.scope.name)
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(spans, key=lambda span: (span.begun, span.parent != "", span.ended))

    @property
    def resource(self) -> dict[str, Any]:
        request = ExportTraceServiceRequest.FromString(self.bodies[0])
        return _facts(request.resource_spans[0].resource.attributes)


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.heads.append(f"{self.path}\n{self.headers}")
            found.bodies.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(found.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def _plain(span: Any, scope: str) -> Span:
    return Span(
        span.name,
        {1: "internal", 2: "server", 3: "client"}[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        scope,
        _facts(span.attributes),
        [(event.name, _facts(event.attributes)) for event in span.events],
    )


def _facts(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
