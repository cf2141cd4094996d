"""Shared set-up of all tests."""

import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from engine.config import LogFormat, LogLevel
from engine.logs import configure_logs

# Helpers that several test files share live in tests/support.
sys.path.insert(0, str(Path(__file__).parent))

# The time of an example, or of its making, says how busy the machine is, not whether it is right.
settings.register_profile("thresher", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("thresher")


@pytest.fixture(autouse=True)
def _logs() -> None:
    """JSON lines on standard error: structlog's own default draws tracebacks with all locals, for seconds each."""
    structlog.contextvars.clear_contextvars()
    configure_logs(LogLevel.INFO, LogFormat.JSON)
