"""Spans by OpenTelemetry's SDK, sent by OTLP over gRPC. Imported where tracing is on, and nowhere else.

Names of attributes are those of OpenTelemetry's conventions for RPC and generative models where there is one
(`rpc.*`, `gen_ai.*`, `error.type`), and `thresher.*` otherwise.
"""

import os
import threading
import time
from collections.abc import Mapping

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine.tracing import Value

_FLUSH_SECONDS = 3.0
_SERVICE = "thresher"
_NAME = "OTEL_SERVICE_NAME"

_propagator = TraceContextTextMapPropagator()


class OtelSpan:
    """Fits engine.tracing.Span. All spans of a call share its clock, so that a jump of the wall's turns none around."""

    __slots__ = ("_offset", "_span", "_tracer")

    def __init__(self, span: trace.Span, tracer: trace.Tracer, offset: int) -> None:
        self._span = span
        self._tracer = tracer
        self._offset = offset  # nanoseconds from time.monotonic's clock to the wall's

    @property
    def trace_id(self) -> str | None:
        """See Span."""
        if not self._span.get_span_context().trace_flags.sampled:
            return None
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def child(self, name: str, attributes: Mapping[str, Value], *, at: float | None = None) -> "OtelSpan":
        """See Span."""
        return self._child(name, SpanKind.INTERNAL, attributes, at)

    def calling(self, method: str) -> tuple["OtelSpan", list[tuple[str, str]]]:
        """See Span."""
        called = self._child(method.removeprefix("/"), SpanKind.CLIENT, _rpc(method), None)
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(called._span, otel_context.Context()))
        return called, list(carrier.items())

    def _child(self, name: str, kind: SpanKind, attributes: Mapping[str, Value], at: float | None) -> "OtelSpan":
        parent = trace.set_span_in_context(self._span, otel_context.Context())
        span = self._tracer.start_span(name, parent, kind, attributes, start_time=self._wall(at))
        return OtelSpan(span, self._tracer, self._offset)

    def add(self, attributes: Mapping[str, Value]) -> None:
        """See Span."""
        if self._span.is_recording():
            self._span.set_attributes(attributes)

    def fail(self, kind: str) -> None:
        """See Span."""
        if self._span.is_recording():
            self._span.set_attribute("error.type", kind)
            self._span.set_status(Status(StatusCode.ERROR))

    def end(self, *, at: float | None = None) -> None:
        """See Span."""
        if self._span.is_recording():
            self._span.end(self._wall(at))

    def _wall(self, at: float | None) -> int:
        return self._offset + (time.monotonic_ns() if at is None else round(at * 1e9))


class OtlpTracing:
    """Fits engine.tracing.Tracing. The SDK's queue of spans is bounded, and drops what a dead collector leaves."""

    def __init__(self) -> None:
        named = bool(os.environ.get(_NAME)) or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if named else {"service.name": _SERVICE})
        # Not OpenTelemetry's global provider: two servers in one process (as in tests) have one each.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._exporter = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(_SERVICE)

    def called(self, method: str, metadata: Mapping[str, str]) -> OtelSpan:
        """See Tracing."""
        parent = _propagator.extract(metadata, otel_context.Context())
        offset = time.time_ns() - time.monotonic_ns()
        name = method.removeprefix("/")
        return OtelSpan(self._tracer.start_span(name, parent, SpanKind.SERVER, _rpc(method)), self._tracer, offset)

    def close(self) -> None:
        """See Tracing."""
        # What ends the provider sends what is left first, and takes no limit for it.
        ending = threading.Thread(target=self._provider.shutdown, name="spans-end", daemon=True)
        ending.start()
        ending.join(_FLUSH_SECONDS)
        if ending.is_alive():
            self._exporter.shutdown()


def _rpc(method: str) -> dict[str, Value]:
    return {"rpc.system.name": "grpc", "rpc.method": method.removeprefix("/")}
