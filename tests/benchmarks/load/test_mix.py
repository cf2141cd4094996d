"""Mix files: what they say is what is asked for, and what they cannot say is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from thresher.client import ProblemError
from thresher.v1 import solve_pb2

from benchmarks.experiments.errors import CannotRun
from benchmarks.load.mix import mix_of, read_mix

PROBLEM = {"problem_id": "one", "prompt": "Write f.", "tests": ["assert f() == 1"]}


def entry(**more: Any) -> dict[str, Any]:
    return {"name": "a", "problems": [PROBLEM], **more}


def test_a_mix_file_says_who_asks_for_what(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({**PROBLEM, "problem_id": "two"}))
    file = tmp_path / "mix.yaml"
    wanted = [
        entry(weight=3, clients=2, sampling={"k": 4}, priority="batch", timeout=9),
        {"name": "b", "problems": [PROBLEM, "two.yaml"], "cancel": {"share": 0.5, "after": [0, 2]}, "policy": "all"},
    ]
    file.write_text(yaml.safe_dump({"mix": wanted}))
    mix = read_mix(file)
    first, second = mix.entries
    assert (first.weight, first.clients, first.timeout) == (3, 2, 9)
    assert first.specs[0].sampling.k == 4
    assert first.specs[0].priority == solve_pb2.PRIORITY_BATCH
    assert second.problems == ("one", "two")
    assert second.specs[1].return_policy == solve_pb2.RETURN_POLICY_ALL
    assert second.cancel is not None and second.cancel.after == (0, 2)
    assert mix.find("b") == 1
    with pytest.raises(CannotRun, match="a, b"):
        mix.find("c")
    assert [one["name"] for one in mix.protocol] == ["a", "b"]


def test_a_part_of_a_set(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    rows = [f'{{"id": "p{n}", "text": "Write f.", "visible": ["assert f() == {n}"]}}' for n in range(5)]
    file.write_text("\n".join(rows) + "\n")
    mix = mix_of({"name": "own", "problems": str(file), "first": 1, "count": 2})
    assert mix.entries[0].problems == ("p1", "p2")


def test_tests_that_may_not_be_shown_decide_where_there_are_no_others(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    row = {"id": "p", "text": "Write f.", "stub": "def f():\n", "held_out": ["assert f() == 1"], "quotable": False}
    file.write_text(json.dumps(row) + "\n")
    (spec,) = mix_of({"name": "own", "problems": str(file)}).entries[0].specs
    assert not spec.problem.tests[0].hidden
    assert spec.problem.completion.part_of_program


def test_no_call_takes_longer_than_the_mix_is_allowed() -> None:
    assert mix_of(entry()).within(3).entries[0].timeout == 3
    assert mix_of(entry(timeout=2)).within(3).entries[0].timeout == 2
    assert mix_of(entry(timeout=9)).within(3).entries[0].timeout == 3


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"problems": 3}, "problems"),
        ({"problems": []}, "problems"),
        ({"weight": 0}, "weight"),
        ({"weihgt": 1}, "weight"),
        ({"clients": 0}, "clients"),
        ({"timeout": -1}, "timeout"),
        ({"first": 7}, "problems"),
        ({"ask": "nicely"}, "ask"),
        ({"ask": "words"}, "problems"),
        ({"sampling": {"kk": 1}}, "kk"),
        ({"cancel": {"share": 2, "after": [0, 1]}}, "share"),
        ({"cancel": {"share": 0.5, "after": [2, 1]}}, "after"),
        ({"cancel": {"share": 0.5, "after": [1]}}, "after"),
        ({"problems": [{**PROBLEM, "request_id": "mine"}]}, "request_id"),
    ],
)
def test_what_a_mix_cannot_say_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ProblemError, match=named):
        mix_of(entry(**wrong))


def test_entries_have_names_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "mix.yaml"
    file.write_text(yaml.safe_dump({"mix": [entry(), entry()]}))
    with pytest.raises(ProblemError, match="one name"):
        read_mix(file)
    file.write_text("mix: []\n")
    with pytest.raises(ProblemError, match="at least one"):
        read_mix(file)
