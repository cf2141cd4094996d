"""What a solve or a run came to, as text."""

from collections.abc import Iterable

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from thresher.client.plain import enum_word
from thresher.client.progress import verdict_words
from thresher.v1 import solve_pb2, verdict_pb2


def winner(summary: solve_pb2.Summary) -> solve_pb2.Candidate | None:
    """The program to hand out: the first candidate that passed; None where none did."""
    passed = (c for c in summary.candidates if c.report.verdict == verdict_pb2.VERDICT_PASSED)
    return next(passed, None)


def outcome_word(summary: solve_pb2.Summary) -> str:
    """`solved`, `exhausted`, `budget_time` ..."""
    return enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, summary.outcome)


def print_program(console: Console, code: str) -> None:
    """Prints a program: coloured on a terminal, as it is otherwise."""
    if console.is_terminal:
        console.print(Syntax(code.rstrip("\n"), "python", background_color="default"))
    else:
        console.file.write(code if code.endswith("\n") else code + "\n")


def cost_table(summary: solve_pb2.Summary) -> Table:
    """What the solve cost, in the words of design.md: samples are draws, rows are what the model really computed."""
    cost = summary.accounting
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), show_edge=False)
    first_pass = "none passed"
    if cost.HasField("time_to_first_pass"):
        first_pass = f"{cost.time_to_first_pass.ToTimedelta().total_seconds():.2f} s"
    saved = f" ({100 * cost.rows_saved / cost.generated_tokens:.0f} %)" if cost.generated_tokens else ""
    table.add_row("time to first pass", first_pass)
    best = winner(summary)
    if best is not None and best.HasField("held_out"):
        table.add_row("held-out tests", f"{best.held_out.tests_passed} of {best.held_out.tests_total} passed")
    table.add_row(
        "candidates",
        f"{cost.candidates_finished} distinct, {cost.candidates_executed} executed, {cost.candidates_passed} passed",
    )
    pruned = f", {cost.samples_pruned} given up" if cost.samples_pruned else ""
    table.add_row(
        "samples",
        f"{cost.samples_requested} asked for, {cost.samples_finished} complete, {cost.samples_passed} of them passed, "
        f"{cost.samples_cut_off} cut off{pruned}",
    )
    table.add_row("prompt", f"{cost.prompt_tokens} tokens, {cost.cached_prompt_tokens} of them cached")
    table.add_row("tokens drawn", f"{cost.generated_tokens} over all samples")
    table.add_row("rows computed", f"{cost.rows_computed}")
    table.add_row("rows saved", f"{cost.rows_saved}{saved}")
    if cost.drafted_tokens:
        right = f"{100 * cost.accepted_draft_tokens / cost.drafted_tokens:.0f} %"
        table.add_row("tokens guessed ahead", f"{cost.drafted_tokens}, {cost.accepted_draft_tokens} right ({right})")
    table.add_row("tokens cut off", f"{cost.wasted_tokens}")
    table.add_row("seed", f"{summary.seed}")
    for tier in summary.tiers:
        table.add_row(f"tier {tier.name}", _tier_words(tier))
    return table


def _tier_words(tier: solve_pb2.TierCost) -> str:
    cost = tier.accounting
    words = [
        enum_word(solve_pb2.TierOutcome.DESCRIPTOR, tier.outcome).replace("_", " "),
        f"{cost.samples_finished} samples complete",
        f"{cost.generated_tokens} tokens{' at least' if tier.partial else ''}",
        *([f"price {tier.price:.4g}"] if tier.HasField("price") else []),
    ]
    return ", ".join(words) + (f" ({tier.detail})" if tier.detail else "")


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
