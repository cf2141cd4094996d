"""One random schedule of the scheduler: solves of every mode come, end or are ended at any time, in a small pool.

After every step all invariants are checked; what was not ended from outside must have drawn what it draws alone.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from engine.core.admission import pages_for
from engine.core.drafts import Bargain, Draft, Source
from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchPruned,
    BranchStarted,
    CoreEvent,
    CoreRequest,
    Counts,
    EndReason,
    Filters,
    Mode,
    SamplesFinished,
)
from tests.support.core_harness import Harness, request, separate_draw
from tests.support.scripted_runner import ScriptedRunner

PLENTY = 5_000
"""Pages."""


@dataclass(slots=True)
class Tally:
    """What happened in schedules."""

    schedules: int = 0
    solves: int = 0
    steps: int = 0
    forks: int = 0
    branch_ends: int = 0
    prunes: int = 0
    cuts: int = 0
    cancels: int = 0
    evictions: int = 0
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    compared: int = 0
    planned_ahead: int = 0
    void_rows: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        mine, others = asdict(self), asdict(other)
        return Tally(**{name: mine[name] + others[name] for name in mine})


def run(seed: int, *, ahead: bool) -> Tally:
    """Run schedule number `seed`; raises AssertionError where anything is wrong. `ahead`: as of Harness."""
    random = np.random.default_rng(seed)
    keep = int(random.integers(1, 4)) if random.random() < 0.5 else None
    page_size = int(random.choice([1, 4, 5]))
    common = random.integers(1, 12, 24).tolist()
    asked = {solve: _request(random, solve, common) for solve in range(int(random.integers(1, 9)))}
    pages = max(pages_for(one, page_size) for one in asked.values()) + int(random.integers(0, 30))
    harness = Harness(
        ScriptedRunner(pages=pages, page_size=page_size, keep=keep),
        ahead=ahead,
        rows=int(random.integers(1, 13)),
        least_prefill=int(random.choice([1, 4, 32])),
    )
    if random.random() < 0.7:
        _draft_right_and_wrong(harness, random)
    ended: set[int] = set()
    steps = 0
    for solve, one in asked.items():
        harness.scheduler.submit(one)
        for _ in range(int(random.integers(0, 12))):
            steps += harness.step()
            if random.random() < 0.08:
                victim = int(random.integers(0, solve + 1))
                reason = EndReason.CUT_OFF if random.random() < 0.5 else EndReason.CANCELLED
                harness.scheduler.end(victim, reason)
                ended.add(victim)
    while not harness.idle:
        steps += harness.step()
        assert steps < 20_000, "the scheduler does not come to an end"
    assert harness.scheduler.pool.free + harness.scheduler.pool.idle == pages, "pages are lost"
    _check_events(harness, list(asked))
    # An end that came after the solve's own changed nothing.
    whole = [one for one in asked.values() if harness.ended(one.solve).reason is EndReason.COMPLETE]
    for one in whole:
        assert drawn(harness, one) == _alone(one, page_size, keep), f"solve {one.solve} has drawn something else"
    return _tally(harness, steps, len(asked), len(ended), len(whole))


def _draft_right_and_wrong(harness: Harness, random: np.random.Generator) -> None:
    """Have drafts made of the likeliest tokens, with wrong ones among them."""
    good = random.random()

    def guess(
        solve: int,
        branch: int,
        generated: int,
        samples: int,
        last: Callable[[int], list[int]],
        room: int,
        bargain: Bargain,
    ) -> Draft | None:
        path, tokens = last(10_000), list[int]()
        for _ in range(int(random.integers(0, 7))):
            if random.random() < good:
                likely = harness.runner.distribution([*path, *tokens], None)
                tokens.append(int(likely.ids[likely.greedy]))
            else:
                tokens.append(int(random.integers(0, 12)))
        tokens = tokens[:room]
        return Draft(tokens, (Source.SOLVE, 6, samples > 1)) if tokens else None

    harness.scheduler._drafting._drafts.guess = guess  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]


def _request(random: np.random.Generator, solve: int, common: list[int]) -> CoreRequest:
    mode = Mode(random.choice([Mode.INDEPENDENT, Mode.INDEPENDENT, Mode.DISTINCT, Mode.BEAM]))
    several = mode is Mode.INDEPENDENT
    prompts = [
        common[: int(random.integers(0, 25))] + random.integers(1, 12, int(random.integers(1, 13))).tolist()
        for _ in range(int(random.integers(1, 4)) if several else 1)
    ]
    ladder = random.choice([0.0, 0.5, 1.0, 2.0], int(random.integers(1, 4)) if several else 1)
    if not several:
        ladder = np.ones(1)
    return request(
        solve=solve,
        prompts=prompts,
        k=int(random.integers(1, 7 if mode is Mode.BEAM else 25)),
        new=int(random.integers(1, 13)),
        filters=tuple(Filters(temperature=float(one)) for one in ladder),
        seed=int(random.integers(0, 1_000)),
        mode=mode,
        width=int(random.integers(1, 7)) if random.random() < 0.5 else None,
        interactive=bool(random.random() < 0.5),
        greedy_first=several and bool(random.random() < 0.3),
        at_once=int(random.integers(1, 9)) if random.random() < 0.4 else None,
    )


def drawn(harness: Harness, asked: CoreRequest) -> list[str]:
    """What a solve has drawn: texts by sample, or in the order of their draw, or as a set of beams."""
    if asked.mode is Mode.INDEPENDENT:
        texts = harness.texts(asked.solve)
        return [texts[sample] for sample in sorted(texts)]
    told = [event.text for event in harness.events if isinstance(event, BranchFinished) and event.solve == asked.solve]
    return told if asked.mode is Mode.DISTINCT else sorted(told)


def _alone(asked: CoreRequest, page_size: int, keep: int | None) -> list[str]:
    runner = ScriptedRunner(pages=PLENTY, page_size=page_size, keep=keep)
    if asked.mode is Mode.INDEPENDENT:
        return [" ".join(map(str, separate_draw(runner, asked, sample))) for sample in range(asked.k)]
    harness = Harness(runner)
    harness.scheduler.submit(replace(asked, at_once=None))
    harness.run()
    return drawn(harness, asked)


def _check_events(harness: Harness, solves: list[int]) -> None:
    for solve in solves:
        ended = harness.ended(solve)
        mine = [event for event in harness.events if event.solve == solve]
        assert mine[-1] is ended, "something is reported after the end"
        started = [event.branch for event in mine if isinstance(event, BranchStarted)]
        over = [event.branch for event in mine if isinstance(event, BranchFinished | BranchPruned | BranchCut)]
        assert sorted(over) == sorted(started), "a branch ends not exactly once"
        counts = ended.counts
        assert counts.samples_started == counts.samples_finished + counts.samples_pruned + counts.samples_cut
        told = [event.samples for event in mine if isinstance(event, BranchFinished | SamplesFinished)]
        assert sum(map(len, told)) == counts.samples_finished, "the books differ from what was told"
        check_tokens(mine, counts)


def check_tokens(events: list[CoreEvent], counts: Counts) -> None:
    """The tokens of a solve are those of its samples' texts; those of pruned and cut samples are the wasted ones."""
    length = {event.branch: event.tokens for event in events if isinstance(event, BranchFinished)}
    kept = sum(
        length[event.branch] * len(event.samples)
        for event in events
        if isinstance(event, BranchFinished | SamplesFinished)
    )
    lost = sum(event.tokens * len(event.samples) for event in events if isinstance(event, BranchPruned | BranchCut))
    assert (counts.generated_tokens, counts.wasted_tokens) == (kept + lost, lost)


def _tally(harness: Harness, steps: int, solves: int, cancels: int, compared: int) -> Tally:
    events = harness.events
    started = [event for event in events if isinstance(event, BranchStarted)]
    return Tally(
        schedules=1,
        solves=solves,
        steps=steps,
        forks=sum(event.parent is not None for event in started),
        branch_ends=sum(isinstance(event, BranchFinished) for event in events),
        prunes=sum(isinstance(event, BranchPruned) for event in events),
        cuts=sum(isinstance(event, BranchCut) for event in events),
        cancels=cancels,
        evictions=sum(harness.ended(solve).counts.preemptions for solve in range(solves)),
        cached_tokens=sum(harness.ended(solve).counts.cached_tokens for solve in range(solves)),
        drafted_tokens=sum(harness.ended(solve).counts.drafted_tokens for solve in range(solves)),
        accepted_tokens=sum(harness.ended(solve).counts.accepted_tokens for solve in range(solves)),
        compared=compared,
        planned_ahead=harness.planned_ahead,
        void_rows=harness.void,
    )
