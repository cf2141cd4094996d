"""Samples that need no model: references, the synthetic generator, recordings."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.experiments import ADD, DOUBLE, outcome, task

from benchmarks.data import Record
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Arm, Draw, Task
from benchmarks.experiments.generators import Generator, Kind
from benchmarks.experiments.judging import Judge, Judged
from benchmarks.experiments.ledger import Ledger
from benchmarks.experiments.outcome import Candidate, Outcome
from benchmarks.experiments.programs import References, Synthetic
from benchmarks.experiments.replay import Replay, cut
from benchmarks.experiments.sources import ProgramsSource

BARE = Record(id="9", text="", visible=("assert True",))


def arm(*records: Record, samples: int = 1, **sampling: Any) -> Arm:
    return Arm(name="a", tasks=tuple(map(task, records)), draw=Draw(samples=samples, sampling=sampling))


def recording(path: Path, *lines: Any) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_references_come_in_turns() -> None:
    two = Record(id="1", text="", visible=("assert True",), references=("a", "b"))
    assert References().draw(task(two), Draw(samples=3)) == ["a", "b", "a"]
    with pytest.raises(CannotRun, match="1 of 2 problems have no reference"):
        References().check(arm(ADD, BARE))


def test_the_synthetic_generator_passes_as_often_as_it_is_told() -> None:
    draw = Draw(samples=5000, seed=3)
    drawn = Synthetic(0.05).draw(task(ADD), draw)
    passing = sum(code == ADD.references[0] for code in drawn)
    # Five standard deviations of binomial(5000, 0.05).
    assert abs(passing - 250) < 5 * (5000 * 0.05 * 0.95) ** 0.5
    assert drawn == Synthetic(0.05).draw(task(ADD), draw)
    assert drawn != Synthetic(0.05).draw(task(ADD), Draw(samples=5000, seed=4))
    assert set(Synthetic(0).draw(task(ADD), draw)).isdisjoint(ADD.references)
    assert set(Synthetic(1).draw(task(ADD), draw)) == set(ADD.references)


def test_its_temperature_trades_one_sample_for_many() -> None:
    records = [Record(id=str(number), text="", references=("good",)) for number in range(400)]

    def passing(temperature: float, samples: int) -> tuple[float, float]:
        drawn = [
            Synthetic(0.4).draw(task(one), Draw(samples=samples, sampling={"temperature": temperature}))
            for one in records
        ]
        hits = [sum(code == "good" for code in codes) for codes in drawn]
        return sum(hits) / (len(hits) * samples), sum(count > 0 for count in hits) / len(hits)

    cold, hot = passing(0.0, 20), passing(1.0, 20)
    assert cold[0] == cold[1] and cold[0] > hot[0] and hot[1] > cold[1]


def test_the_synthetic_generator_refuses_what_it_cannot_do() -> None:
    Synthetic(0.5).check(arm(ADD, temperature=0.5))
    with pytest.raises(CannotRun, match="no top_p"):
        Synthetic(0.5).check(arm(ADD, top_p=0.5))
    with pytest.raises(CannotRun, match="no reference"):
        Synthetic(0.5).check(arm(BARE))
    with pytest.raises(CannotRun, match="no probability"):
        Synthetic(1.5)


def test_completions_are_cut_and_put_behind_the_stub(tmp_path: Path) -> None:
    body = "    return a + b\n\ndef other():\n    pass\n"
    path = recording(tmp_path / "r.jsonl.gz", {"task_id": "1", "samples": [body, "    return 0"]})
    replay = Replay(path, stop=("\ndef", "\nclass"))
    assert replay.draw(task(ADD), Draw(samples=2)) == [f"{ADD.stub}    return a + b\n", f"{ADD.stub}    return 0"]
    assert replay.has("1") and not replay.has("2") and replay.fewest(["1"]) == 2 and replay.fewest(["1", "2"]) == 0
    said = replay.described()
    assert said["recording"] == "r.jsonl.gz" and len(said["recording_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(said)


def test_lines_of_one_task_are_its_samples_and_whole_programs_stand_as_they_are(tmp_path: Path) -> None:
    lines = [
        {"task_id": "Mbpp/1", "completion": "not this", "evaluated_solution": "x\ndef y"},
        {"task_id": "Mbpp/1", "solution": "z"},
        {"task_id": 2, "completion": "    pass"},
    ]
    replay = Replay(recording(tmp_path / "r.jsonl", *lines), stop=("\ndef",))
    assert replay.draw(task(ADD), Draw(samples=2)) == ["x\ndef y", "z"]
    assert replay.draw(task(DOUBLE), Draw(samples=1)) == ["    pass"]


def test_modules_that_a_recording_found_imported(tmp_path: Path) -> None:
    path = recording(
        tmp_path / "r.jsonl", {"task_id": "1", "solution": "x"}, {"task_id": "2", "completion": "    pass"}
    )
    replay = Replay(path, imports=("math", "os.path"))
    assert replay.draw(task(ADD), Draw(samples=1)) == ["import math\nimport os.path\nx"]
    assert replay.draw(task(DOUBLE), Draw(samples=1)) == [f"import math\nimport os.path\n{DOUBLE.stub}    pass"]
    assert replay.described()["imported_before_each_program"] == ["math", "os.path"]
    assert "imported_before_each_program" not in Replay(path).described()
    for bad in ("", "math; x", "math."):
        with pytest.raises(CannotRun, match=r"--recorded-imports: .* is no module's name"):
            Replay(path, imports=(bad,))


def test_a_recording_with_too_few_samples_is_refused(tmp_path: Path) -> None:
    replay = Replay(recording(tmp_path / "r.jsonl", {"task_id": "1", "samples": ["a", "b"]}))
    replay.check(arm(ADD, samples=2))
    with pytest.raises(CannotRun, match=r"fewer than 3 samples for 2 of 2\s+problems \(1, 2\).*--only-recorded"):
        replay.check(arm(ADD, DOUBLE, samples=3))


@pytest.mark.parametrize("content", [b"no json", b'{"id": 1}\n', b"[1]\n", b'{"task_id": 1, "samples": 3}\n'])
def test_files_of_another_form_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(CannotRun, match="--recorded"):
        Replay(path)
    with pytest.raises(CannotRun, match="--recorded"):
        Replay(tmp_path / "absent.jsonl")


def test_the_ledger_of_a_run_is_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    shared = Candidate(code="a", samples=(0, 2), verdict="passed")
    other = Candidate(code="b", samples=(1,), verdict="wrong_answer")
    with Ledger(path, {"arms": []}) as ledger:
        ledger.add("samples", Outcome(id="1", asked=3, finished=3, candidates=(shared, other)))
        ledger.add("greedy", outcome("1", ["passed"]))
    assert Replay(path, arm="samples").draw(task(ADD), Draw(samples=3)) == ["a", "b", "a"]
    with pytest.raises(CannotRun, match="--recorded-arm: '' is none of the arms of that run: greedy, samples"):
        Replay(path)


def test_tokens_and_log_probabilities_of_a_run_are_replayed(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    shared = Candidate(code="a", samples=(0, 2), verdict="passed", tokens=(5, 6), logprobs=(-1.0, -1.5))
    other = Candidate(code="b", samples=(1,), verdict="wrong_answer", tokens=(7,), logprobs=(-2.0,))
    with Ledger(path, {"arms": []}) as ledger:
        ledger.add("samples", Outcome(id="1", asked=3, finished=3, candidates=(shared, other)))
    assert Replay(path).measured(task(ADD), Draw(samples=2)) == [(5, -1.0), (7, -2.0)]
    assert Replay(path).measured(task(DOUBLE), Draw(samples=2)) == []
    unknown = recording(tmp_path / "other.jsonl", {"task_id": "1", "samples": ["x"]})
    assert Replay(unknown).measured(task(ADD), Draw(samples=1)) == []


def test_other_forms_of_a_recording(tmp_path: Path) -> None:
    whole = recording(tmp_path / "whole.jsonl", {"id": 1, "source_codes": ["a", "b"], "is_solved": False})
    assert Replay(whole, stop=("b",)).draw(task(ADD), Draw(samples=2)) == ["a", "b"]
    # A recording that names no split has the problem train/1 as 1.
    split = Record(id="train/1", text="", visible=("assert True",))
    assert Replay(whole).draw(task(split), Draw(samples=1)) == ["a"]
    one = tmp_path / "answers.json"
    one.write_text(json.dumps({"1": ["x", "y"]}, indent=1))
    assert Replay(one).draw(task(ADD), Draw(samples=2)) == [ADD.stub + "x", ADD.stub + "y"]
    one.write_text("[]")
    with pytest.raises(CannotRun, match="--recorded"):
        Replay(one)


async def test_measured_samples_reach_their_candidates() -> None:
    class Measured(Given):
        def measured(self, task: Any, draw: Draw) -> list[tuple[int, float]]:
            return [(3, -1.0), (4, -2.0), (5, -3.0)]

    async with ProgramsSource(Measured("good = 1", "bad", "good  =  1"), CountingJudge()) as source:
        found = await source.outcome(task(ADD), Draw(samples=3))
    assert [(one.tokens, one.logprobs) for one in found.candidates] == [((3, 5), (-1.0, -3.0)), ((4,), (-2.0,))]
    assert found.measured_by_sample() == [(3, -1.0), (4, -2.0), (5, -3.0)]


async def test_a_program_that_is_refused_is_not_run() -> None:
    judge = CountingJudge()
    refusing = Task(
        record=ADD,
        document={"tests": ["assert True"]},
        refuses=lambda code: "not so" if "bad" in code else "",
        refuses_what="what is bad",
    )
    async with ProgramsSource(Given("good", "bad good"), judge) as source:
        found = await source.outcome(refusing, Draw(samples=2))
    assert judge.codes == ["good"] and found.executed == 1
    assert [(one.verdict, one.message) for one in found.by_sample()] == [("passed", ""), ("wrong_answer", "not so")]


def test_cut_takes_the_first_of_all_stop_strings() -> None:
    assert cut("abcdef", ("e", "c")) == "ab" and cut("abc", ("x",)) == "abc" and cut("abc", ()) == "abc"


class CountingJudge(Judge):
    """Passes programs that hold the word good; counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[str] = []

    def described(self) -> dict[str, Any]:
        return {"sandbox": "none"}

    def check(self, tasks: Any) -> None:
        pass

    async def _run(self, task: Any, code: str, tests: Any, *, run_all: bool, held_out: bool) -> Judged:
        self.codes.append(code)
        return Judged(verdict="passed" if "good" in code else "wrong_answer", tests=("passed",), tests_total=1)

    async def __aenter__(self) -> "CountingJudge":
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass


