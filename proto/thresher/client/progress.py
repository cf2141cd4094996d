"""How a solve goes, as its events tell: what every display of it shows, and what its result is made from.

Notebooks, `thresher solve` and the language server all draw from it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.descriptor import EnumDescriptor

from thresher.client.plain import enum_word
from thresher.v1 import solve_pb2, verdict_pb2

_MESSAGE_CHARACTERS = 160
_TAIL_CHARACTERS = 400


@dataclass(slots=True)
class Attempt:
    """A program that was drawn, or was there before.

    `drawn` holds the numbers of the samples that drew it, `tokens` is how long its text is. `verdict` is a word such as
    `wrong_answer`, and empty until there is one. `code` is empty until then, and for programs that were never run.
    `message` says what it failed at.
    """

    index: int
    drawn: list[int] = field(default_factory=list[int])
    tokens: int = 0
    verdict: str = ""
    passed: int = 0
    total: int = 0
    message: str = ""
    code: str = field(default="", repr=False)
    report: verdict_pb2.ExecutionReport | None = field(default=None, repr=False)

    @property
    def samples(self) -> int:
        """How often it was drawn."""
        return len(self.drawn)


@dataclass(slots=True)
class Branch:
    """A branch that is being drawn: the samples it is known to carry, its length in tokens, the end of its text."""

    samples: list[int]
    tokens: int
    tail: str = ""


@dataclass(slots=True)
class Progress:
    """The state of one solve. `seconds` is the server's clock; `tier` is the one that a cascade asked last.

    Of branches it knows only where the spec's events ask for them.
    """

    model: str = ""
    tier: str = ""
    seed: int = 0
    seconds: float = 0.0
    attempts: dict[int, Attempt] = field(default_factory=dict[int, Attempt])
    branches: dict[int, Branch] = field(default_factory=dict[int, Branch])
    branches_ended: Counter[str] = field(default_factory=Counter[str])
    summary: solve_pb2.Summary | None = None

    def apply(self, event: solve_pb2.SolveEvent) -> str:
        """Takes an event in, and returns it as a line; empty for one that would only fill the screen."""
        self.seconds = event.elapsed.ToTimedelta().total_seconds()
        match event.WhichOneof("event"):
            case "accepted":
                return self._accepted(event.accepted)
            case "tier_started":
                self.tier = event.tier_started.name
                return f"asking {self.tier} ({_plain(solve_pb2.TierReason.DESCRIPTOR, event.tier_started.reason)})"
            case "branch_started" | "branch_delta" | "branch_ended":
                self._branch(event)
                return ""
            case "candidate_finished":
                return self._finished(event.candidate_finished)
            case "samples_joined":
                joined = event.samples_joined
                self.attempts[joined.index].drawn.extend(joined.samples)
                return f"program {joined.index}: drawn again by {sample_words(joined.samples)}"
            case "test_finished":
                result = event.test_finished.result
                return f"program {event.test_finished.index}: test {result.test_index} {verdict_words(result.verdict)}"
            case "candidate_judged":
                one = self._judged(event.candidate_judged.candidate)
                return f"program {one.index}: {failure_words(one)}"
            case "summary":
                self.summary = event.summary
                return f"ended: {_plain(solve_pb2.SolveOutcome.DESCRIPTOR, event.summary.outcome)}"
            case other:
                return f"event {other or 'unknown'} (this client is older than the server)"

    @property
    def headline(self) -> str:
        """One line: `qwen · 3.1 s · 12 samples, 9 programs, 6 judged: 1 passed, 5 wrong answer · seed 7 · solved`."""
        if not self.model:
            return "waiting for the server"
        branches = outcome = ""
        if started := len(self.branches) + self.branches_ended.total():
            pruned = self.branches_ended["pruned"]
            branches = f"{len(self.branches)} of {started} branches live" + (f", {pruned} given up" if pruned else "")
        if self.summary is not None:
            outcome = _plain(solve_pb2.SolveOutcome.DESCRIPTOR, self.summary.outcome)
        model = f"{self.model}, tier {self.tier}" if self.tier else self.model
        counts = tally(list(self.attempts.values()))
        return " · ".join(
            filter(None, (model, f"{self.seconds:.1f} s", branches, counts, f"seed {self.seed}", outcome))
        )

    def _accepted(self, accepted: solve_pb2.Accepted) -> str:
        self.model, self.seed = accepted.model.removeprefix("models/"), accepted.seed
        waiting = f", {_count(accepted.queue_depth, 'solve')} ahead" if accepted.queue_depth else ""
        return f"drawing from {self.model}, {accepted.prompt_tokens} prompt tokens, seed {self.seed}{waiting}"

    def _branch(self, event: solve_pb2.SolveEvent) -> None:
        """A table shows branches; a line says nothing of them that a reader could use."""
        if event.HasField("branch_started"):
            started = event.branch_started
            branch = self.branches[started.branch] = Branch(list(started.samples), started.position)
            if started.HasField("parent") and (parent := self.branches.get(started.parent)):
                parent.samples = [sample for sample in parent.samples if sample not in branch.samples]
        elif event.HasField("branch_delta"):
            if branch := self.branches.get(event.branch_delta.branch):
                branch.tail = (branch.tail + event.branch_delta.text)[-_TAIL_CHARACTERS:]
                branch.tokens = event.branch_delta.tokens
        else:
            self.branches.pop(event.branch_ended.branch, None)
            self.branches_ended[enum_word(solve_pb2.BranchOutcome.DESCRIPTOR, event.branch_ended.outcome)] += 1

    def _finished(self, new: solve_pb2.CandidateFinished) -> str:
        self.attempts[new.index] = Attempt(new.index, list(new.samples), new.generated_tokens)
        if not new.samples and not new.generated_tokens:
            return f"program {new.index}: was there before"
        reason = _plain(solve_pb2.FinishReason.DESCRIPTOR, new.finish_reason)
        return f"program {new.index}: drawn by {sample_words(new.samples)}, {new.generated_tokens} tokens ({reason})"

    def _judged(self, candidate: solve_pb2.Candidate) -> Attempt:
        fresh = Attempt(candidate.index, list(candidate.samples), candidate.generated_tokens)
        one = self.attempts.setdefault(candidate.index, fresh)
        report = one.report = candidate.report
        one.code, one.verdict = candidate.code, enum_word(verdict_pb2.Verdict.DESCRIPTOR, report.verdict)
        one.passed, one.total = report.tests_passed, report.tests_total
        messages = [report.detail, *(result.message for result in report.results)]
        if report.verdict != verdict_pb2.VERDICT_PASSED:
            one.message = next((_last_line(message) for message in messages if message.strip()), "")
        return one


def tally(attempts: Iterable[Attempt], most: int | None = None) -> str:
    """`12 samples, 9 programs, 6 judged: 1 passed, 5 wrong answer`; `12 of 16 samples, ...` where `most` is 16."""
    known = list(attempts)
    samples = sum(one.samples for one in known)
    counts = Counter(one.verdict.replace("_", " ") for one in known if one.verdict)
    drawn = _count(samples, "sample") if most is None else f"{samples} of {_count(most, 'sample')}"
    told = f"{drawn}, {_count(len(known), 'program')}"
    return (
        f"{told}, {counts.total()} judged: " + ", ".join(f"{n} {word}" for word, n in counts.items())
        if counts
        else told
    )


def failure_words(one: Attempt) -> str:
    """What a program came to: `wrong answer, 2 of 3 tests: ...`."""
    words = f"{one.verdict.replace('_', ' ')}, {one.passed} of {one.total} tests"
    return f"{words}: {one.message}" if one.message else words


def verdict_words(verdict: verdict_pb2.Verdict.ValueType) -> str:
    """`wrong answer` for VERDICT_WRONG_ANSWER."""
    return _plain(verdict_pb2.Verdict.DESCRIPTOR, verdict)


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


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _plain(kind: EnumDescriptor, number: int) -> str:
    return enum_word(kind, number).replace("_", " ")


def _last_line(text: str) -> str:
    """The last line, where a traceback says what happened."""
    line = text.strip().rpartition("\n")[2].strip()
    return line if len(line) <= _MESSAGE_CHARACTERS else f"{line[: _MESSAGE_CHARACTERS - 1]}…"
