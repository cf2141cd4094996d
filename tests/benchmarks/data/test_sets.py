"""The published sets as they are here: counts, splits, and what only one of them has. Skipped without THRESHER_DATA."""

import datetime
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from thresher.client import solve_spec

from benchmarks import first_path
from benchmarks.data import SETS, DataError, DataSet, Record, document, load, window
from benchmarks.data import evalplus as evalplus_set
from benchmarks.data.validate import faults
from benchmarks.tree import humaneval
from executor.evalplus import Kind, read_problems

Load = Callable[[str], DataSet]

COUNTS: dict[str, tuple[int, dict[str, int]]] = {
    "mbpp": (724, {"prompt": 10, "test": 250, "validation": 90, "train": 374}),
    "mbpp-sanitized": (300, {"prompt": 7, "test": 130, "validation": 43, "train": 120}),
    "humaneval": (164, {}),
    "humanevalplus": (82, {}),
    "mbppplus": (281, {}),
    "apps": (92, {"train": 92}),
    "mathqa-python": (3769, {"train": 5, "validation": 2822, "test": 942}),
    "cruxeval": (400, {}),
    "livecodebench": (300, {}),
    "codecontests": (83, {"test": 83}),
    "codecontests-full": (10, {}),
    "leetcode": (138, {}),
}


@pytest.fixture(scope="module")
def sets(data_folder: Path) -> Load:
    """Each set is read once."""
    known: dict[str, DataSet] = {}

    def get(name: str) -> DataSet:
        if name not in known:
            known[name] = load(name, data=data_folder)
        return known[name]

    return get


def by_id(data: DataSet) -> dict[str, Record]:
    return {record.id: record for record in data.records}


def test_every_set_is_known_here() -> None:
    assert set(COUNTS) == set(SETS)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_and_schema(sets: Load, name: str) -> None:
    data = sets(name)
    assert len(data.records) == COUNTS[name][0]
    assert {split: n for split, n in Counter(record.split for record in data.records).items() if split} == COUNTS[name][
        1
    ]
    assert faults(data) == []
    published = SETS[name].problems
    assert data.note.startswith(f"{len(data.records)} of {published:,} problems are here") == (
        len(data.records) < published
    )


def test_mbpp_holds_out_the_challenge_tests(sets: Load) -> None:
    records = by_id(sets("mbpp"))
    assert [name for name, record in records.items() if record.held_out] == ["16", "20", "26", "28", "42", "44"]
    assert all(len(record.visible) == 3 and record.entry_point for record in records.values())
    assert [name for name, record in records.items() if record.setup_code] == ["927"]
    assert records["20"].visible[0] == "assert is_woodall(383) == True"
    assert (records["10"].split, records["12"].split, records["600"].split) == ("prompt", "test", "validation")


def test_sanitized_mbpp_has_the_imports_of_its_tests(sets: Load) -> None:
    records = by_id(sets("mbpp-sanitized"))
    imports = {int(name) for name, record in records.items() if record.setup_code}
    assert imports == {82, 98, 124, 246, 248, 276, 300, 312}
    assert {records[str(number)].setup_code for number in imports} == {"import math"}
    assert Counter(len(record.visible) for record in records.values()).keys() == {3, 4, 5, 6, 7}


def test_humaneval_shows_examples_and_hides_its_check(sets: Load) -> None:
    records = by_id(sets("humaneval"))
    assert not any(record.quotable for record in records.values())
    assert records["HumanEval/0"].facts["examples"][0] == "assert has_close_elements([1.0, 2.0, 3.0], 0.5) == False"
    assert sum(bool(record.facts["examples"]) for record in records.values()) == 131


