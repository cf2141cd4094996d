"""`thresher exec` with several programs: one call, a line for each as it ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from google.rpc import code_pb2  # pyright: ignore[reportMissingTypeStubs]
from rich.console import Console
from rich.text import Text
from thresher.client import Client, to_plain
from thresher.client.progress import verdict_words
from thresher.v1 import execution_service_pb2, verdict_pb2

from engine.cli._interrupt import on_interrupt
from engine.cli._output import (
    EXIT_FAILED,
    EXIT_GOOD,
    EXIT_INTERRUPTED,
    EXIT_NOT_SOLVED,
    EXIT_USAGE,
    print_json,
)
from engine.cli._report import first_line, lowered_line

_CALLER_AT_FAULT = (code_pb2.INVALID_ARGUMENT, code_pb2.UNIMPLEMENTED)


def execute_many(
    client: Client,
    sources: Sequence[Path],
    programs: Sequence[execution_service_pb2.Program],
    *,
    timeout: float | None,
    as_json: bool,
) -> typer.Exit:
    """Runs them, says what each came to, and returns how to exit. Raises ThresherError."""
    console = Console(highlight=False)
    rows: list[dict[str, Any]] = [{} for _ in programs]
    worst = EXIT_GOOD
    with client.execute_many(programs, timeout=timeout) as replies, on_interrupt(replies.cancel) as interrupted:
        for reply in replies:
            source = sources[reply.id]
            if reply.HasField("refused"):
                worst = max(worst, EXIT_USAGE if reply.refused.code in _CALLER_AT_FAULT else EXIT_FAILED)
                rows[reply.id] = {"source": str(source), "passed": False, "refused": to_plain(reply.refused)}
                line = Text(f"refused: {reply.refused.message} [{reply.refused.reason}]", style="bold red")
            else:
                passed = reply.report.verdict == verdict_pb2.VERDICT_PASSED
                failed = reply.report.verdict == verdict_pb2.VERDICT_SANDBOX_FAILURE
                worst = max(worst, EXIT_GOOD if passed else EXIT_FAILED if failed else EXIT_NOT_SOLVED)
                rows[reply.id] = {"source": str(source), "passed": passed, "report": to_plain(reply.report)}
                line = _report_line(reply.report)
            if not as_json:
                console.print(Text(f"{source}: ").append_text(line), soft_wrap=True)
    if interrupted:
        return typer.Exit(EXIT_INTERRUPTED)
    if as_json:
        print_json({"passed": worst == EXIT_GOOD, "programs": rows})
    return typer.Exit(worst)


def _report_line(report: verdict_pb2.ExecutionReport) -> Text:
    passed = report.verdict == verdict_pb2.VERDICT_PASSED
    line = Text(verdict_words(report.verdict), style="green" if passed else "red")
    line.append(f", {report.tests_passed} of {report.tests_total} tests passed", style="default")
    telling = [result.message for result in report.results if result.verdict != verdict_pb2.VERDICT_PASSED]
    reason = report.detail or next(iter(telling), "")
    if not passed and reason:
        line.append(f": {first_line(reason)}", style="default")
    if lowered := lowered_line(report.lowered_limits):
        line.append(f" ({lowered})", style="yellow")
    return line
