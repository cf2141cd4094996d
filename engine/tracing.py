"""Spans of what a server does, where its environment asks for them; else nothing is imported and nothing is kept.

OpenTelemetry's own variables say all: spans are on where OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
OTEL_EXPORTER_OTLP_ENDPOINT names a collector, or OTEL_TRACES_EXPORTER is `otlp`, unless that is `none` or
OTEL_SDK_DISABLED is `true`. Which calls are kept (OTEL_TRACES_SAMPLER), the server's name (OTEL_SERVICE_NAME) and the
rest the SDK reads itself. engine/otel.py is what knows the SDK; it needs the extra `otel`.

The span of what is being done is in the context of its task, so that no signature carries it. Spans hold names, figures
and outcomes: never a prompt, a test or a program.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from importlib.util import find_spec
from typing import Protocol

import structlog

INSTALL = "pip install 'thresher[otel]'"
Value = str | int | float | bool

_log = structlog.stdlib.get_logger("tracing")


class Span(Protocol):
    """An open span. Times are on time.monotonic's clock; None is now."""

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits if the span is kept, else None."""
        ...

    def child(self, name: str, attributes: Mapping[str, Value], *, at: float | None = None) -> "Span":
        """A span of a part of this one."""
        ...

    def calling(self, method: str) -> tuple["Span", list[tuple[str, str]]]:
        """A span of a call to another server, and the metadata by which that one goes on with it."""
        ...

    def add(self, attributes: Mapping[str, Value]) -> None:
        """More of what is known; without effect once it has ended."""
        ...

    def fail(self, kind: str) -> None:
        """It has failed; `kind` is one of few words, since messages may quote what was sent."""
        ...

    def end(self, *, at: float | None = None) -> None:
        """It is over. Only the first end counts."""
        ...


class Tracing(Protocol):
    """Makes the first span of each call, and sends what has ended."""

    def called(self, method: str, metadata: Mapping[str, str]) -> Span:
        """The span of a call of a gRPC method ("/package.Service/Method"), part of what its W3C context names."""
        ...

    def close(self) -> None:
        """Send what is left, for at most a few seconds."""
        ...


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def current_span() -> Span | None:
    """The span of what this task does, if there is one that is kept."""
    span = _current.get()
    return None if span is None or span.trace_id is None else span


def calling(method: str) -> tuple[Span | None, list[tuple[str, str]]]:
    """See Span.calling. A call whose spans are not kept says so to the server that is called."""
    span = _current.get()
    return (None, []) if span is None else span.calling(method)


@contextmanager
def within(span: Span | None) -> Generator[None]:
    """What is done in this block is part of that span. Not for a block with a yield: the reader would be in it, too."""
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


def now_within(span: Span | None) -> None:
    """What this task does from now on is part of that span: for a task of its own, since nothing sets that back."""
    _current.set(span)


def context_within(span: Span | None) -> Context:
    """The context of a task that is part of that span, or of the present one if it is None."""
    context = copy_context()
    if span is not None:
        context.run(_current.set, span)
    return context


def start_tracing() -> Tracing | None:
    """Begin to keep spans if the environment asks for it. None, with a line in the log, where that cannot be done."""
    if not _wanted():
        return None
    if (trouble := _trouble()) is not None:
        _log.warning("no_spans", reason=trouble)
        return None
    try:
        from engine.otel import OtlpTracing

        return OtlpTracing()
    except Exception as error:  # what the SDK raises for a variable that it cannot read has no common type
        _log.warning("no_spans", reason=f"OpenTelemetry's SDK cannot be set up: {type(error).__name__}: {error}")
        return None


def _wanted() -> bool:
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter == "none" or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return bool(exporter) or any(os.environ.get(name, "").strip() for name in endpoints)


def _trouble() -> str | None:
    """Why what the environment asks for cannot be had."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter != "otlp":
        return f"OTEL_TRACES_EXPORTER is {exporter!r}; there are otlp and none"
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := os.environ.get(name, "").strip():
            if protocol != "grpc":
                return f"{name} is {protocol!r}; spans are sent by grpc alone: set it to grpc, or leave it out"
            break
    packages = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc")
    if not all(_installed(package) for package in packages):
        return f"OpenTelemetry's SDK and OTLP exporter are not installed; run: {INSTALL}"
    return None


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # a package above it is not there
        return False