def test_evalplus_records_carry_what_the_executor_needs(sets: Load, data_folder: Path) -> None:
    published = read_problems(data_folder / "mbppplus" / "MbppPlus-v0.1.0.jsonl.gz")
    assert {record.id: evalplus_set.problem(record) for record in sets("mbppplus").records} == published
    assert evalplus_set.problem(by_id(sets("humanevalplus"))["HumanEval/0"]).entry_point == "has_close_elements"
    plus = by_id(sets("mbppplus"))["Mbpp/2"]
    assert plus.visible == ("assert set(similar_elements((3, 4, 5, 6),(5, 7, 4, 10))) == set((4, 5))",), (
        "the one that the prompt shows"
    )
    assert plus.text == "Write a function to find the shared elements from the given two lists."
    assert len(evalplus_set.problem(plus).inputs(Kind.PLUS)) > 50
    assert all(len(record.visible) == 1 for record in sets("mbppplus").records)
    shown = [record for record in sets("humanevalplus").records if record.visible]
    assert len(shown) == 64 and all(len(record.held_out) == 1 for record in sets("humanevalplus").records)


def test_apps_has_levels_functions_and_programs(sets: Load) -> None:
    records = by_id(sets("apps"))
    selected = [record for record in records.values() if not record.references]
    levels = Counter(record.facts["difficulty"] for record in selected)
    assert levels == {"introductory": 33, "interview": 22, "competition": 32}
    assert sum(record.facts["call_based"] for record in selected) == 53
    assert sum(len(record.held_out) for record in selected) == 1086
    natives = {name: len(record.references) for name, record in records.items() if record.references}
    assert natives == {"train/0001": 24, "train/0111": 1, "train/2287": 10, "train/2404": 58, "train/4184": 8}
    assert all(record.held_out for record in records.values())
    assert records["train/2404"].visible == ("assert Solution().findKthPositive([2, 3, 4, 7, 11], 5) == 9",)
    assert records["train/0001"].visible == records["train/0001"].held_out, "its only test is its example"


@pytest.mark.parametrize(
    ("number", "first", "wanted"),
    [
        (4440, ["1"], False),  # a text: other tests have "a234"
        (3045, [0, 1, 0], "left"),
        (1627, ["123", 10], True),  # by the statement
        (3766, [10], [2, 5]),
        (4515, [["43-45", "1021-55", "000-18888", "92-34", "76-32", "99-1", "1020-54"]], "000-18888"),
        (1617, [13], "103"),  # the others have defaults
        (4276, [4.2], 4),
    ],
)
def test_apps_arguments_are_numbers_or_texts(sets: Load, number: int, first: list[object], wanted: object) -> None:
    record = by_id(sets("apps"))[f"train/{number}"]
    test = record.held_out[0]
    assert isinstance(test, dict)
    call = test["call"]
    assert (call["function"], call["args"], call["expected"]) == (record.entry_point, first, wanted)
    assert call["comparison"] == "approx"


def test_one_apps_problem_mixes_numbers_and_texts(sets: Load) -> None:
    tests = by_id(sets("apps"))["train/3766"].held_out
    assert ["a"] in [test["call"]["args"] for test in tests if isinstance(test, dict)]


def test_mathqa_answers_are_never_quoted(sets: Load) -> None:
    record = by_id(sets("mathqa-python"))["validation/0"]
    assert record.facts["answer"] == 625.0 and not record.quotable
    found = document(record)
    assert found["completion"]["text"].startswith("# a multiple choice test consists of 4 questions")
    assert "625" not in found["completion"]["text"]
    assert by_id(sets("mathqa-python"))["train/0"].split == "train"


def test_cruxeval_asks_for_the_result(sets: Load) -> None:
    record = by_id(sets("cruxeval"))["sample_0"]
    assert record.visible == (f"assert f({record.facts['input']}) == {record.facts['output']}",)
    assert record.facts["output"] not in record.text and not record.quotable


