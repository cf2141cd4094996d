"""`thresher solve --rounds N`: a session in which the model is told what failed, without anybody at the keyboard."""

from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from thresher.client import Client, Turn, TurnStream, to_plain
from thresher.v1 import refine_pb2, solve_pb2, verdict_pb2

from engine.cli._interrupt import on_interrupt
from engine.cli._output import EXIT_GOOD, EXIT_INTERRUPTED, EXIT_NOT_SOLVED, print_json
from engine.cli._report import print_program


def solve_in_rounds(
    spec: solve_pb2.SolveSpec,
    rounds: int,
    connect: Callable[[], Client],
    deadline: float | None,
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    """Up to so many turns; the exit code. Raises ThresherError, also where a turn fails."""
    with connect() as client, client.refine(spec, rounds=rounds, timeout=deadline) as session:
        asked = session.start()
        with on_interrupt(session.stop) as interrupted:
            for reply in asked:
                if reply.HasField("turn_ended") and not (as_json or quiet):
                    typer.echo(_line(asked.turns[-1], rounds), err=True)
        transcript = session.end()
    if interrupted:
        typer.echo("thresher: interrupted; the turn is cancelled", err=True)
        return EXIT_INTERRUPTED
    asked.check()
    if as_json:
        print_json(_document(asked, transcript))
    elif asked.code is not None:
        print_program(Console(), asked.code)
    return EXIT_GOOD if asked.solved else EXIT_NOT_SOLVED


def _line(turn: Turn, rounds: int) -> str:
    """`round 2 of 4: unsolved; the best of 5 programs passes 2 of 3 tests; prompt of 310 tokens, 120 of them cached`"""
    parts = [f"round {turn.number} of {rounds}: {turn.outcome.replace('_', ' ')}"]
    judged = [one for one in turn.candidates if one.report.verdict != verdict_pb2.VERDICT_SKIPPED]
    if judged:
        best = max(judged, key=lambda one: one.report.tests_passed)
        passed = f"{best.report.tests_passed} of {best.report.tests_total} tests"
        parts.append(f"the best of {len(judged)} programs passes {passed}")
    if (cost := turn.accounting) is not None:
        parts.append(f"prompt of {cost.prompt_tokens} tokens, {cost.cached_prompt_tokens} of them cached")
    return "; ".join(parts)


def _document(asked: TurnStream, transcript: refine_pb2.Transcript) -> dict[str, Any]:
    return {
        "solved": asked.solved,
        "outcome": asked.turns[-1].outcome,
        "program": asked.code,
        "rounds": len(asked.turns),
        "summary": None if asked.summary is None else to_plain(asked.summary),
        "transcript": to_plain(transcript),
    }
