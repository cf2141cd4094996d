"""Percentiles, shares with their doubt, and the figures of a run, from calls that are made up."""

import importlib
import random
import sys
from typing import Any

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from benchmarks.experiments.errors import CannotRun
from benchmarks.load.calls import Answer
from benchmarks.load.confidence import share_of
from benchmarks.load.figures import Window, figures, figures_of_runs, in_time, server_figures
from benchmarks.load.histogram import Latencies
from engine.exposition import grown, key, read, total


def answer(due: float, end: str = "solved", seconds: float = 1.0, **more: Any) -> Answer:
    first = due + seconds if end == "solved" else None
    values: dict[str, Any] = {"entry": "a", "sent": due, "code": "OK", "reason": "", "accepted": True} | more
    return Answer(
        id=f"{due}",
        problem="p",
        model="m",
        priority="interactive",
        due=due,
        ended=due + seconds,
        end=end,
        first_pass=values.pop("first_pass", first),
        **values,
    )


def test_percentiles_are_those_of_the_values_to_three_digits() -> None:
    drawn = random.Random(1)
    values = [drawn.lognormvariate(0, 1.5) for _ in range(5000)]
    found = Latencies(values)
    for percentile in (50.0, 90.0, 99.0):
        assert found.at(percentile) == pytest.approx(np.percentile(values, percentile), rel=0.01, abs=0.0011)
    plain = found.plain()
    assert plain["count"] == 5000
    assert plain["most"] == pytest.approx(max(values), rel=0.002, abs=0.0011)
    again = HdrHistogram.decode(plain["hdr"].encode())
    assert again.get_total_count() == 5000
    assert again.get_value_at_percentile(90) / 1000 == found.at(90)


def test_a_missing_package_is_told_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    monkeypatch.delitem(sys.modules, "benchmarks.load.histogram")
    with pytest.raises(CannotRun, match=r"thresher\[bench\]"):
        importlib.import_module("benchmarks.load.histogram")


def test_no_latency_is_lost_at_either_end() -> None:
    found = Latencies([0.0, 10**7])
    assert len(found) == 2
    assert Latencies().at(50) is None
    assert Latencies().plain()["p50"] is None


def test_an_interval_has_the_share_in_it_and_shrinks_with_calls() -> None:
    small, large = share_of([[True, False] * 10]), share_of([[True, False] * 1000])
    assert small.low < 0.5 < small.high
    assert large.high - large.low < (small.high - small.low) / 5
    none = share_of([[]])
    assert (none.low, none.high, none.value) == (0.0, 1.0, 0.0)
    sure = share_of([[True] * 100])
    assert sure.value == 1.0 and sure.low == pytest.approx(100 / (100 + 1.96**2), abs=0.001)


def test_neighbours_that_fare_alike_say_less() -> None:
    apart = share_of([[place % 2 == 0 for place in range(400)]])
    together = share_of([[place % 100 < 50 for place in range(400)]])
    assert apart.value == together.value == 0.5
    assert apart.independent == 400
    assert together.independent < 40
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_intervals_cover_the_truth_of_independent_calls() -> None:
    drawn = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        share = share_of([(drawn.random(80) < 0.9).tolist()])
        covered += share.low <= 0.9 <= share.high
    assert covered >= 0.92 * 400


def test_times_count_from_when_a_call_was_due() -> None:
    late = answer(1.0, seconds=3.0, sent=3.5)
    assert late.seconds == 3.0 and late.pass_seconds == 3.0
    found = figures([late], Window(first=0, last=10), slo=2.0)
    assert found["time_to_first_pass"]["p50"] == pytest.approx(3.0, rel=0.001)
    assert found["generator_late"]["p50"] == pytest.approx(2.5, rel=0.001)
    assert found["in_time"]["met"] == 0


def test_goodput_and_shares_over_every_end() -> None:
    answers = [
        answer(0.5),  # before the window
        answer(1.0),
        answer(2.0, seconds=9.0),
        answer(3.0, first_pass=3.5, seconds=8.0),  # hidden tests went on after the pass
        answer(4.0, "exhausted"),
        answer(5.0, "failed", code="RESOURCE_EXHAUSTED", reason="QUEUE_FULL"),
        answer(6.0, "failed", code="UNAVAILABLE"),
        answer(7.0, "cancelled", seconds=0.5),
        answer(8.0, "cancelled", seconds=6.0),
        answer(9.0, "unfinished", seconds=30.0),
    ]
    found = figures(answers, Window(first=1, last=11), slo=2.0)
    assert found["calls"] == 9
    assert found["ends"] == {"solved": 3, "failed": 2, "cancelled": 2, "exhausted": 1, "unfinished": 1}
    assert found["refusals"] == {"QUEUE_FULL": 1, "UNAVAILABLE (connection)": 1}
    assert found["solved_per_second"] == 0.3
    assert found["goodput_per_second"] == 0.2
    assert (found["in_time"]["met"], found["in_time"]["calls"]) == (3, 8), "one was given up too soon to tell"
    assert found["time_to_any_end"]["most"] == pytest.approx(30, rel=0.001)
    assert found["time_to_answer"]["count"] == 4
    assert found["solved_by"]["a"][-1] == (9.0, round(3 / 9, 4))
    assert sum(one["calls"] for one in found["slices"]) == 8
    assert in_time([answer(0.0, "cancelled", seconds=1.0)], 2.0) == []


def test_several_runs_have_the_counts_of_all_and_the_rates_of_one() -> None:
    one, two = [answer(1.0), answer(2.0, "exhausted")], [answer(1.0), answer(3.0)]
    found = figures_of_runs([one, two], Window(first=0, last=10), slo=2.0)
    assert (found["calls"], found["ends"]) == (4, {"solved": 3, "exhausted": 1})
    assert (found["offered_per_second"], found["solved_per_second"], found["goodput_per_second"]) == (0.2, 0.15, 0.15)
    assert found["time_to_first_pass"]["count"] == 3
    assert figures(one, Window(first=0, last=10), 2.0) == figures_of_runs([one], Window(first=0, last=10), 2.0)


def test_what_the_server_says_of_a_run() -> None:
    text = "\n".join(
        [
            "# TYPE thresher_generated_tokens counter",
            'thresher_generated_tokens_total{model="m"} {tokens}',
            'thresher_solves_total{model="m",outcome="solved",priority="batch"} {solved}',
            'thresher_wasted_tokens_total{model="m",reason="cut_off"} {waste}',
            'thresher_step_seconds_sum{model="m"} {seconds}',
            'thresher_step_seconds_count{model="m"} {steps}',
            "",
        ]
    )

    def book(**values: float) -> Any:
        filled = text
        for name, value in values.items():
            filled = filled.replace(f"{{{name}}}", f"{value}")
        return read(filled)

    before = book(tokens=100, solved=1, waste=10, seconds=2.0, steps=10)
    counted = grown(before, book(tokens=1100, solved=3, waste=260, seconds=7.0, steps=60))
    assert total(counted, "thresher_solves_total", outcome="solved") == 2
    assert counted[key("thresher_generated_tokens_total", model="m")] == 1000
    found = server_figures(counted, 10.0)
    assert found["tokens_per_second"] == 100
    assert found["tokens_per_solved_problem"] == 500
    assert found["wasted_share"] == {"cut_off": 0.25}
    assert found["mean_step_ms"] == 100