class Given:
    """Programs that a test gives."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def described(self) -> dict[str, Any]:
        return {}

    def check(self, arm: Arm) -> None:
        pass

    def draw(self, task: Any, draw: Draw) -> list[str]:
        return list(self._codes)

    def measured(self, task: Any, draw: Draw) -> list[tuple[int, float]]:
        return []


async def test_programs_that_are_the_same_are_judged_once() -> None:
    judge = CountingJudge()
    codes = ("good = 1\n", "bad = 1", "good = 1  # again", "good  =  1", "bad = 1")
    async with ProgramsSource(Given(*codes), judge) as source:
        found = await source.outcome(task(ADD), Draw(samples=5))
    assert sorted(judge.codes) == ["bad = 1", "good = 1\n"]
    assert [one.samples for one in found.candidates] == [(0, 2, 3), (1, 4)]
    assert (found.passed, found.finished, found.executed) == (3, 5, 2)


async def test_held_out_tests_run_only_on_what_passed() -> None:
    judge = CountingJudge()
    async with ProgramsSource(Given("good", "bad"), judge) as source:
        document = {"tests": ["assert 1", {"snippet": "assert 2", "hidden": True}]}
        hidden = type(task(ADD))(record=ADD, document=document)
        found = await source.outcome(hidden, Draw(samples=2))
    assert [one.held_out for one in found.candidates] == ["passed", ""]
    assert sorted(judge.codes) == ["bad", "good", "good"] and found.executed == 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": Kind.REPLAY}, "needs --recorded"),
        ({"kind": Kind.SYNTHETIC}, "needs --p"),
        ({"kind": Kind.REFERENCE, "p": 0.5}, "--p has no meaning"),
        ({"kind": Kind.REFERENCE, "model": "m"}, "--model has no meaning"),
        ({"kind": Kind.SERVER, "recorded": Path("x")}, "--recorded has no meaning"),
        ({"kind": Kind.REFERENCE, "recorded_imports": ("math",)}, "--recorded-imports has no meaning"),
        ({"kind": Kind.SERVER, "server": "unix:/x", "arithmetic": "int8"}, "--arithmetic has no meaning"),
    ],
)
def test_options_that_do_not_go_together_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(CannotRun, match=told):
        Generator(**settings)


def test_a_model_that_is_nowhere_is_refused_before_anything_starts() -> None:
    from support.experiments import plan

    with pytest.raises(CannotRun, match="neither in the catalogue nor a file"):
        Generator(kind=Kind.SERVER, model="nosuch").check(plan())
    Generator(kind=Kind.SERVER).check(plan())


def test_what_was_asked_for_names_no_place_on_this_machine() -> None:
    asked = Generator(kind=Kind.SERVER, model="/home/me/models/big.gguf").asked()
    assert asked["model"] == "big.gguf" and asked["server"] == "started for this run"
    assert Generator(kind=Kind.SERVER, server="unix:/run/x").asked()["model"] == "the server's default"
    assert Generator(kind=Kind.SYNTHETIC, p=0.5).asked()["p"] == 0.5
