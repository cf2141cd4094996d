"""How far a run is, in a pipe and on a terminal."""

import io

from rich.console import Console
from support.experiments import outcome

from benchmarks.experiments.progress import Progress


def test_a_line_for_each_problem_in_a_pipe() -> None:
    file = io.StringIO()
    with Progress("mbpp", 3, console=Console(file=file)) as progress:
        progress.add("samples", outcome("11", ["passed", "wrong_answer"]))
        progress.add("samples", outcome("12", ["wrong_answer", "wrong_answer"]))
    assert file.getvalue().splitlines() == [
        "1/3 samples 11: 1 of 2 passed; 1 of 1 solved so far",
        "2/3 samples 12: 0 of 2 passed; 1 of 2 solved so far",
    ]


def test_a_run_that_goes_on_counts_what_was_done_before() -> None:
    file = io.StringIO()
    with Progress("mbpp", 3, done=2, solved=1, console=Console(file=file)) as progress:
        progress.add("[odd] name", outcome("[13]", ["passed"]))
    assert file.getvalue().splitlines() == [
        "mbpp: going on; 2 of 3 were done before",
        "3/3 [odd] name [13]: 1 of 1 passed; 2 of 3 solved so far",
    ]


def test_one_line_that_is_drawn_anew_on_a_terminal() -> None:
    file = io.StringIO()
    with Progress("mbpp", 4, console=Console(file=file, force_terminal=True, width=120)) as progress:
        progress.add("samples", outcome("11", ["passed"]))
        line = progress._line().plain
    assert "1/4" in line and "1 of 1 solved so far" in line and "left" in line and line.count("━") == 24
    assert "passed" not in file.getvalue()
