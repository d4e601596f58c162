"""Spans to a collector by OTLP over HTTP, with OpenTelemetry's own exporter, which also reads its variables.

Imported only where traces are on: OpenTelemetry is an extra.
"""

import logging
import os
import socket
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from polyport.telemetry.traces.context import Context
from polyport.telemetry.traces.spans import Kind, Span

log = logging.getLogger(__name__)

KINDS = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
NAME = "polyport"
#: Characters of a reason.
MAX_REASON = 300


class Otlp:
    """``endpoint``: the whole URL; empty: by OpenTelemetry's variables, else on this machine. ``instance`` tells the
    workers apart."""

    def __init__(self, endpoint: str, instance: str) -> None:
        self._said = _Said()
        self._exporter = OTLPSpanExporter(endpoint=endpoint or None)
        self._resource = _resource(instance)
        self._scope = InstrumentationScope(NAME, version(NAME))
        if self._said.first:
            log.warning("OpenTelemetry: %s", self._said.first)

    def send(self, spans: list[Span]) -> str:
        """See `sending.Exporter`."""
        self._said.first = ""
        result = self._exporter.export([self._readable(span) for span in spans])
        return "" if result is SpanExportResult.SUCCESS else self._said.first or "the collector did not take them"

    def close(self) -> None:
        """See `sending.Exporter`."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=_context(span.context, is_remote=False),
            parent=_context(span.parent, is_remote=span.is_remote) if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.description or None) if span.error else Status(),
            start_time=span.began,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )


class _Said(logging.Handler):
    """The exporter logs each of its attempts. Of that the first line is kept, which has the reason, for whoever says it
    once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.first = self.first or record.getMessage()[:MAX_REASON]


def _resource(instance: str) -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before what is said here."""
    ours = {
        SERVICE_NAME: NAME,
        SERVICE_VERSION: version(NAME),
        SERVICE_INSTANCE_ID: f"{socket.gethostname()}/{instance}",
    }
    stated = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {pair.partition("=")[0].strip() for pair in stated.split(",")}
    if os.environ.get("OTEL_SERVICE_NAME"):
        named.add(SERVICE_NAME)
    return Resource.create({name: value for name, value in ours.items() if name not in named})


def _context(context: Context, *, is_remote: bool) -> SpanContext:
    state = TraceState.from_header([context.state.decode("ascii")]) if context.state else trace.DEFAULT_TRACE_STATE
    return SpanContext(context.trace_id, context.span_id, is_remote, TraceFlags(context.flags), state)
