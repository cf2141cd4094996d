"""A run from its plan to its files: killed and taken up again, and honest about what is missing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.experiments import ScriptedGenerator, ScriptedSource, plan

from benchmarks.experiments.conduct import conduct
from benchmarks.experiments.errors import CannotRun, OtherProtocol
from benchmarks.experiments.experiment import Draw, Task
from benchmarks.experiments.humaneval import EXPERIMENT
from benchmarks.experiments.outcome import Outcome

TESTS = Path(__file__).parents[2]
KILLED = """
import os, sys
from pathlib import Path
from support.experiments import ScriptedGenerator, ScriptedSource, plan
from benchmarks.experiments.conduct import conduct
from benchmarks.experiments.humaneval import EXPERIMENT

class Dies(ScriptedSource):
    async def outcome(self, task, draw):
        if len(self.calls) == 3:
            os.kill(os.getpid(), 9)
        return await super().outcome(task, draw)

conduct(EXPERIMENT, plan(problems=8), ScriptedGenerator(Dies()), Path(sys.argv[1]), ["test"], at_once=1)
"""


def run(out: Path, source: ScriptedSource, **more: Any) -> dict[str, Any]:
    return conduct(EXPERIMENT, plan(**more), ScriptedGenerator(source), out, ["test"])


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when and by how many sessions it was made."""
    return {key: result[key] for key in ("complete", "scores", "problems", "protocol", "fingerprint")}


def test_a_run_writes_its_result_and_pages(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    result = run(out, ScriptedSource())
    assert json.loads(out.read_text()) == result
    assert result["complete"] and result["problems_done"] == result["problems_total"] == 3
    assert [line["passed"] for line in result["problems"]["samples"]] == [0, 1, 2]
    assert result["scores"]["samples"]["pass_at_k"]["4"]["value"] == pytest.approx(2 / 3)
    assert result["scores"]["samples"]["fraction_of_samples"]["value"] == pytest.approx(0.25)
    assert result["cost"]["samples"]["samples"] == 12 and "sandbox_seconds" not in result["cost"]["samples"]
    # Of four samples none, one and two pass.
    expected = [line.get("expected_draws") for line in result["problems"]["samples"]]
    assert expected == [None, 2.5, pytest.approx(5 / 3, abs=1e-3)]
    assert result["provenance"]["command"] == "test" and result["earlier_sessions"] == []
    assert "pass@1" in (tmp_path / "r.md").read_text() and "<svg" in (tmp_path / "r.html").read_text()


def test_the_cost_has_the_seconds_in_a_servers_sandbox(tmp_path: Path) -> None:
    class Accounting(ScriptedSource):
        async def outcome(self, task: Task, draw: Draw) -> Outcome:
            books = {"accounting": {"execution_time": 0.75} if task.id != "2" else {}}
            return replace(await super().outcome(task, draw), facts=books)

    assert run(tmp_path / "r.json", Accounting())["cost"]["samples"]["sandbox_seconds"] == 1.5


def test_a_run_that_breaks_off_has_no_scores_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with pytest.raises(RuntimeError, match="stopped"):
        run(out, ScriptedSource(stop_after=2), problems=5)
    broken = json.loads(out.read_text())
    assert not broken["complete"] and broken["scores"] == {}
    assert 0 < broken["problems_done"] < broken["problems_total"] == 5
    for page in (tmp_path / "r.md", tmp_path / "r.html"):
        text = page.read_text()
        assert f"Incomplete: {broken['problems_done']} of 5 problems are done" in text
        assert "pass@" not in text
    source = ScriptedSource()
    result = run(out, source, problems=5)
    done = {line["id"] for line in broken["problems"]["samples"]}
    assert sorted(source.calls) == sorted({"1", "2", "3", "4", "5"} - done)
    assert comparable(result) == comparable(run(tmp_path / "whole.json", ScriptedSource(), problems=5))
    assert len(result["earlier_sessions"]) == 1


def test_a_finished_run_asks_for_nothing_more(tmp_path: Path) -> None:
    first = run(tmp_path / "r.json", ScriptedSource())
    source = ScriptedSource()
    assert comparable(run(tmp_path / "r.json", source)) == comparable(first)
    assert source.calls == [] and source.entered == 0


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], env=environment, capture_output=True, timeout=100)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    source = ScriptedSource()
    result = conduct(EXPERIMENT, plan(problems=8), ScriptedGenerator(source), out, ["test"])
    assert len(source.calls) == 5
    assert comparable(result) == comparable(run(tmp_path / "whole.json", ScriptedSource(), problems=8))


def test_a_ctrl_c_leaves_an_incomplete_result(tmp_path: Path) -> None:
    class Interrupted(ScriptedSource):
        async def outcome(self, task: Any, draw: Any) -> Any:
            if len(self.calls) == 1:
                self.calls.append("pressed")
                signal.raise_signal(signal.SIGINT)
            if self.calls:
                await asyncio.sleep(100)
            return await super().outcome(task, draw)

    # A shell that starts tests in the background has them ignore it.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "r.json", Interrupted())
    finally:
        signal.signal(signal.SIGINT, usual)
    assert not json.loads((tmp_path / "r.json").read_text())["complete"]


def test_another_plan_is_refused_and_the_result_stays(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    result = run(out, ScriptedSource())
    source = ScriptedSource()
    with pytest.raises(OtherProtocol, match=r"arms\[samples\].samples: recorded 4, now 5"):
        run(out, source, samples=5)
    assert source.entered == 0 and json.loads(out.read_text()) == result


def test_what_fails_before_the_first_token_leaves_nothing(tmp_path: Path) -> None:
    class Refuses(ScriptedSource):
        def check(self, arm: Any) -> None:
            raise CannotRun("no such model")

    source = Refuses()
    with pytest.raises(CannotRun, match="no such model"):
        run(tmp_path / "r.json", source)
    assert source.calls == [] and list(tmp_path.iterdir()) == []


def test_a_source_that_has_changed_is_refused_on_going_on(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with pytest.raises(RuntimeError):
        run(out, ScriptedSource(stop_after=1))
    changed = ScriptedSource()
    changed.said = {"samples_from": "another script"}
    with pytest.raises(OtherProtocol, match='recorded "a script", now "another script"'):
        run(out, changed)
    assert changed.calls == []


def test_arms_are_worked_off_together_and_kept_apart(tmp_path: Path) -> None:
    source = ScriptedSource()
    result = run(tmp_path / "r.json", source, arms=("samples", "greedy"), samples=1)
    assert sorted(source.calls) == ["1", "1", "2", "2", "3", "3"]
    assert set(result["scores"]) == {"samples", "greedy"}


def test_a_malformed_task_is_refused_before_anything_starts(tmp_path: Path) -> None:
    from dataclasses import replace

    from thresher.client import ProblemError

    good = plan()
    tasks = (replace(good.arms[0].tasks[0], document={"prompt": "x", "tests": ["assert ("]}), *good.arms[0].tasks[1:])
    bad = replace(good, arms=(replace(good.arms[0], tasks=tasks),))
    source = ScriptedSource()
    with pytest.raises(ProblemError, match="tests"):
        conduct(EXPERIMENT, bad, ScriptedGenerator(source), tmp_path / "r.json", ["test"])
    assert source.entered == 0
