"""When calls are due, and which: drawn beforehand, the same with the same seed, at the rate that was asked for."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.experiments.errors import CannotRun
from benchmarks.load.arrivals import Chooser, poisson, ramp, replay
from benchmarks.load.mix import Mix, mix_of
from benchmarks.load.sessions import sittings
from benchmarks.load.trace import Point, read_trace, write_trace

PROBLEMS = [{"problem_id": f"p{n}", "prompt": "Write f.", "tests": ["assert f() == 1"]} for n in range(3)]


def mix() -> Mix:
    often = {"name": "often", "weight": 9, "clients": 2, "problems": PROBLEMS}
    seldom = {"name": "seldom", "problems": PROBLEMS[:1], "cancel": {"share": 0.5, "after": [1, 2]}}
    return Mix((mix_of(often).entries[0], mix_of(seldom).entries[0]))


def test_poisson_arrivals_have_their_rate_and_their_spread() -> None:
    times = list(poisson(5.0, 2000.0, seed=3))
    gaps = np.diff([0.0, *times])
    assert len(times) == pytest.approx(10_000, abs=5 * 100)
    assert gaps.mean() == pytest.approx(0.2, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05), "exponential gaps spread as much as they last"
    counts = np.histogram(times, bins=2000, range=(0, 2000))[0]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.15)


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(1, 60), st.integers(0, 1000))
def test_a_ramp_comes_in_order_and_within_its_time(first: float, last: float, seconds: float, seed: int) -> None:
    times = list(ramp(first, last, seconds, seed))
    assert all(a <= b for a, b in pairwise(times))
    assert all(0 <= one < seconds for one in times)
    assert times == list(ramp(first, last, seconds, seed))


def test_a_ramp_goes_from_one_rate_to_the_other() -> None:
    for first, last in ((1.0, 9.0), (9.0, 1.0)):
        times = np.array(list(ramp(first, last, 1000.0, seed=1)))
        begin, end = (times < 200).sum() / 200, (times >= 800).sum() / 200
        assert begin == pytest.approx(first + 0.1 * (last - first), rel=0.2)
        assert end == pytest.approx(first + 0.9 * (last - first), rel=0.2)


def test_choices_follow_the_weights_and_take_problems_in_turn() -> None:
    chooser = Chooser(mix(), seed=1)
    calls = [chooser.call(float(n)) for n in range(2000)]
    assert [call.place for call in calls] == list(range(2000))
    often = [call for call in calls if call.entry == 0]
    assert len(often) == pytest.approx(1800, abs=70)
    assert [call.problem for call in often[:6]] == [0, 1, 2, 0, 1, 2]
    assert [call.client for call in often[:4]] == [0, 1, 0, 1]
    assert len({call.seed for call in calls}) == 2000
    assert all(call.cancel is None for call in often)
    cancelled = [call.cancel for call in calls if call.entry == 1 and call.cancel is not None]
    assert len(cancelled) == pytest.approx(100, abs=35)
    assert all(1 <= seconds <= 2 for seconds in cancelled)
    again = Chooser(mix(), seed=1)
    assert calls == [again.call(float(n)) for n in range(2000)]


def test_a_trace_is_replayed_as_fast_as_wished(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    write_trace(file, "a test", [Point(6.0, "often", "p2"), Point(3.0, "seldom"), Point(9.0)])
    calls = list(replay(read_trace(file), 3.0, Chooser(mix(), seed=1)))
    assert [call.due for call in calls] == [1.0, 2.0, 3.0]
    assert [call.entry for call in calls[:2]] == [1, 0]
    assert calls[1].problem == 2


def test_the_calls_of_a_run_are_a_trace(tmp_path: Path) -> None:
    file = tmp_path / "run.calls.jsonl"
    file.write_text('{"due": 2.5, "entry": "often", "end": "solved"}\n{"due": 1.5, "problem": "p1", "ended": 3}\n')
    assert read_trace(file) == (Point(1.5, "", "p1"), Point(2.5, "often", ""))


def test_the_log_of_a_server_is_a_trace(tmp_path: Path) -> None:
    """Its calls, each when it came, refused ones too; not what else it says, nor what others write to the file."""
    file = tmp_path / "server.log"
    solve, other = "/thresher.v1.SynthesisService/Solve", "/thresher.v1.InfoService/GetLoad"
    lines = [
        {"event": "listening", "timestamp": "2026-11-27T10:00:00Z"},
        {"event": "call", "method": solve, "seconds": 0.0, "timestamp": "2026-11-27T10:00:09Z"},
        {"event": "call", "method": solve, "seconds": 7.5, "timestamp": "2026-11-27T10:00:10.500000Z"},
        {"event": "call", "method": other, "seconds": 0.1, "timestamp": "2026-11-27T10:00:11Z"},
    ]
    text = "\n".join(map(json.dumps, lines))
    file.write_text(f"a word of a library\n{text}\n")
    assert read_trace(file) == (Point(0.0), Point(6.0))
    file.write_text(json.dumps(lines[0]) + "\n")
    with pytest.raises(CannotRun, match="no call"):
        read_trace(file)


def test_people_at_their_editors_ask_in_bursts(tmp_path: Path) -> None:
    points = sorted(point.at for person in range(20) for point in sittings(12, 3600.0, seed=person))
    assert points[0] >= 0 and points[-1] < 3600
    counts = np.histogram([point.at for point in sittings(12, 36000.0, seed=1)], bins=600, range=(0, 36000))[0]
    assert counts.var() > 1.5 * counts.mean(), "a Poisson process has one as large as the other"
    early, late = (sum(low <= at < low + 900 for at in points) for low in (0, 2700))
    assert early == pytest.approx(late, rel=0.25), "it begins with people at work"
    out = tmp_path / "made" / "trace.jsonl"
    done = CliRunner().invoke(app, ["trace", "--people", "5", "--minutes", "30", "--seed", "3", "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = read_trace(out)
    assert f"{len(found)} calls" in done.output
    assert [point.at for point in found] == pytest.approx(
        sorted(point.at for point in sittings(5, 1800.0, seed=3)), abs=0.001
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no call"),
        ("nonsense\n", "line 1"),
        ('{"at": 1}\n{"entry": "a"}\n', "line 2"),
        ('{"at": -1}\n', "line 1"),
        ('{"trace": 7}\n{"at": 1}\n', "format 7"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(text)
    with pytest.raises(CannotRun, match=said):
        read_trace(file)


def test_names_that_the_mix_lacks_are_refused() -> None:
    for point in (Point(1.0, "nobody"), Point(1.0, "seldom", "p2")):
        with pytest.raises(CannotRun, match="has no"):
            list(replay([point], 1.0, Chooser(mix(), seed=1)))
