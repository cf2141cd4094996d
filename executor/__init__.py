"""Runs untrusted programs in nsjail and says what came of them. The host decides each verdict."""

from executor.client import ExecutorClient
from executor.config import WEAKNESSES, ExecutorConfig, ExecutorStats, Mode, SandboxInfo
from executor.errors import (
    ExecutionCancelled,
    ExecutorBusy,
    ExecutorClosed,
    ExecutorDied,
    ExecutorError,
    InvalidProgram,
    SandboxUnavailable,
    UnsupportedLanguage,
)
from executor.passing import Judged, first_passing
from executor.sandbox import Executor, ExecutorLike
from executor.types import CallTest, Comparison, Limits, Program, SnippetTest, StdioTest, Test
from executor.verdict import Evidence, Report, TestReport, Verdict

__all__ = [
    "WEAKNESSES",
    "CallTest",
    "Comparison",
    "Evidence",
    "ExecutionCancelled",
    "Executor",
    "ExecutorBusy",
    "ExecutorClient",
    "ExecutorClosed",
    "ExecutorConfig",
    "ExecutorDied",
    "ExecutorError",
    "ExecutorLike",
    "ExecutorStats",
    "InvalidProgram",
    "Judged",
    "Limits",
    "Mode",
    "Program",
    "Report",
    "SandboxInfo",
    "SandboxUnavailable",
    "SnippetTest",
    "StdioTest",
    "Test",
    "TestReport",
    "UnsupportedLanguage",
    "Verdict",
    "first_passing",
]
