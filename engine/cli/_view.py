"""What a viewer of a solve knows after each event; no drawing."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from thresher.client.plain import enum_word
from thresher.v1 import solve_pb2, verdict_pb2

_TAIL = 400


@dataclass(slots=True)
class BranchView:
    """A branch that is being drawn: the samples it is known to carry, its length in tokens, the end of its text."""

    samples: list[int]
    tokens: int = 0
    tail: str = ""


@dataclass(slots=True)
class CandidateView:
    """A finished program. `verdict` is empty until it has one."""

    samples: list[int]
    tokens: int
    finish: str
    verdict: str = ""
    tests_passed: int = 0
    tests_total: int = 0
    message: str = ""


@dataclass(slots=True)
class SolveView:
    """The state of one solve as its events tell it. `elapsed` is the server's clock, in seconds."""

    model: str = ""
    tier: str = ""  # of a cascade, the one that was asked last
    seed: int | None = None
    prompt_tokens: int = 0
    queue_depth: int = 0
    elapsed: float = 0.0
    branches: dict[int, BranchView] = field(default_factory=dict)
    branches_started: int = 0
    branches_ended: dict[str, int] = field(default_factory=dict)
    candidates: dict[int, CandidateView] = field(default_factory=dict)
    summary: solve_pb2.Summary | None = None

    def apply(self, event: solve_pb2.SolveEvent) -> str:
        """Takes one event in; returns it as a line of text, empty for those that would only fill the screen."""
        self.elapsed = event.elapsed.ToTimedelta().total_seconds()
        match event.WhichOneof("event"):
            case "accepted":
                return self._accepted(event.accepted)
            case "tier_started":
                return self._tier_started(event.tier_started)
            case "branch_started":
                return self._branch_started(event.branch_started)
            case "branch_delta":
                self._branch_delta(event.branch_delta)
                return ""
            case "branch_ended":
                return self._branch_ended(event.branch_ended)
            case "candidate_finished":
                return self._candidate_finished(event.candidate_finished)
            case "test_finished":
                result = event.test_finished.result
                word = verdict_word(result.verdict)
                return f"candidate {event.test_finished.index}: test {result.test_index} {word}"
            case "candidate_judged":
                return self._candidate_judged(event.candidate_judged.candidate)
            case "samples_joined":
                joined = event.samples_joined
                self.candidates[joined.index].samples.extend(joined.samples)
                return f"candidate {joined.index}: drawn again by {sample_words(joined.samples)}"
            case "summary":
                self.summary = event.summary
                return f"solve ended: {enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, event.summary.outcome)}"
            case other:
                return f"event {other or 'unknown'} (this client is older than the server)"

    def _accepted(self, accepted: solve_pb2.Accepted) -> str:
        self.model = accepted.model.removeprefix("models/")
        self.seed = accepted.seed
        self.prompt_tokens = accepted.prompt_tokens
        self.queue_depth = accepted.queue_depth
        waiting = f", {accepted.queue_depth} solves ahead" if accepted.queue_depth else ""
        return f"accepted: {self.model}, {accepted.prompt_tokens} prompt tokens, seed {accepted.seed}{waiting}"

    def _tier_started(self, started: solve_pb2.TierStarted) -> str:
        self.tier = started.name
        return f"tier {started.name}: asked ({enum_word(solve_pb2.TierReason.DESCRIPTOR, started.reason)})"

    def _branch_started(self, started: solve_pb2.BranchStarted) -> str:
        branch = BranchView(samples=list(started.samples), tokens=started.position)
        self.branches_started += 1
        origin = "from the prompt"
        if started.HasField("parent"):
            origin = f"from branch {started.parent} after {started.position} tokens"
            if parent := self.branches.get(started.parent):
                parent.samples = [sample for sample in parent.samples if sample not in branch.samples]
        self.branches[started.branch] = branch
        return f"branch {started.branch}: {origin}, {sample_words(started.samples)}"

    def _branch_delta(self, delta: solve_pb2.BranchDelta) -> None:
        if branch := self.branches.get(delta.branch):
            branch.tail = (branch.tail + delta.text)[-_TAIL:]
            branch.tokens = delta.tokens

    def _branch_ended(self, ended: solve_pb2.BranchEnded) -> str:
        self.branches.pop(ended.branch, None)
        word = enum_word(solve_pb2.BranchOutcome.DESCRIPTOR, ended.outcome)
        self.branches_ended[word] = self.branches_ended.get(word, 0) + 1
        made = f", candidate {ended.candidate}" if ended.HasField("candidate") else ""
        return f"branch {ended.branch}: {word.replace('_', ' ')} after {ended.generated_tokens} tokens{made}"

    def _candidate_finished(self, finished: solve_pb2.CandidateFinished) -> str:
        given = not finished.samples and not finished.generated_tokens
        word = enum_word(solve_pb2.FinishReason.DESCRIPTOR, finished.finish_reason).replace("_", " ")
        reason = "given" if given else word
        view = CandidateView(list(finished.samples), finished.generated_tokens, reason)
        self.candidates[finished.index] = view
        if given:
            return f"candidate {finished.index}: a program that was there before"
        drawn = sample_words(finished.samples)
        return f"candidate {finished.index}: complete ({view.tokens} tokens, {reason}), {drawn}"

    def _candidate_judged(self, candidate: solve_pb2.Candidate) -> str:
        report = candidate.report
        finish = enum_word(solve_pb2.FinishReason.DESCRIPTOR, candidate.finish_reason).replace("_", " ")
        fresh = CandidateView(list(candidate.samples), candidate.generated_tokens, finish)
        view = self.candidates.setdefault(candidate.index, fresh)
        view.verdict = verdict_word(report.verdict)
        view.tests_passed = report.tests_passed
        view.tests_total = report.tests_total
        messages = [report.detail, *(result.message for result in report.results)]
        view.message = next((first_line(message) for message in messages if message), "")
        note = f": {view.message}" if view.message and view.verdict != "passed" else ""
        return f"candidate {candidate.index}: {view.verdict}, {view.tests_passed}/{view.tests_total} tests{note}"


def verdict_word(verdict: int) -> str:
    """`wrong answer` for VERDICT_WRONG_ANSWER."""
    return enum_word(verdict_pb2.Verdict.DESCRIPTOR, verdict).replace("_", " ")


def sample_words(samples: Iterable[int]) -> str:
    """`sample 3`, `samples 0-5 8`: runs are joined."""
    numbers = sorted(samples)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"sample{'s' if len(numbers) > 1 else ''} {text}"


def first_line(text: str, width: int = 100) -> str:
    """The first line that is not blank, cut to `width` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= width else line[: width - 1] + "…"
