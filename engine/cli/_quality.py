"""What `thresher models check --quality` measures and prints."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine.cli._output import usage_error


def measure(
    name: str,
    path: Path,
    arithmetics: list[str],
    *,
    humaneval: Path | None,
    problems: int,
    as_json: bool,
) -> dict[str, Any]:
    """Perplexity and agreement of each arithmetic, HumanEval where its file is given; as JSON values.

    Raises ModelError, ValueError or OSError.
    """
    # Before torch is loaded: threads that spin at barriers would bring a busy machine to a stand.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # Slow to import, and needed by this alone.
    from engine.cli import _humaneval
    from engine.runner.arithmetic import Arithmetic, best_arithmetic
    from engine.runner.quality import Score, scores
    from engine.text.model_text import read_model_text

    default = best_arithmetic()
    known: tuple[Arithmetic, ...] = ("int8", "bfloat16", "float32")
    for given in arithmetics:
        if given not in known:
            raise usage_error(f"--arithmetic: {given!r} is none of {', '.join(known)}", as_json=as_json)
    wanted: list[Arithmetic] = [one for one in known if one in arithmetics] or [default]
    records = None if humaneval is None else _humaneval.problems(humaneval, problems)

    def show(score: Score) -> None:
        if not as_json:
            mark = " (default here)" if score.arithmetic == default else ""
            typer.echo(
                f"{name}: {score.arithmetic}{mark}: perplexity {score.perplexity:.4f}, best token that of float32 "
                f"{score.agreement:.2%}, over {score.tokens} tokens in {score.seconds:.1f} s"
            )

    with _bar(f"scoring {name}", shown=not as_json) as step:
        found = scores(path, read_model_text(path).tokenizer, wanted, done=show, step=step)
    result: dict[str, Any] = {
        "default": default,
        "arithmetics": {
            score.arithmetic: {
                "perplexity": score.perplexity,
                "agreement": score.agreement,
                "tokens": score.tokens,
                "seconds": round(score.seconds, 3),
            }
            for score in found
        },
    }
    for score in found if records is not None else ():
        with _bar(f"HumanEval in {score.arithmetic}", shown=not as_json) as step:
            passed = _humaneval.solved(str(path), score.arithmetic, records or [], step)
        result["arithmetics"][score.arithmetic]["humaneval_solved"] = passed
        if not as_json:
            typer.echo(f"{name}: {score.arithmetic}: HumanEval greedy {len(passed)} of {problems}")
    return result


@contextmanager
def _bar(title: str, *, shown: bool) -> Generator[Callable[[int, int], None]]:
    """A progress line on standard error; gives the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
