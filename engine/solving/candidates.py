"""The candidates of one solve: distinct programs, each with all the samples that drew it."""

from dataclasses import dataclass, field

from engine.core.types import BranchFinished, FinishReason
from engine.solving.spec import CompletionPrompt, InfillPrompt, PriorAttempt, Prompt
from engine.solving.summary import Candidate, CandidateSource
from engine.text.extract import extract_program
from engine.text.middle import fill
from engine.text.normalise import program_key
from executor.verdict import Report, Verdict


@dataclass(slots=True, kw_only=True)
class Entry:
    """A candidate in the making: `report` is None until it is judged.

    `branches` are those whose texts hold the program. `samples` maps each sample to its log-probability, the sum over
    its tokens; together they have `drawn_tokens`. `model` wrote it first, or somebody else for a prior attempt.
    """

    index: int
    code: str
    model: str
    finish_reason: FinishReason | None
    generated_tokens: int
    mean_logprob: float | None
    source: CandidateSource = CandidateSource.SAMPLED
    branches: list[int] = field(default_factory=list[int])
    samples: dict[int, float] = field(default_factory=dict[int, float])
    drawn_tokens: int = 0
    report: Report | None = None
    held_out: Report | None = None

    @property
    def passed(self) -> bool:
        """Whether it passed all visible tests."""
        return self.report is not None and self.report.verdict is Verdict.PASSED

    @property
    def skipped(self) -> bool:
        """Whether its solve was decided before it was judged."""
        return self.report is not None and self.report.verdict is Verdict.SKIPPED


@dataclass(slots=True)
class Candidates:
    """Finds out whether a finished text is a new program."""

    model: str
    prompts: tuple[Prompt, ...]
    entry_point: str | None
    tier: int = 0
    entries: list[Entry] = field(default_factory=list[Entry])
    _by_key: dict[bytes, Entry] = field(default_factory=dict[bytes, Entry])
    _by_branch: dict[int, tuple[Entry, BranchFinished]] = field(default_factory=dict[int, tuple[Entry, BranchFinished]])

    def add_attempt(self, attempt: PriorAttempt, upstream: str) -> Entry | None:
        """The candidate of a prior attempt by the model `upstream`; None if the program is there already."""
        key = program_key(attempt.code)
        if key in self._by_key:
            return None
        entry = Entry(
            index=len(self.entries),
            code=attempt.code,
            model=upstream,
            finish_reason=None,
            generated_tokens=0,
            mean_logprob=attempt.mean_logprob,
            source=CandidateSource.PRIOR_ATTEMPT,
            report=attempt.report,
        )
        self.entries.append(entry)
        self._by_key[key] = entry
        return entry

    def add(self, finished: BranchFinished) -> tuple[Entry, bool]:
        """The candidate that a finished branch has made, and whether it is a new one."""
        code = self._program(finished)
        key = program_key(code)
        entry = self._by_key.get(key)
        new = entry is None
        if entry is None:
            entry = Entry(
                index=len(self.entries),
                code=code,
                model=self.model,
                finish_reason=finished.reason,
                generated_tokens=finished.tokens,
                mean_logprob=finished.logprob / finished.tokens,
            )
            self.entries.append(entry)
            self._by_key[key] = entry
        entry.branches.append(finished.branch)
        self._by_branch[finished.branch] = entry, finished
        self.join(finished.branch, finished.samples)
        return entry, new

    def _program(self, finished: BranchFinished) -> str:
        text = finished.text
        # All samples of a branch continue one prompt.
        match self.prompts[finished.samples[0] % len(self.prompts)]:
            case InfillPrompt(prefix=prefix, suffix=suffix):
                # Ended by the model, or as the caller wanted it.
                ended = finished.reason in (FinishReason.END_OF_TEXT, FinishReason.STOP_SEQUENCE)
                return fill(prefix, text, suffix, ended=ended).code
            case CompletionPrompt(text=prompt, part_of_program=True):
                return extract_program(text, prompt=prompt, entry_point=self.entry_point).code
            case _:
                return extract_program(text, entry_point=self.entry_point).code

    def join(self, branch: int, samples: tuple[int, ...]) -> Entry:
        """These samples have drawn the text of a branch that has finished."""
        entry, finished = self._by_branch[branch]
        entry.samples |= dict.fromkeys(samples, finished.logprob)
        entry.drawn_tokens += finished.tokens * len(samples)
        return entry

    @property
    def drawn(self) -> int:
        """How many programs samples have made."""
        return sum(entry.source is CandidateSource.SAMPLED for entry in self.entries)

    def public(self, entry: Entry) -> Candidate:
        """The candidate as it is told to the caller."""
        return Candidate(
            index=entry.index,
            code=entry.code,
            finish_reason=entry.finish_reason,
            generated_tokens=entry.generated_tokens,
            samples=tuple(sorted(entry.samples)),
            model=entry.model,
            source=entry.source,
            tier=self.tier,
            mean_logprob=entry.mean_logprob,
            sample_logprobs=tuple(entry.samples[sample] for sample in sorted(entry.samples)),
            report=entry.report,
            held_out=entry.held_out,
        )
