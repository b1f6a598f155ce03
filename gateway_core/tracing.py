"""Requests as OpenTelemetry spans, in the words of the GenAI semantic conventions; only with `AI_GATEWAY_OTEL=1`.

    ask | rag | embed              one request, from its first moment to its end
    ├── retrieval                  reading documents and choosing passages
    ├── chat gpt-5-mini            one call of one tier; `error.type` is one of our closed list of reasons
    └── chat qwen3:4b              the next, if that one failed
    with the events ai_gateway.skipped (a tier that was left out) and ai_gateway.takeover (another tier went on)

Spans are made from the facts of `gateway_core.account` once a request has ended. Those hold no prompt, document, answer
or key, and there is no switch that would add them. The spans go to the endpoint that the standard variables name
(`OTEL_EXPORTER_OTLP_ENDPOINT`, else this laptop's port 4318), from a thread of the SDK: an exporter that fails costs a
line in the log and no answer. A `traceparent` that came in over REST is continued; none goes out to a provider, which
must not learn how the calls of one user hang together.

This module imports nothing of OpenTelemetry before `start` is called.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import __version__
from .errors import SettingsInvalid
from .extras import how_to_add
from .settings import is_loopback
from .telemetry import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger("ai_gateway")

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"
LONGEST_VALUE = 200  # characters: a model's name can be anything that a caller sent
_GOODBYE = 2.0  # seconds that closing waits for the last spans to be taken
_INSTALL = f"needs its extra: {how_to_add('otel')}; or unset it"
# Well-known names of the conventions, where they differ from ours. Ollama and Copilot have none there.
_PROVIDERS = {
    "copilot": "github",
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
    "embedded": "llama_cpp",
}
_ERRORS = frozenset({"unanswered", "interrupted", "refused", "failed"})


def start() -> Exported | None:
    """Begin to export; `None` when the standard variables switch it off.

    Raises `SettingsInvalid` when the extra is missing or the standard variables ask for what is not spoken here.
    """
    env = os.environ.get
    if env("OTEL_SDK_DISABLED", "").strip().lower() == "true" or env("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return None
    protocol = env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        raise SettingsInvalid(
            "AI_GATEWAY_OTEL: traces are sent by http/protobuf only;"
            " set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf and the endpoint's port for it (often 4318)"
        )
    endpoint = env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not endpoint:
        endpoint = (env("OTEL_EXPORTER_OTLP_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/") + "/v1/traces"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsInvalid("OTEL_EXPORTER_OTLP_ENDPOINT: must be an address such as http://127.0.0.1:4318")
    try:
        return Exported(endpoint)
    except ImportError:
        pass
    raise SettingsInvalid(f"AI_GATEWAY_OTEL: {_INSTALL}")


class Exported:
    """Hears of requests and sends their spans to `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        import requests
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        session = requests.Session()
        session.trust_env = not is_loopback(endpoint)  # this laptop is never asked through a proxy
        exporter = OTLPSpanExporter(endpoint=endpoint, session=session)
        self._stop_exporter: Callable[[], None] = exporter.shutdown
        self._is_closed = False
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "ai-gateway"}
        self._provider: TracerProvider = TracerProvider(
            resource=Resource.create({**named, SERVICE_VERSION: __version__}),
            span_limits=SpanLimits(max_attribute_length=LONGEST_VALUE),
            shutdown_on_exit=False,  # a dead collector must not hold up the end of the process
        )
        self._provider.add_span_processor(BatchSpanProcessor(_quiet(exporter, endpoint)))
        self.hear = Spans(self._provider.get_tracer("ai_gateway", __version__)).hear

    async def aclose(self) -> None:
        """Send what is left, within two seconds; then the exporter's thread ends."""
        if self._is_closed:
            return
        self._is_closed = True
        closing = threading.Thread(target=self._provider.shutdown, name="ai-gateway-traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _GOODBYE)
        if closing.is_alive():
            with _muted():
                self._stop_exporter()  # ends the wait between two tries
            await asyncio.to_thread(closing.join, _GOODBYE / 4)


class Spans:
    """A listener of telemetry that turns each request into spans of `tracer`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def hear(self, happening: Happening) -> None:
        if happening.kind != "request":
            return
        from opentelemetry.trace import SpanKind, set_span_in_context

        facts = happening.facts
        span = self._tracer.start_span(
            facts["task"], context=_parent(facts["traceparent"]), kind=SpanKind.INTERNAL, start_time=_moment(facts, 0)
        )
        _describe_request(span, facts)
        inside = set_span_in_context(span)
        if "retrieval" in facts:
            self._retrieval(facts, inside)
        for attempt in facts["attempts"]:
            if attempt["outcome"] == "skipped":
                skipped = _present(
                    {
                        "ai_gateway.backend": attempt["backend"],
                        "ai_gateway.mode": attempt["mode"],
                        "error.type": attempt["reason"],
                    }
                )
                span.add_event("ai_gateway.skipped", skipped, _moment(facts, attempt["begun_ms"]))
            else:
                self._attempt(facts, attempt, inside)
        _tell_takeovers(span, facts)
        span.end(_moment(facts, facts["ms"]))

    def _retrieval(self, facts: Mapping[str, Any], inside: Context) -> None:
        found = facts["retrieval"]
        span = self._tracer.start_span("retrieval", context=inside, start_time=_moment(facts, found["begun_ms"]))
        counts = {f"ai_gateway.retrieval.{name}": found.get(name) for name in ("documents", "passages", "chars")}
        span.set_attributes(_present({"gen_ai.operation.name": "retrieval", **counts}))
        span.end(_moment(facts, found["begun_ms"] + found["ms"]))

    def _attempt(self, facts: Mapping[str, Any], attempt: Mapping[str, Any], inside: Context) -> None:
        from opentelemetry.trace import SpanKind, StatusCode

        is_model = attempt["mode"] != "extractive"  # which quotes documents, and asks nobody
        model = attempt["asked_model"] or attempt["model"]
        operation = "embeddings" if facts["task"] == "embed" else "chat"
        span = self._tracer.start_span(
            (f"{operation} {model}" if model else operation)[:LONGEST_VALUE] if is_model else "quote",
            context=inside,
            kind=SpanKind.CLIENT if is_model else SpanKind.INTERNAL,
            attributes=_present(_of_call(operation, attempt, model) if is_model else {}),
            start_time=_moment(facts, attempt["begun_ms"]),
        )
        first = attempt["first_token_ms"]
        span.set_attributes(
            _present(
                {
                    "ai_gateway.backend": attempt["backend"],
                    "ai_gateway.mode": attempt["mode"],
                    "ai_gateway.outcome": attempt["outcome"],
                    "ai_gateway.may_have_billed": attempt["may_have_billed"],
                    "ai_gateway.time_to_first_text": None if first is None else (first - attempt["begun_ms"]) / 1000,
                    "error.type": attempt["reason"] if attempt["outcome"] in ("failed", "interrupted") else None,
                }
            )
        )
        if is_model:
            span.set_attributes(_present(_of_reply(attempt)))
        if attempt["outcome"] in ("failed", "interrupted"):
            span.set_status(StatusCode.ERROR)
        span.end(_moment(facts, attempt["begun_ms"] + attempt["ms"]))


def _of_call(operation: str, attempt: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    mode = attempt["mode"] or attempt["backend"]
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(mode, mode),
        "gen_ai.request.model": model,
        "gen_ai.request.stream": operation == "chat" or None,  # always, whatever the caller wants
        "server.address": attempt["host"],
        "server.port": attempt["port"],
    }


def _of_reply(attempt: Mapping[str, Any]) -> dict[str, Any]:
    finish = attempt["finish_reason"]
    return {
        "gen_ai.response.model": attempt["model"],
        "gen_ai.response.finish_reasons": (finish,) if finish else None,
        "gen_ai.usage.input_tokens": attempt["input_tokens"],
        "gen_ai.usage.output_tokens": attempt["output_tokens"],
    }


def _describe_request(span: Span, facts: Mapping[str, Any]) -> None:
    from opentelemetry.trace import StatusCode

    is_error = facts["outcome"] in _ERRORS
    first = facts.get("first_token_ms")
    span.set_attributes(
        _present(
            {
                "ai_gateway.request.id": facts["id"],
                "ai_gateway.outcome": facts["outcome"],
                "ai_gateway.backend": facts.get("backend"),
                "ai_gateway.mode": facts.get("mode"),
                "ai_gateway.circuit.state": facts.get("state"),
                "ai_gateway.segments": len(facts["segments"]) if "segments" in facts else None,
                "ai_gateway.time_to_first_text": None if first is None else first / 1000,
                "ai_gateway.pinned": facts["tier"],
                "ai_gateway.local_only": facts["local_only"],
                "error.type": facts["reason"] if is_error else None,
            }
        )
    )
    if is_error:
        span.set_status(StatusCode.ERROR)


def _tell_takeovers(span: Span, facts: Mapping[str, Any]) -> None:
    before: Mapping[str, Any] | None = None
    for attempt in facts["attempts"]:
        if attempt["outcome"] == "skipped" or attempt["segment"] is None:
            continue
        if before is not None and before["outcome"] == "interrupted":
            told = {
                "ai_gateway.from": before["backend"],
                "ai_gateway.to": attempt["backend"],
                "ai_gateway.action": attempt["action"],
                "error.type": before["reason"],
            }
            when = attempt["first_token_ms"] or attempt["begun_ms"]
            span.add_event("ai_gateway.takeover", _present(told), _moment(facts, when))
        before = attempt


def _parent(traceparent: str | None) -> Context | None:
    """The caller's span; `None`: whatever span is current, for programs that trace themselves."""
    if traceparent is None:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def _moment(facts: Mapping[str, Any], ms: float) -> int:
    """Nanoseconds since 1970."""
    return int((facts["begun"] + ms / 1000) * 1_000_000_000)


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known, and enumerations as plain text."""
    return {name: str(v) if isinstance(v, str) else v for name, v in facts.items() if v is not None}


# ---- an exporter whose troubles are told once

_in_export = threading.local()


@contextmanager
def _muted() -> Iterator[None]:
    _in_export.is_ours = True
    try:
        yield
    finally:
        _in_export.is_ours = False


class _NotOurs(logging.Filter):
    """Lets pass what the SDK logs for others who use it in this process."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_in_export, "is_ours", False)


_not_ours = _NotOurs()


def _quiet(exporter: SpanExporter, endpoint: str) -> SpanExporter:
    """The exporter, with one line in our log when it begins to fail instead of several of its own for each try."""
    from opentelemetry.exporter.otlp.proto.http import trace_exporter
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    logging.getLogger(trace_exporter.__name__).addFilter(_not_ours)
    parts = urlsplit(endpoint)
    place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    class Quiet(SpanExporter):
        is_failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            with _muted():
                try:
                    result = exporter.export(spans)
                except Exception as exc:  # noqa: BLE001 - a third party's code, in a thread where nobody would hear it
                    log.debug("the exporter failed (%s)", type(exc).__name__)
                    result = SpanExportResult.FAILURE
            has_failed = result is not SpanExportResult.SUCCESS
            if has_failed and not self.is_failing:
                log.warning("traces are not taken at %s; answers are not affected", place)
            self.is_failing = has_failed
            return result

        def shutdown(self) -> None:
            with _muted():
                exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return exporter.force_flush(timeout_millis)

    return Quiet()
