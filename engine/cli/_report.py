"""What a solve or a run came to, as text."""

from collections.abc import Iterable

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from thresher.client.account import Cost
from thresher.client.plain import enum_word
from thresher.client.progress import verdict_words
from thresher.v1 import solve_pb2, verdict_pb2


def outcome_word(summary: solve_pb2.Summary) -> str:
    """`solved`, `exhausted`, `budget_time` ..."""
    return enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, summary.outcome)


def print_program(console: Console, code: str) -> None:
    """Prints a program: coloured on a terminal, as it is otherwise."""
    if console.is_terminal:
        console.print(Syntax(code.rstrip("\n"), "python", background_color="default"))
    else:
        console.file.write(code if code.endswith("\n") else code + "\n")


def print_cost(console: Console, summary: solve_pb2.Summary) -> None:
    """Prints what the solve cost: a table on a terminal, plain lines otherwise."""
    if not console.is_terminal:
        console.file.write(f"{Cost(summary)!r}\n")
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), show_edge=False)
    for name, words in Cost(summary).rows:
        table.add_row(Text(name), Text(words))
    console.print(table)


def lowered_line(lowered: Iterable[verdict_pb2.LoweredLimit]) -> str:
    """Which limits the server lowered, in one line; empty where there are none."""
    words = dict.fromkeys(f"{one.limit} {one.applied:g} instead of {one.asked:g}" for one in lowered)
    return f"this server allows no more than: {', '.join(words)}" if words else ""


def prune_line(spec: solve_pb2.SolveSpec, summary: solve_pb2.Summary) -> str:
    """What to know where pruning was asked for and no sample was given up, in one line; empty otherwise."""
    if spec.sampling.prune != solve_pb2.PRUNE_SYNTAX or summary.accounting.samples_pruned:
        return ""
    where = "; of a chat's answer it reads the Python code block alone" if spec.problem.HasField("chat") else ""
    return f"--prune syntax: no sample was given up{where} (docs/sampling.md)"


def test_table(report: verdict_pb2.ExecutionReport) -> Table:
    """One row for each test that ran."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for name in ("test", "verdict", "ms", "evidence", ""):
        table.add_column(name, no_wrap=name != "", overflow="ellipsis")
    for result in report.results:
        passed = result.verdict == verdict_pb2.VERDICT_PASSED
        table.add_row(
            result.name or str(result.test_index),
            Text(verdict_words(result.verdict), style="green" if passed else "red"),
            f"{result.duration.ToMilliseconds()}",
            enum_word(verdict_pb2.Evidence.DESCRIPTOR, result.evidence).replace("_", " ") if result.evidence else "",
            Text(first_line(result.message)),
        )
    return table


def first_line(text: str, width: int = 100) -> str:
    """The first line that is not blank, cut to `width` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= width else line[: width - 1] + "…"
