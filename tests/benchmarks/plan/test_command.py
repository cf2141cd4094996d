"""`thresher bench plan`: measured on a server of scripted texts, predicted without one, held against a load test."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from benchmarks.experiments.errors import CannotRun, RunFailed
from benchmarks.load.generator import Target
from benchmarks.load.loads import Rate
from benchmarks.load.mix import Mix, mix_of
from benchmarks.load.run import Served
from benchmarks.plan.command import plan
from benchmarks.plan.draws import Draws
from benchmarks.plan.measure import measure, require_plain
from benchmarks.plan.recorded import Measured, read_measured, write_measured
from benchmarks.plan.results import check, predict, require_same
from benchmarks.plan.tape import Tape
from tests.support.load_server import load_server
from tests.support.measured import measured, mix, problem

app = typer.Typer()
app.command()(plan)


@pytest.fixture(scope="module")
def scripted() -> tuple[Mix, Measured]:
    """A mix of scripted texts, and what measuring a server that draws them has found."""
    problems = [{"problem_id": name, "completion": name, "tests": ["assert visible"]} for name in ("easy", "hopeless")]
    asked = mix_of({"name": "a", "problems": problems, "sampling": {"k": 4, "top_p": 1.0}})
    with load_server() as server:
        served = Served(target=Target(address=server.address), metrics=server.metrics)
        found = asyncio.run(
            measure(served, asked, samples=24, seconds=1, users=3, provenance={"of": "a test"}, say=lambda _: None)
        )
    return asked, found


def test_measuring_finds_every_sample_and_every_verdict(scripted: tuple[Mix, Measured]) -> None:
    _, found = scripted
    easy, hopeless = found.problems["a"]
    for one in (easy, hopeless):
        assert sum(text.samples for text in one.texts) == 24
        assert {text.program for text in one.texts} == set(one.programs)
        assert Tape(one, 0).root.samples == 24
    # Half of the texts of `easy` pass, none of `hopeless`; twelve characters or so of each are tokens.
    passing = sum(text.samples for text in easy.texts if easy.programs[text.program].passed)
    assert 0 < passing < 24
    assert not any(program.passed for program in hopeless.programs.values())
    assert {text.tokens for text in easy.texts} == {14}
    assert found.slots > 0 and found.front_seconds >= 0
    assert sum(window.steps for window in found.windows) > 0
    assert {one.users for one in found.solves} == {1, 3}
    assert {one.problem for one in found.solves} <= {"easy", "hopeless"}
    assert all(one.rows > 0 and (one.first_pass is None or one.first_pass > 0) for one in found.solves)


def test_what_was_measured_is_kept_and_read(scripted: tuple[Mix, Measured], tmp_path: Path) -> None:
    file = tmp_path / "deep" / "measured.json"
    write_measured(file, scripted[1])
    assert read_measured(file) == scripted[1]
    file.write_text(file.read_text().replace('"measured": 1', '"measured": 9'))
    with pytest.raises(CannotRun, match="format 9"):
        read_measured(file)
    file.write_text("{}")
    for path in (file, tmp_path / "nothing"):
        with pytest.raises(CannotRun, match="--measure"):
            read_measured(path)


def test_a_solve_that_was_not_told_to_its_end_is_no_measurement() -> None:
    with pytest.raises(RunFailed, match="did not draw"):
        _ = Draws("p").problem


def test_a_server_without_metrics_cannot_be_measured() -> None:
    served = Served(target=Target(address="unix:/nowhere"))
    with pytest.raises(CannotRun, match="--metrics"):
        asyncio.run(measure(served, mix("p"), samples=1, seconds=1, users=1, provenance={}, say=lambda _: None))


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"sampling": {"k": 4, "mode": "distinct"}}, "mode"),
        ({"sampling": {"k": 4, "mode": "beam"}}, "mode"),
        ({"sampling": {"k": 4, "prune": "syntax"}}, "prune"),
        ({"sampling": {"k": 4, "greedy_first": True}}, "greedy_first"),
        ({"sampling": {"k": 4, "repetition_penalty": 1.1}}, "repetition_penalty"),
        ({"sampling": {"k": 4}, "budget": {"rows": 100}}, "budget"),
        ({"sampling": {"k": 4}, "stop_after_passes": 2}, "stop_after_passes"),
        ({"sampling": {"k": 4}, "policy": "best"}, "policy: best"),
        ({"sampling": {}, "budget": {"rows": 100}}, "an open k"),
    ],
)
def test_what_a_twin_cannot_play_is_refused_by_name(entry: dict[str, Any], named: str) -> None:
    problems = [{"problem_id": "p", "prompt": "Write f.", "tests": ["assert f()"]}]
    with pytest.raises(CannotRun, match=named):
        require_plain(mix_of({"name": "a", "problems": problems, **entry}).entries[0])


def test_a_problem_that_was_not_measured_is_refused() -> None:
    found, load = measured(problem("p", [(5, 1, True)])), Rate(rate=1, seconds=9)
    with pytest.raises(CannotRun, match="a/q was not measured"):
        predict(found, mix("q"), load, seed=1, slo=1, warm_up=0, patience=60)


def test_a_prediction_is_held_against_the_figures_of_a_load_test() -> None:
    def figures(solved: float, p50: float | None) -> dict[str, Any]:
        times = {"p50": p50, "p90": 2.0}
        return {"solved_per_second": solved, "goodput_per_second": 1.0, "time_to_first_pass": times}

    def off(solved: float, p50: float | None) -> dict[str, Any]:
        tested = {"clients": figures(1.0, 1.0), "provenance": {}}
        return check({"clients": figures(solved, p50)}, tested)

    assert off(1.19, 0.81)["within"]
    assert off(1.19, 0.81)["lines"]["solved a second"]["off"] == pytest.approx(0.19)
    assert not off(1.21, 1.0)["within"] and not off(1.0, 0.79)["within"]
    assert not off(1.0, None)["within"], "what was not predicted is not within"


def test_only_the_very_same_load_is_compared() -> None:
    asked = {"load": Rate(rate=1, seconds=9).protocol, "mix": mix("p").protocol, "seed": 1}
    require_same({"protocol": {**asked, "server": {}}}, asked)
    for name, value in {"load": {}, "mix": [], "seed": 2}.items():
        with pytest.raises(CannotRun, match=f"another {name}"):
            require_same({"protocol": {**asked, name: value}}, asked)


@pytest.fixture
def here(scripted: tuple[Mix, Measured], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with mix.yaml and measured.json, to work in. Steps are long, so that nothing is over at once."""
    problems = [{"problem_id": name, "completion": name, "tests": ["assert visible"]} for name in ("easy", "hopeless")]
    entry = {"name": "a", "problems": problems, "sampling": {"k": 4, "top_p": 1.0}}
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"mix": [entry]}))
    slow = measured(problem("x", [(9, 1, True)]))
    write_measured(tmp_path / "measured.json", dataclasses.replace(scripted[1], windows=slow.windows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*words: str) -> Any:
    return CliRunner().invoke(
        app, ["--measured", "measured.json", "--mix", "mix.yaml", "--seconds", "60", "--plays", "1", *words]
    )


def test_a_plan_leaves_its_result_and_its_pages(here: Path) -> None:
    done = asked("--rate", "0.5", "--plays", "2", "--out", "plan.json")
    assert done.exit_code == 0, done.output
    assert "solved a second" in done.output
    result = json.loads(Path("plan.json").read_text())
    clients = result["predictions"]["0.5 calls/s"]["clients"]
    assert 0 < clients["solved_per_second"] < 0.5
    assert clients["time_to_first_pass"]["p50"] > 0
    assert result["predictions"]["0.5 calls/s"]["plays"] == result["protocol"]["plays"] == 2
    assert result["protocol"]["measured"]["about"]["samples"] == 24
    assert [one["users"] for one in result["played_again"]] == [1, 3]
    assert all(one["solves"] and one["solves_measured"] for one in result["played_again"])
    assert "played again" in Path("plan.md").read_text()
    for ending in (".md", ".html"):
        assert "nothing was asked of a model" in Path("plan.json").with_suffix(ending).read_text()


def test_a_sweep_shows_where_it_bends(here: Path) -> None:
    done = asked("--sweep", "0.1..4", "--seconds", "25", "--out", "sweep.json")
    assert done.exit_code == 0, done.output
    predictions = json.loads(Path("sweep.json").read_text())["predictions"]
    assert len(predictions) == 8
    shares = [one["clients"]["in_time"]["share"] for one in predictions.values()]
    assert shares[0] == 1.0 and shares[0] >= shares[-1]
    assert "By load" in Path("sweep.html").read_text()


def test_a_check_says_how_far_it_is_off_and_fails_beyond_the_bound(here: Path) -> None:
    assert asked("--users", "2", "--out", "plan.json").exit_code == 0
    result = json.loads(Path("plan.json").read_text())
    (prediction,) = result["predictions"].values()
    load = {"kind": "closed loop", "users": 2, "think_seconds": 0.0, "seconds": 60.0}
    names = ("mix", "seed", "slo_seconds", "warm_up_seconds", "patience_seconds")
    protocol = {name: result["protocol"][name] for name in names}
    clients: dict[str, Any] = prediction["clients"]
    tested = {"experiment": "load", "protocol": {**protocol, "load": load}, "clients": clients, "provenance": {}}
    Path("load.json").write_text(json.dumps(tested))
    done = asked("--users", "2", "--check", "load.json", "--out", "checked.json")
    assert done.exit_code == 0, done.output
    assert "off by +0.0 %" in done.output and "Beside a load test" in Path("checked.md").read_text()
    clients["solved_per_second"] *= 2
    Path("load.json").write_text(json.dumps(tested))
    done = asked("--users", "2", "--check", "load.json", "--out", "checked.json")
    assert done.exit_code == 1
    assert "off by -50.0 %" in done.output and "says otherwise" in Path("checked.html").read_text()
    for words, said in (
        (["--users", "3"], "another load"),
        (["--users", "2", "--seed", "9"], "another seed"),
        (["--users", "2", "--slo", "9"], "another slo"),
        (["--users", "2", "--warm-up", "9"], "another warm_up"),
        (["--users", "2", "--patience", "9"], "another patience"),
    ):
        other = asked(*words, "--check", "load.json")
        assert other.exit_code == 2 and said in other.output


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sampling": {"k": 4, "top_p": 0.9}}, "a was measured with"),
        ({"sampling": {"k": 4, "top_p": 1.0, "temperature": 0.2}}, "measure again"),
        ({"name": "b"}, "b was not measured"),
        ({"budget": {"rows": 100}}, "a: budget cannot be predicted"),
        ({"problems": [{"problem_id": "new", "completion": "easy", "tests": ["assert visible"]}]}, "a/new was not"),
    ],
)
def test_what_was_not_measured_is_not_predicted(here: Path, changed: dict[str, Any], said: str) -> None:
    (entry,) = yaml.safe_load(Path("mix.yaml").read_text())["mix"]
    Path("mix.yaml").write_text(yaml.safe_dump({"mix": [{**entry, **changed}]}))
    done = asked("--rate", "0.5")
    assert done.exit_code == 2 and said in done.output


def test_another_k_can_be_predicted(here: Path) -> None:
    (entry,) = yaml.safe_load(Path("mix.yaml").read_text())["mix"]
    Path("mix.yaml").write_text(yaml.safe_dump({"mix": [{**entry, "sampling": {**entry["sampling"], "k": 9}}]}))
    assert asked("--rate", "0.1").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to predict"),
        (["--rate", "1", "--warm-up", "60"], "--warm-up"),
        (["--sweep", "3..1"], "--sweep"),
        (["--trace", "no.such.file"], "no.such.file"),
        (["--rate", "1", "--users", "2", "--check", "load.json"], "--check"),
        (["--rate", "1", "--check", "no.such.file"], "no.such.file"),
        (["--rate", "1", "--check", "measured.json"], "no result of"),
    ],
)
def test_what_makes_no_sense_is_refused(here: Path, words: list[str], said: str) -> None:
    done = asked(*words)
    assert done.exit_code == 2, done.output
    assert said in done.output
