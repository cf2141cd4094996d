"""What a run comes to: rates, percentiles from when calls were due, waste, refusals; of the calls inside its window."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load.calls import FAILED, Answer
from benchmarks.load.confidence import share_of
from benchmarks.load.histogram import Latencies
from engine.exposition import Key, total
from engine.metric_words import WASTE

_SLICES = 20
_POINTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Calls that were due from `first` to `last` count: what came before warmed the server up."""

    first: float
    last: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.last - self.first

    def of(self, answers: Iterable[Answer]) -> list[Answer]:
        """Those that count, in the order in which they were due."""
        inside = [answer for answer in answers if self.first <= answer.due < self.last]
        return sorted(inside, key=lambda answer: answer.due)


def figures(answers: Sequence[Answer], window: Window, slo: float) -> dict[str, Any]:
    """The clients' figures; `slo` is how soon an answer has to be there, in seconds.

    Goodput counts solved problems whose first pass came in time. `in_time` is over all calls but those that their
    clients gave up earlier than that: one that was refused or cut short by its deadline was not answered in time.
    Percentiles of the time to first pass are over what was solved.
    """
    return figures_of_runs([answers], window, slo)


def figures_of_runs(runs: Sequence[Sequence[Answer]], window: Window, slo: float) -> dict[str, Any]:
    """The same of several runs of one load together: counts of all of them, rates of one."""
    by_run = [window.of(answers) for answers in runs]
    inside, seconds = [answer for answers in by_run for answer in answers], window.seconds * len(runs)
    solved = [answer for answer in inside if answer.end == "solved"]
    good = [answer for answer in solved if answer.within(slo)]
    return {
        "calls": len(inside),
        "offered_per_second": round(len(inside) / seconds, 4),
        "ends": dict(Counter(answer.end for answer in inside).most_common()),
        "refusals": dict(Counter(_why(answer) for answer in inside if answer.end == FAILED).most_common()),
        "solved_per_second": round(len(solved) / seconds, 4),
        "goodput_per_second": round(len(good) / seconds, 4),
        "in_time": share_of([in_time(answers, slo) for answers in by_run]).plain(),
        "time_to_first_pass": Latencies(_pass_seconds(solved)).plain(),
        "time_to_answer": Latencies(answer.seconds for answer in inside if answer.answered).plain(),
        "time_to_any_end": Latencies(answer.seconds for answer in inside).plain(),
        "queue": Latencies(_queued(inside)).plain(),
        "generator_late": Latencies(answer.sent - answer.due for answer in inside).plain(),
        "solved_by": {name: _solved_by(mine) for name, mine in _by_entry(inside).items()},
        "by_entry": {name: _entry(mine, slo) for name, mine in _by_entry(inside).items()},
        "slices": _slices(inside, window, slo),
    }


def in_time(answers: Iterable[Answer], slo: float) -> list[bool]:
    """Whether each call had its answer in time, of those that it can be said of."""
    return [answer.within(slo) for answer in answers if answer.counts(slo)]


def server_figures(counted: Mapping[Key, float], seconds: float) -> dict[str, Any]:
    """What the server's metrics have grown by over the whole run of `seconds`, warming up included."""

    def of(name: str, **labels: str) -> float:
        return total(counted, f"thresher_{name}", **labels)

    generated, solved = of("generated_tokens_total"), of("solves_total", outcome="solved")
    steps, prompts = of("step_seconds_count"), of("prefix_cache_queries_total")
    waste = {reason: int(of("wasted_tokens_total", reason=reason)) for reason in WASTE}
    return {
        "seconds": round(seconds, 2),
        "generated_tokens": int(generated),
        "tokens_per_second": round(generated / seconds, 1),
        "rows_per_second": round(of("rows_computed_total") / seconds, 1),
        "tokens_per_solved_problem": round(generated / solved, 1) if solved else None,
        "wasted_tokens": {reason: tokens for reason, tokens in waste.items() if tokens},
        "wasted_share": {
            reason: round(tokens / generated, 4) for reason, tokens in waste.items() if tokens and generated
        },
        "mean_step_ms": round(1000 * of("step_seconds_sum") / steps, 2) if steps else None,
        "prefix_cache_hit_share": round(of("prefix_cache_hits_total") / prompts, 4) if prompts else None,
        "executions": int(of("execution_seconds_count")),
        "engine_idle_share": round(of("engine_idle_seconds_total") / seconds, 4),
    }


def _entry(answers: Sequence[Answer], slo: float) -> dict[str, Any]:
    solved = [answer for answer in answers if answer.end == "solved"]
    latencies = Latencies(_pass_seconds(solved)).plain()
    latencies.pop("hdr")
    return {
        "calls": len(answers),
        "solved": len(solved),
        "in_time": share_of([in_time(answers, slo)]).plain(),
        "time_to_first_pass": latencies,
    }


def _solved_by(answers: Sequence[Answer]) -> list[tuple[float, float]]:
    """Points (seconds, share of all calls whose first pass had come by then)."""
    times = sorted(_pass_seconds(answer for answer in answers if answer.end == "solved"))
    ranks = sorted({round(place * len(times) / _POINTS) for place in range(1, _POINTS + 1)} - {0})
    return [(round(times[rank - 1], 3), round(rank / len(answers), 4)) for rank in ranks]


def _by_entry(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.entry, []).append(answer)
    return found


def _slices(answers: Sequence[Answer], window: Window, slo: float) -> list[dict[str, Any]]:
    """The window in twenty parts, by when calls were due."""
    width = window.seconds / _SLICES
    found: list[dict[str, Any]] = []
    for place in range(_SLICES):
        first = window.first + place * width
        mine = [answer for answer in answers if first <= answer.due < first + width]
        good = sum(answer.end == "solved" and answer.within(slo) for answer in mine)
        hits = in_time(mine, slo)
        counts = {"calls": len(hits), "in_time": sum(hits), "solved_in_time": good}
        found.append({"from": round(first, 2), "seconds": round(width, 3), **counts})
    return found


def _pass_seconds(answers: Iterable[Answer]) -> Iterable[float]:
    return (seconds for answer in answers if (seconds := answer.pass_seconds) is not None)


def _queued(answers: Iterable[Answer]) -> Iterable[float]:
    return (float(answer.accounting["queue_time"]) for answer in answers if "queue_time" in answer.accounting)


def _why(answer: Answer) -> str:
    return answer.reason or f"{answer.code} (connection)"
