"""The search for the knee, over servers that are made up."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.experiments.errors import LedgerError, OtherProtocol
from benchmarks.load.confidence import Share, share_of
from benchmarks.load.knee import Knee, Step, Wish, decide, find
from benchmarks.load.knee_results import knee_page, knee_result, knee_words
from benchmarks.load.trials import Trials
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown

WISH = Wish(share=0.9, low=0.1, high=8.0, precision=0.1, runs=3)


class Made:
    """A server that answers in time up to a rate, and beyond it ever less often."""

    def __init__(self, knee: float, calls: int = 200, steep: float = 4.0) -> None:
        self.knee = knee
        self.calls = calls
        self.steep = steep
        self.asked: list[tuple[float, int]] = []

    async def trial(self, rate: float, number: int) -> Sequence[bool]:
        self.asked.append((rate, number))
        share = 0.99 if rate <= self.knee else max(0.0, 0.9 - self.steep * (rate / self.knee - 1))
        drawn = random.Random(f"{rate} {number}")
        return [drawn.random() < share for _ in range(self.calls)]


async def test_the_knee_is_found_to_the_wished_precision() -> None:
    for knee in (0.3, 1.0, 5.0):
        found = await find(WISH, Made(knee).trial)
        assert found.held is not None and found.failed is not None
        assert found.failed / found.held <= 1.1
        assert found.held <= knee * 1.05 and found.failed >= knee
        assert found.certain


async def test_a_server_that_holds_everything_or_nothing() -> None:
    all_held = await find(WISH, Made(100.0).trial)
    assert (all_held.held, all_held.failed) == (8.0, None)
    none_held = await find(WISH, Made(0.01).trial)
    assert (none_held.held, none_held.failed) == (None, 0.1)


async def test_a_rate_in_doubt_is_tried_again_and_then_told_as_likely() -> None:
    server = Made(1.0, calls=30, steep=0.05)
    found = await find(Wish(share=0.9, low=0.5, high=1.3, precision=0.1, runs=3), server.trial)
    assert max(number for _, number in server.asked) == 2
    assert any(step.decision.startswith("likely") for step in found.steps)
    assert all(step.runs <= 3 for step in found.steps)


def test_decisions() -> None:
    def share(low: float, high: float) -> Share:
        return Share(met=9, calls=10, low=low, high=high, independent=10)

    assert decide(share(0.91, 0.99), 0.9, last=False) == "holds"
    assert decide(share(0.5, 0.89), 0.9, last=False) == "fails"
    assert decide(share(0.8, 0.95), 0.9, last=False) is None
    assert decide(share(0.8, 0.95), 0.9, last=True) == "likely holds"
    assert decide(share(0.8, 0.95), 0.95, last=True) == "likely fails"


def test_runs_are_kept_and_found_again(tmp_path: Path) -> None:
    path, protocol = tmp_path / "deep" / "knee.runs.jsonl", {"seed": 1, "wish": {"share": 0.9}}
    trials = Trials(path, protocol)
    trials.add(0.5, 0, {"hits": "110"})
    trials.add(0.5, 1, {"hits": "111"})
    with path.open("a") as file:
        file.write('{"rate": 0.7, "run": 0, "hi')  # killed here
    again = Trials(path, protocol)
    found = again.get(0.5, 1)
    assert found is not None and found["hits"] == "111"
    assert again.get(0.7, 0) is None
    again.add(0.7, 0, {"hits": "0"})
    assert len(Trials(path, protocol).all) == 3
    with pytest.raises(OtherProtocol, match="seed: recorded 1, now 2"):
        Trials(path, {**protocol, "seed": 2})
    path.write_text("something else\n")
    with pytest.raises(LedgerError, match="no runs"):
        Trials(path, protocol)


async def test_pages_say_what_was_found() -> None:
    found = await find(WISH, Made(1.0).trial)
    latencies = {"count": 9, "p50": 1.0, "p90": 2.0, "p99": 3.0, "most": 4.0}
    run = {"calls": 200, "goodput_per_second": 0.4, "time_to_first_pass": latencies, "books": {"agree": True}}
    trials = [{**run, "rate": step.rate, "run": 0, "in_time": step.share.plain()} for step in found.steps]
    protocol = {"wish": {"share": 0.9}, "slo_seconds": 5.0}
    result = json.loads(json.dumps(knee_result(protocol, found, trials, {"date": "2026-01-01"})))
    page = knee_page(result)
    assert f"between {found.held:g} and {found.failed:g} calls a second" in page.lead
    for written in (html(page), markdown(page)):
        assert "Where it bends" in written and f"{found.held:g}" in written
    none = knee_result(protocol, Knee(held=None, failed=0.1, steps=()), [], {})
    assert "Not even 0.1" in knee_words(none)
    assert "holds;" not in markdown(knee_page(none)) and "0.1/s does not" in html(knee_page(none))
    doubtful = Step(rate=0.1, share=share_of([[True, False]]), runs=1, decision="likely fails")
    found = knee_result(protocol, Knee(held=None, failed=0.1, steps=(doubtful,)), [], {})
    assert "as far as the runs can tell" in knee_words(found)
    whole = knee_result(protocol, Knee(held=8.0, failed=None, steps=()), [], {})
    assert "still hold" in knee_words(whole)
