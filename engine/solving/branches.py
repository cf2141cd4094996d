"""What becomes of a solve's branches: the engine's events in the books, as candidates, and as its caller hears them."""

from dataclasses import asdict

import structlog

from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchPruned,
    BranchRedrawn,
    BranchSetBack,
    BranchText,
    CoreEvent,
    EndReason,
    FirstToken,
    SamplesFinished,
    SolveEnded,
    SolveStarted,
    WidthChosen,
    WidthHeld,
)
from engine.core.types import BranchStarted as CoreBranchStarted
from engine.solving.books import Books
from engine.solving.candidates import Candidates, Entry
from engine.solving.decision import Decision
from engine.solving.engine_side import EngineSide
from engine.solving.events import (
    BranchDelta,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    EventBody,
    SamplesJoined,
)
from engine.solving.flight import Flight
from engine.solving.judging import Judging
from engine.solving.spans import SolveSpans
from engine.solving.spec import SolveSpec

_log = structlog.stdlib.get_logger("flight")


class Branches:
    """Counts every event of the engine, and takes those of a solve that is read: new programs are to be judged.

    Of a solve that wants k distinct programs the k-th ends the drawing.
    """

    def __init__(
        self,
        spec: SolveSpec,
        *,
        model: str,
        k: int,
        candidates: Candidates,
        judging: Judging,
        books: Books,
        decision: Decision,
        engine: EngineSide,
        watch: tuple[SolveSpans, Flight],
    ) -> None:
        self.enough = False  # as many programs as are wanted: what is still being drawn is not
        self.abandoned = False  # nobody reads on
        self._spec = spec
        self._model = model
        self._k = k
        self._candidates = candidates
        self._judging = judging
        self._books = books
        self._decision = decision
        self._engine = engine
        self._spans, self._flight = watch

    def count(self, event: CoreEvent) -> None:
        """What the books need of an event, also after the solve was abandoned."""
        self._books.engine_event(event)
        self._spans.core(event)
        self._flight.core(event)
        match event:
            case SolveEnded():
                self._engine.done = True
            case BranchFinished() if self.enough or self.abandoned:
                # Which texts the engine still completes depends on its steps: the k programs shall not.
                self._books.unwanted(event, self._cut_outcome())
                self._spans.branch_ended(event.branch, self._cut_outcome())
            case BranchPruned():
                self._books.branch_ended(BranchOutcome.PRUNED)
                self._spans.branch_ended(event.branch, BranchOutcome.PRUNED)
            case BranchCut():
                self._books.branch_ended(self._cut_outcome())
                self._spans.branch_ended(event.branch, self._cut_outcome())
            case _:
                pass

    def take(self, event: CoreEvent) -> list[EventBody]:
        """What the caller hears of an event that was counted; of the end of the drawing, nothing."""
        wanted = self._spec.events
        match event:
            case CoreBranchStarted():
                started = BranchStarted(
                    branch=event.branch,
                    parent=event.parent,
                    position=event.position,
                    samples=event.samples,
                    model=self._model,
                    tier=self._spec.cascade.tier,
                )
                return [started] if wanted.branches else []
            case BranchText():
                return [BranchDelta(branch=event.branch, text=event.text, tokens=event.tokens)]
            case BranchFinished():
                return self._on_finished(event)
            case SamplesFinished():
                entry = self._candidates.join(event.branch, event.samples)
                return [self._joined(entry, event.samples)]
            case BranchPruned():
                ended = BranchEnded(branch=event.branch, outcome=BranchOutcome.PRUNED, generated_tokens=event.tokens)
                return [ended] if wanted.branches else []
            case BranchCut():
                ended = BranchEnded(branch=event.branch, outcome=self._cut_outcome(), generated_tokens=event.tokens)
                return [ended] if wanted.branches else []
            case SolveStarted() | FirstToken() | WidthHeld() | BranchSetBack() | BranchRedrawn() | SolveEnded():
                pass  # of those only the books, the solve itself, and who looks on, hear
            case WidthChosen():
                _log.debug("width_chosen", request_id=self._spec.request_id, **asdict(event))
        return []

    def _cut_outcome(self) -> BranchOutcome:
        """Why a branch of this solve is cut: by its decision, or by a budget that the engine itself keeps."""
        return BranchOutcome.CUT_OFF if self.enough else self._decision.branches

    def _on_finished(self, event: BranchFinished) -> list[EventBody]:
        if self.enough:
            ended = BranchEnded(branch=event.branch, outcome=BranchOutcome.CUT_OFF, generated_tokens=event.tokens)
            return [ended] if self._spec.events.branches else []
        entry, new = self._candidates.add(event)
        outcome = BranchOutcome.FINISHED if new else BranchOutcome.DUPLICATE
        self._books.branch_ended(outcome)
        self._spans.branch_ended(event.branch, outcome, entry.index if new else None)
        bodies: list[EventBody] = []
        if self._spec.events.branches:
            bodies.append(
                BranchEnded(branch=event.branch, outcome=outcome, generated_tokens=event.tokens, candidate=entry.index)
            )
        if not new:
            if entry.report is not None:
                self._engine.judged(event.branch, entry)
            return [*bodies, self._joined(entry, event.samples)]
        self._judging.pending.append(entry)
        if self._spec.sampling.distinct_programs and self._candidates.drawn == self._k:
            self.enough = True
            self._engine.end(EndReason.COMPLETE)
        finished = CandidateFinished(
            index=entry.index,
            branch=event.branch,
            finish_reason=event.reason,
            generated_tokens=event.tokens,
            samples=event.samples,
        )
        return [*bodies, finished]

    def _joined(self, entry: Entry, samples: tuple[int, ...]) -> SamplesJoined:
        logprobs = tuple(entry.samples[sample] for sample in samples)
        return SamplesJoined(index=entry.index, samples=samples, sample_logprobs=logprobs)
