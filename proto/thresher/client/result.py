"""What a solve came to: an object that a notebook, a prompt and a script can all read."""

import html
from collections.abc import Iterable
from dataclasses import dataclass

from thresher.client.account import Cost, winner
from thresher.client.plain import enum_word
from thresher.client.progress import Attempt, Progress, failure_words
from thresher.v1 import solve_pb2

_FAILURES_SHOWN = 5
_NO_FAILURE = ("", "passed", "skipped", "sandbox_failure")


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """The end of a solve. True where a program passed.

    `attempts` are the programs in the order in which they were complete, `summary` is the server's own account, `spec`
    what was asked, and `headline` says it in one line.
    """

    spec: solve_pb2.SolveSpec
    summary: solve_pb2.Summary
    attempts: tuple[Attempt, ...]
    headline: str

    @classmethod
    def of(cls, spec: solve_pb2.SolveSpec, progress: Progress) -> "Result":
        """The result of a solve whose events were all taken in."""
        if progress.summary is None:
            raise ValueError("progress: the solve has not ended")
        return cls(spec, progress.summary, tuple(progress.attempts.values()), progress.headline)

    @property
    def code(self) -> str | None:
        """The program that passed all visible tests, the best one where the policy asks for several; None without."""
        best = winner(self.summary)
        return None if best is None else best.code

    @property
    def solved(self) -> bool:
        """Whether a program passed."""
        return self.code is not None

    @property
    def outcome(self) -> str:
        """Why it ended: `solved`, `exhausted`, `budget_time`, `budget_tokens`, `budget_executions` or `budget_rows`."""
        return enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, self.summary.outcome)

    @property
    def seconds_to_first_pass(self) -> float | None:
        """Seconds from the server's yes to the first program that passed."""
        cost = self.summary.accounting
        found = cost.HasField("time_to_first_pass")
        return cost.time_to_first_pass.ToTimedelta().total_seconds() if found else None

    @property
    def cost(self) -> Cost:
        """What it cost, to be printed or shown in a notebook."""
        return Cost(self.summary)

    @property
    def failed(self) -> tuple[Attempt, ...]:
        """Programs that were run and did not pass, the ones that passed most tests first."""
        failed = [one for one in self.attempts if one.verdict not in _NO_FAILURE]
        return tuple(sorted(failed, key=lambda one: -one.passed))

    def __bool__(self) -> bool:
        return self.solved

    def __repr__(self) -> str:
        lines = [f"<Result: {self.headline}>"]
        if self.code is not None:
            lines.append(self.code.rstrip("\n"))
        else:
            lines += [f"  program {one.index}: {failure_words(one)}" for one in self.failed[:_FAILURES_SHOWN]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if self.code is not None:
            return f"<p><b>{html.escape(self.headline)}</b></p><pre>{html.escape(self.code)}</pre>"
        return f"<p><b>{html.escape(self.headline)}</b></p>{table(self.failed[:_FAILURES_SHOWN])}"


def table(attempts: Iterable[Attempt]) -> str:
    """Programs as a table in HTML; empty without any."""
    rows: list[str] = []
    for one in attempts:
        tests = f"{one.passed}/{one.total}" if one.verdict else ""
        cells = [str(one.index), str(one.samples), str(one.tokens), one.verdict.replace("_", " "), tests, one.message]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    if not rows:
        return ""
    names = ("program", "samples", "tokens", "verdict", "tests", "what failed")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
