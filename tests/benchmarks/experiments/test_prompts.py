"""What a model is told, byte for byte."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.experiments import ADD, DOUBLE

from benchmarks.data import Record
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.humaneval_tasks import STOP, before_function, humaneval
from benchmarks.experiments.mbpp_tasks import chat, few_shot, mbpp, require_no_answers, shots_of
from benchmarks.experiments.tasks import prompt_text

LIMITS = {"cpu_seconds": 3.0}
SHOT = Record(
    id="2",
    text="Write a function to triple.",
    visible=("assert f(1) == 3", "assert f(2) == 6", "assert f(3) == 9"),
    references=("def f(a):\r\n  return (3 * a) ",),
)
GOLDEN = (
    "You are an expert Python programmer, and here is your task: Write a function to triple."
    " Your code should pass these tests:\n\nassert f(1) == 3\nassert f(2) == 6\n"
    "[BEGIN]\ndef f(a):\r\n  return (3 * a) \n[DONE]\n\n"
    "You are an expert Python programmer, and here is your task: Write add(a, b)."
    " Your code should pass these tests:\n\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n[BEGIN]\n"
)
GOLDEN_0 = (
    "You are an expert Python programmer, and here is your task: Write a function to triple.\n"
    "[BEGIN]\ndef f(a):\r\n  return (3 * a) \n[DONE]\n\n"
    "You are an expert Python programmer, and here is your task: Write add(a, b).\n[BEGIN]\n"
)
MBPP_12 = (
    "4174e707c953c7d9ccd1df1b6e4ea62f06b80034447d4d7626d7baa4f6bc48d0",
    "4a32136df223d309076237495a6a0a2d34031377165cdf66423c992cf17c950f",
    "df241a6fdac8856d69fd99e8356b93ce8451255c4d6d134cb56c1fa93bf56b26",
    "2df948519f90d660db73c15e3dabd7f8bf37150b4d3d5a73ed71acccaf64e2ec",
)
"""SHA-256 of the prompt of problem 12 with the examples 2, 3 and 4, showing 0 to 3 tests."""


def test_the_few_shot_prompt() -> None:
    assert few_shot(ADD, 2, [SHOT]) == {"completion": GOLDEN}
    assert few_shot(ADD, 0, [SHOT]) == {"completion": GOLDEN_0}


def test_a_prompt_without_examples_is_the_last_block() -> None:
    assert few_shot(ADD, 2, []) == {"completion": GOLDEN.partition("[DONE]\n\n")[2]}


@pytest.mark.parametrize("shown", [0, 1, 2, 3])
def test_as_many_tests_are_shown_as_are_asked_for_and_all_decide(shown: int) -> None:
    asked = mbpp([SHOT], "few-shot", LIMITS, shown=shown, shots=[])
    text = prompt_text(asked.tasks, "2")
    assert [test in text for test in SHOT.visible] == [index < shown for index in range(3)]
    assert ("pass these tests" in text) == (shown > 0)
    assert asked.tasks[0].document["tests"] == list(SHOT.visible)
    assert asked.settings["tests_shown"] == shown
    assert asked.sampling == {"stop": ["[DONE]"], "keep_after_program": True}


@pytest.mark.parametrize(("shown", "quoted"), [(0, 0), (1, 1), (3, 2)])
def test_the_chat_prompt(shown: int, quoted: int) -> None:
    [turn] = chat(ADD, shown, [])["chat"]
    assert turn["role"] == "user" and turn["content"].count("assert ") == quoted
    assert "Write add(a, b)." in turn["content"] and "```python code block" in turn["content"]
    asked = mbpp([ADD], "chat", LIMITS, shown=shown, shots=())
    assert asked.sampling == {} and prompt_text(asked.tasks, "1") == turn["content"]


def test_held_out_tests_are_hidden_in_the_document() -> None:
    [found] = mbpp([DOUBLE], "chat", LIMITS, shown=3, shots=()).tasks
    assert found.document["tests"] == ["assert double(2) == 4", {"snippet": "assert double(5) == 10", "hidden": True}]
    assert "double(5)" not in prompt_text([found], "2")
    assert found.document["limits"] == LIMITS and found.document["entry_point"] == "double"


def test_the_examples_of_the_paper() -> None:
    records = [Record(id=str(number), text="") for number in range(1, 11)]
    assert [shot.id for shot in shots_of(records, 3)] == ["2", "3", "4"]
    assert shots_of(records, 0) == ()
    with pytest.raises(CannotRun, match="--shots: 4"):
        shots_of(records, 4)
    with pytest.raises(CannotRun, match="examples 4 of the prompt"):
        shots_of(records[:3], 3)
    require_no_answers(records[5:], shots_of(records, 3))
    with pytest.raises(CannotRun, match="problems 2, 3, 4 are examples"):
        require_no_answers(records, shots_of(records, 3))


@pytest.mark.parametrize(("prompt", "shown"), [("poem", 3), ("few-shot", 4), ("chat", -1)])
def test_other_mbpp_prompts_are_refused(prompt: str, shown: int) -> None:
    with pytest.raises(CannotRun):
        mbpp([ADD], prompt, LIMITS, shown=shown, shots=())


def raw_prompt(rows: dict[int, Any], number: int, shown: int) -> str:
    """The prompt as the README of the set describes it, put together from the published rows."""
    text = ""
    for one in (2, 3, 4, number):
        row = rows[one]
        text += "You are an expert Python programmer, and here is your task: " + row["text"]
        if shown:
            text += " Your code should pass these tests:\n\n" + "\n".join(row["test_list"][:shown])
        text += "\n[BEGIN]\n"
        if one != number:
            text += row["code"] + "\n[DONE]\n\n"
    return text


def test_prompts_of_the_published_problems(data_folder: Path) -> None:
    from benchmarks.data import load

    with gzip.open(data_folder / "mbpp" / "mbpp.jsonl.gz", "rt") as lines:
        rows = {row["task_id"]: row for row in map(json.loads, lines)}
    records = load("mbpp", data=data_folder).records
    shots = shots_of(records, 3)
    for shown in range(4):
        asked = mbpp(records, "few-shot", LIMITS, shown=shown, shots=shots)
        for number in (11, 12, 510, 847):
            if number in rows:
                assert prompt_text(asked.tasks, str(number)) == raw_prompt(rows, number, shown)
        digest = hashlib.sha256(prompt_text(asked.tasks, "12").encode()).hexdigest()
        assert digest == MBPP_12[shown]


def test_humaneval_as_a_completion() -> None:
    ours = humaneval([ADD], "completion", "program", LIMITS)
    assert ours.tasks[0].document["completion"] == {"text": ADD.stub, "part_of_program": True}
    assert ours.sampling == {} and prompt_text(ours.tasks, "1") == ADD.stub
    paper = humaneval([ADD], "completion", "paper", LIMITS)
    assert paper.sampling == {"stop": ["\nclass", "\ndef", "\n#", "\nif", "\nprint"], "keep_after_program": True}
    assert tuple(paper.sampling["stop"]) == STOP and paper.settings != ours.settings


def test_humaneval_as_a_chat_keeps_what_stands_above_the_function() -> None:
    stub = 'import math\n\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Go on."""\n'
    record = Record(id="H/1", text="", stub=stub, entry_point="f", visible=("assert f(1) == 1",), quotable=False)
    [found] = humaneval([record], "chat", "program", LIMITS).tasks
    assert stub.rstrip() in prompt_text([found], "H/1")
    assert found.document["setup_code"] == "import math\n\n\ndef helper(x):\n    return x"
    assert before_function("def f(x):\n", "f") == "" and before_function(ADD.stub, "add") == ""


@pytest.mark.parametrize(("prompt", "end"), [("poem", "program"), ("completion", "never"), ("chat", "paper")])
def test_other_humaneval_prompts_are_refused(prompt: str, end: str) -> None:
    with pytest.raises(CannotRun):
        humaneval([ADD], prompt, end, LIMITS)


def test_a_prompt_that_is_not_there() -> None:
    with pytest.raises(CannotRun, match="'9' is not among the 1 problems"):
        prompt_text(humaneval([ADD], "completion", "program", LIMITS).tasks, "9")
