"""How a solve goes, as its events tell: what every display of it shows, and what its result is made from."""

from collections import Counter
from dataclasses import dataclass, field

from thresher.client.plain import enum_word
from thresher.v1 import solve_pb2, verdict_pb2

_MESSAGE_CHARACTERS = 160


@dataclass(slots=True)
class Attempt:
    """A program that was drawn.

    `verdict` is a word such as `wrong_answer`, and empty until there is one. `code` is empty until then, and for
    programs that were never run. `message` says what it failed at. `samples` is how often it was drawn, `tokens` how
    long its text is.
    """

    index: int
    samples: int = 0
    tokens: int = 0
    verdict: str = ""
    passed: int = 0
    total: int = 0
    message: str = ""
    code: str = field(default="", repr=False)
    report: verdict_pb2.ExecutionReport | None = field(default=None, repr=False)


@dataclass(slots=True)
class Progress:
    """The state of one solve. `seconds` is the server's clock."""

    model: str = ""
    seed: int = 0
    seconds: float = 0.0
    attempts: dict[int, Attempt] = field(default_factory=dict[int, Attempt])
    summary: solve_pb2.Summary | None = None

    def apply(self, event: solve_pb2.SolveEvent) -> str:
        """Takes an event in, and returns it as a line; empty for one that says nothing new to a reader."""
        self.seconds = event.elapsed.ToTimedelta().total_seconds()
        match event.WhichOneof("event"):
            case "accepted":
                self.model, self.seed = event.accepted.model.removeprefix("models/"), event.accepted.seed
                return f"drawing from {self.model}, seed {self.seed}"
            case "tier_started":
                return f"asking {event.tier_started.name}"
            case "candidate_finished":
                new = event.candidate_finished
                self.attempts[new.index] = Attempt(new.index, len(new.samples), new.generated_tokens)
                return f"program {new.index}: {new.generated_tokens} tokens"
            case "samples_joined":
                joined = event.samples_joined
                self.attempts[joined.index].samples += len(joined.samples)
                return f"program {joined.index}: drawn again"
            case "candidate_judged":
                one = self._judged(event.candidate_judged.candidate)
                tests = f"{one.passed} of {one.total} tests"
                return f"program {one.index}: {_plain(one.verdict)}, {tests}" + (f": {one.message}" * bool(one.message))
            case "summary":
                self.summary = event.summary
                return f"ended: {_plain(enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, event.summary.outcome))}"
            case _:
                return ""

    @property
    def headline(self) -> str:
        """One line: `qwen · 3.1 s · 12 samples, 9 programs · 1 passed, 5 wrong answer · solved`."""
        if not self.model:
            return "waiting for the server"
        attempts = list(self.attempts.values())
        drawn = f"{_count(sum(one.samples for one in attempts), 'sample')}, {_count(len(attempts), 'program')}"
        counts = Counter(_plain(one.verdict) for one in attempts if one.verdict)
        verdicts = ", ".join(f"{count} {word}" for word, count in counts.items())
        outcome = ""
        if self.summary is not None:
            outcome = _plain(enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, self.summary.outcome))
        return " · ".join(part for part in (self.model, f"{self.seconds:.1f} s", drawn, verdicts, outcome) if part)

    def _judged(self, candidate: solve_pb2.Candidate) -> Attempt:
        # A prior attempt is judged without having been drawn.
        one = self.attempts.setdefault(candidate.index, Attempt(candidate.index))
        report = candidate.report
        one.samples, one.tokens, one.code = len(candidate.samples), candidate.generated_tokens, candidate.code
        one.verdict = enum_word(verdict_pb2.Verdict.DESCRIPTOR, report.verdict)
        one.passed, one.total, one.report = report.tests_passed, report.tests_total, report
        messages = [report.detail, *(result.message for result in report.results)]
        if report.verdict != verdict_pb2.VERDICT_PASSED:
            one.message = next((_last_line(message) for message in messages if message.strip()), "")
        return one


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _last_line(text: str) -> str:
    """The last line, where a traceback says what happened."""
    line = text.strip().rpartition("\n")[2].strip()
    return line if len(line) <= _MESSAGE_CHARACTERS else f"{line[: _MESSAGE_CHARACTERS - 1]}…"
