"""Structured logs on standard error: console lines on a terminal, JSON otherwise.

`request_id` and `problem_id` come from context variables, so that every line of a call carries them. Programs and
prompts are never written at INFO or above: the keys of WITHHELD are replaced by their length there, and tracebacks show
no local variables.
"""

import logging
import sys
from typing import Any, TextIO, cast

import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from engine.config import LogFormat, LogLevel

WITHHELD = frozenset(
    {
        "args_json",
        "code",
        "completion",
        "content",
        "expected_json",
        "expected_stdout",
        "messages",
        "program",
        "prompt",
        "request",
        "setup_code",
        "snippet",
        "spec",
        "stderr",
        "stdin",
        "stdout",
        "text",
    }
)
"""Keys whose values may hold a program, a prompt, or what a program printed."""

Logger = structlog.stdlib.BoundLogger


def get_logger(name: str) -> Logger:
    """The logger of one module; `name` is its import name."""
    return structlog.stdlib.get_logger(name)


def bind_call(*, request_id: str, problem_id: str = "") -> None:
    """Name the call for all later lines of this task and its children. Each call runs in a task of its own."""
    bind_contextvars(request_id=request_id, **({"problem_id": problem_id} if problem_id else {}))


def configure_logs(level: LogLevel, format: LogFormat = LogFormat.AUTO, stream: TextIO | None = None) -> None:
    """Send all log lines, those of libraries too, to `stream` (standard error). Call it once, before the first line."""
    target: TextIO = cast(TextIO, sys.stderr) if stream is None else stream
    console = format is LogFormat.CONSOLE or (format is LogFormat.AUTO and target.isatty())
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _withhold,
    ]
    last: list[Processor]
    if console:
        colours = target.isatty()
        last = [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
    else:
        # The default transformer would write the local variables of each frame, programs among them.
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        last = [structlog.processors.ExceptionRenderer(transformer), structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())
    # asyncio's debug lines print whole callbacks with their arguments, and those of gRPC tell of every call's loop.
    for name in ("asyncio", "grpc"):
        logging.getLogger(name).setLevel(logging.INFO)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _withhold(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if event.get("level") == "debug":
        return event
    for key in WITHHELD & event.keys():
        value: Any = event[key]
        event[key] = f"<withheld, length {len(value)}>" if hasattr(value, "__len__") else "<withheld>"
    return event
