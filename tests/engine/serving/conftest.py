"""Logs of these tests go to JSON lines on standard error: structlog's own default draws tracebacks with all locals."""

import pytest
import structlog

from engine.config import LogFormat, LogLevel
from engine.logs import configure_logs


@pytest.fixture(autouse=True)
def _logs() -> None:
    structlog.contextvars.clear_contextvars()
    configure_logs(LogLevel.INFO, LogFormat.JSON)
