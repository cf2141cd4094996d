"""What came of one problem: its programs, their verdicts, and what they cost."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

PASSED = "passed"
WRONG = "wrong_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A program, and all samples that drew it. Verdicts are the words of executor.Verdict.

    verdict: on the tests that decide. tests: the verdict of each of them that ran, in their order, of `tests_total`.
    held_out: on the held-out tests; empty where they did not run. message: why it failed. values:
    what it returned for each input of a task that asks for that, equal texts for equal values, with ! before what was
    no value. tokens, logprobs: of each of
    `samples`, in their order; empty where nobody knows. finish: why the text of its first sample ended.
    """

    code: str
    samples: tuple[int, ...]
    verdict: str
    tests: tuple[str, ...] = ()
    tests_total: int = 0
    held_out: str = ""
    message: str = ""
    values: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish: str = ""

    @property
    def passed(self) -> bool:
        """Whether it passed the tests that decide."""
        return self.verdict == PASSED

    @property
    def right(self) -> bool:
        """Whether it also passed the held-out tests, where there are any."""
        return self.passed and self.held_out in ("", PASSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All samples of one problem.

    asked: samples wanted. finished: samples that are complete texts, each in exactly one candidate. seconds: on the
    clock. generated_tokens: of all samples, 0 where no model drew them. rows: decode rows computed. executed: programs
    that were run.
    """

    id: str
    asked: int
    finished: int
    candidates: tuple[Candidate, ...]
    seconds: float = 0.0
    generated_tokens: int = 0
    rows: int = 0
    executed: int = 0
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """What only one kind of experiment needs, as JSON values."""

    @property
    def passed(self) -> int:
        """Samples that passed the tests that decide."""
        return sum(len(candidate.samples) for candidate in self.candidates if candidate.passed)

    @property
    def right(self) -> int:
        """Samples that also passed the held-out tests."""
        return sum(len(candidate.samples) for candidate in self.candidates if candidate.right)

    @property
    def solved(self) -> bool:
        """Whether any sample passed."""
        return any(candidate.passed for candidate in self.candidates)

    def verdicts(self) -> dict[str, int]:
        """How many samples came to each verdict, most frequent first."""
        counts: Counter[str] = Counter()
        for candidate in self.candidates:
            counts[candidate.verdict] += len(candidate.samples)
        return dict(counts.most_common())

    def by_sample(self) -> list[Candidate]:
        """The candidate of each sample, in the order in which the samples were drawn."""
        placed = {sample: candidate for candidate in self.candidates for sample in candidate.samples}
        return [placed[sample] for sample in sorted(placed)]

    def tokens_by_sample(self) -> list[int]:
        """The tokens of each sample, in the same order; empty where nobody knows."""
        placed = {
            sample: tokens
            for candidate in self.candidates
            for sample, tokens in zip(candidate.samples, candidate.tokens, strict=False)
        }
        return [placed[sample] for sample in sorted(placed)] if len(placed) == self.finished else []

    def measured_by_sample(self) -> list[tuple[int, float]]:
        """The tokens and the log-probability of each sample, in the same order; empty where nobody knows them all."""
        placed = {
            sample: (tokens, logprob)
            for candidate in self.candidates
            for sample, tokens, logprob in zip(candidate.samples, candidate.tokens, candidate.logprobs, strict=False)
        }
        return [placed[sample] for sample in sorted(placed)] if len(placed) == self.finished else []

    def plain(self) -> dict[str, Any]:
        """JSON values; `read` is the way back."""
        return asdict(self)

    @staticmethod
    def read(values: dict[str, Any]) -> "Outcome":
        """An outcome from its JSON values. Raises msgspec.ValidationError, a ValueError, for others."""
        return msgspec.convert(values, Outcome)
