"""Reads the sampling tree of a problem from the events of one solve: `policy: all`, with events of branches."""

from dataclasses import dataclass, field

from thresher.v1 import solve_pb2, verdict_pb2

from benchmarks.experiments.errors import RunFailed
from benchmarks.plan.recorded import Problem, Program, Text


@dataclass(slots=True)
class Draws:
    """Give it every event of the solve, then ask for the `problem`."""

    name: str
    _prompt_tokens: int = 0
    _forks: dict[int, tuple[int, int] | None] = field(default_factory=dict[int, tuple[int, int] | None])
    _ended: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    _samples: dict[int, int] = field(default_factory=dict[int, int])
    _programs: dict[int, Program] = field(default_factory=dict[int, Program])
    _last: solve_pb2.BranchEnded | None = None
    _solved: bool = False

    def take(self, event: solve_pb2.SolveEvent) -> None:
        """The next event."""
        kind = event.WhichOneof("event")
        last, self._last = self._last, None
        match kind:
            case "accepted":
                self._prompt_tokens = event.accepted.prompt_tokens
            case "branch_started":
                started = event.branch_started
                parent = (started.parent, started.position) if started.HasField("parent") else None
                self._forks[started.branch] = parent
            case "branch_ended" if event.branch_ended.HasField("candidate"):
                self._last = ended = event.branch_ended
                self._ended[ended.branch] = ended.generated_tokens, ended.candidate
            case "candidate_finished":
                self._place(event.candidate_finished.index, len(event.candidate_finished.samples), last)
            case "samples_joined":
                self._place(event.samples_joined.index, len(event.samples_joined.samples), last)
            case "candidate_judged":
                self._judge(event.candidate_judged.candidate)
            case _:
                self._solved = self._solved or kind == "summary"

    @property
    def problem(self) -> Problem:
        """What was drawn. Raises RunFailed where the solve did not run to its end."""
        if not self._solved or not self._samples:
            raise RunFailed(f"{self.name}: the solve did not draw and judge all its samples")
        return Problem(
            name=self.name,
            prompt_tokens=self._prompt_tokens,
            forks=self._forks,
            texts=tuple(
                Text(branch=branch, tokens=tokens, samples=self._samples.get(branch, 0), program=program)
                for branch, (tokens, program) in self._ended.items()
                if self._samples.get(branch)
            ),
            programs=self._programs,
        )

    def _place(self, candidate: int, samples: int, last: solve_pb2.BranchEnded | None) -> None:
        """Samples belong to the branch whose end was told just before, or else joined a text that had ended."""
        if last is not None and last.candidate == candidate:
            branch = last.branch
        else:
            branch = next(one for one, (_, program) in self._ended.items() if program == candidate)
        self._samples[branch] = self._samples.get(branch, 0) + samples

    def _judge(self, candidate: solve_pb2.Candidate) -> None:
        usage = candidate.report.usage
        held = usage.startup_time.ToNanoseconds() + usage.wall_time.ToNanoseconds()
        passed = candidate.report.verdict == verdict_pb2.VERDICT_PASSED
        self._programs[candidate.index] = Program(passed=passed, seconds=held / 1e9)
