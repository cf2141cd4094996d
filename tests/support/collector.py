"""A collector of OpenTelemetry's spans on loopback: takes what a server sends by OTLP, and keeps it."""

import threading
from collections.abc import Generator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, slots=True)
class Kept:
    """A span as it arrived; `parent` is empty for the first of a trace."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    start: int
    end: int
    failed: bool
    service: str
    attributes: dict[str, Any]


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """`address` is for OTEL_EXPORTER_OTLP_ENDPOINT."""

    address: str = ""
    sent: list[bytes] = field(default_factory=list)
    spans: list[Kept] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: object) -> Any:
        with self.lock:
            self.sent.append(request.SerializeToString())
            for resource in request.resource_spans:
                known = {one.key: _value(one.value) for one in resource.resource.attributes}
                self.spans += [
                    Kept(
                        name=span.name,
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                        start=span.start_time_unix_nano,
                        end=span.end_time_unix_nano,
                        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                        service=str(known["service.name"]),
                        attributes={one.key: _value(one.value) for one in span.attributes},
                    )
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Kept]:
        """All of that name, in the order of their starts."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start)

    def one(self, name: str) -> Kept:
        """The only one of that name."""
        (span,) = self.named(name)
        return span

    def below(self, parent: Kept) -> list[Kept]:
        """The spans that are parts of this one."""
        return [span for span in self.spans if span.parent == parent.id and span.trace == parent.trace]


@contextmanager
def collecting() -> Generator[Collector]:
    """A collector until the end of the block."""
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()