def test_livecodebench_windows(sets: Load) -> None:
    data = sets("livecodebench")
    dates = sorted(record.facts["date"] for record in data.records)
    assert (dates[0], dates[-1]) == ("2023-05-07", "2023-12-09")
    assert Counter(record.facts["difficulty"] for record in data.records) == {"easy": 105, "medium": 124, "hard": 71}
    late = window(data, first=datetime.date(2023, 9, 1))
    early = window(data, last=datetime.date(2023, 8, 31))
    assert len(late.records) + len(early.records) == 300
    assert late.records and min(record.facts["date"] for record in late.records) >= "2023-09-01"
    assert late.note.startswith(f"{len(late.records)} of 300 problems: those dated 2023-09-01 to the last.")
    with pytest.raises(DataError, match="they run from 2023-05-07 to 2023-12-09"):
        window(data, first=datetime.date(2024, 1, 1))
    with pytest.raises(DataError, match="mbpp: its problems have no dates"):
        window(sets("mbpp"))


def test_livecodebench_tests_methods_as_python(sets: Load) -> None:
    records = by_id(sets("livecodebench"))
    assert (
        records["2777"].visible[0] == "assert Solution().distinctDifferenceArray([1, 2, 3, 4, 5]) == [-3, -1, 1, 3, 5]"
    )
    assert records["abc301_a"].visible[0] == {"stdio": {"stdin": "5\nTTAAT\n", "expected": "T\n"}}
    for record in records.values():
        assert bool(record.stub) == bool(record.setup_code) == (record.facts["platform"] == "leetcode")


def test_codecontests_has_limits_and_tokens(sets: Load) -> None:
    record = by_id(sets("codecontests"))["1575_A. Another Sorting Problem"]
    assert record.facts == {"difficulty": 7, "time_limit_seconds": 2.0, "tests_published": 201}
    assert record.visible == (
        {"stdio": {"stdin": "5 2\nAA\nAB\nBB\nBA\nAZ\n", "expected": "5 2 1 3 4 \n", "comparison": "tokens"}},
    )
    full = sets("codecontests-full").records
    assert sum(len(record.visible) + len(record.held_out) for record in full) == 1265
    assert min(len(record.visible) for record in full) == 1, "each statement shows at least one"
    assert max(len(record.visible) for record in full) <= 5


def test_leetcode_shows_the_examples_of_the_statement(sets: Load) -> None:
    records = sets("leetcode").records
    assert Counter(len(record.visible) for record in records) == {2: 80, 3: 57, 4: 1}
    assert {record.facts["asserts"] for record in records} == {100}
    assert all(str(record.held_out[0]).count("\nassert ") == 100 - len(record.visible) for record in records)
    assert window(sets("leetcode"), last=datetime.date(2023, 12, 31)).records == records


def test_documents_are_taken_and_show_no_held_out_test(sets: Load) -> None:
    """What experiments send: the visible tests decide, and words are asked for."""
    for name in COUNTS:
        for record in sets(name).records[:200]:
            decide = "hidden" if record.visible else "decide"
            spec = solve_spec(document(record, ask="words", held_out=decide))
            text = spec.problem.chat.messages[0].content
            held_out = [test for test in record.held_out if isinstance(test, str) and test not in record.visible]
            assert not any(test.strip() in text for test in held_out), f"{name}/{record.id}"


def test_earlier_benchmarks_ask_as_they_did(data_folder: Path, sets: Load) -> None:
    """Their committed results are of these documents."""
    (half,) = humaneval.load(data_folder, 2, 1)
    record = by_id(sets("humaneval"))["HumanEval/2"]
    assert half == {
        "problem_id": "HumanEval/2",
        "completion": {"text": record.stub, "part_of_program": True},
        "entry_point": "truncate_number",
        "tests": list(record.visible),
    }
    documents = first_path.load(data_folder, 60)
    assert [one["problem_id"] for one in documents[:3]] == ["mbpp/12", "mbpp/14", "mbpp/16"] and len(documents) == 60
    assert all(set(one) - {"setup_code"} == {"problem_id", "prompt", "entry_point", "tests"} for one in documents)
