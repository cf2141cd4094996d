"""HumanEval+ and MBPP+ rows as tests: Python inputs from JSON, oracles, tolerances, limits, references."""

import json
from pathlib import Path

import pytest

from executor import Executor, ExecutorConfig, InvalidProgram, Program, Verdict
from executor.calls import plan_calls
from executor.evalplus import (
    REFERENCE_HASH_SEED,
    Kind,
    NoReference,
    Problem,
    Reference,
    References,
    Timing,
    calls_test,
    carry,
    oracle_of,
    passed,
    read_problem,
    read_problems,
)
from executor.guest.plain import decode, encode
from executor.types import CallsTest, Oracle, Rules

ROW: dict[str, object] = {
    "task_id": "Mbpp/900",
    "prompt": '"""Halve a number."""\n',
    "entry_point": "half",
    "canonical_solution": "\ndef half(x):\n    return x / 2\n",
    "base_input": [[1], [2]],
    "plus_input": [[3]],
    "atol": 0,
}


def problem(**fields: object) -> Problem:
    return read_problem(ROW | fields)


@pytest.mark.parametrize(
    ("number", "given", "taken"),
    [
        (900, [[1], "a", {"b": [2]}], [[1], "a", {"b": [2]}]),
        (2, [[1, 2], [3]], [(1, 2), (3,)]),
        (63, [[[1, 2], [3]]], [[(1, 2), (3,)]]),
        (75, [[[1, 2]], 3], [[(1, 2)], 3]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1, 2], [], 3]], [[{1, 2}, {}, {}]]),
        (124, ["0", "1j"], [0.0, 1j]),
        (250, [[1], 2], [(1,), 2]),
        (307, [[1], 2, 3], [(1,), 2, 3]),
        (259, [[[1], [2]]], [((1,), (2,))]),
        (278, [[1, [2, 3]]], [(1, (2, 3))]),
        (722, [{"a": [1.5, 2]}, 3, 4], [{"a": (1.5, 2)}, 3, 4]),
        (252, ["3j"], [3j]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
    ],
)
def test_inputs_as_python(number: int, given: list[object], taken: list[object]) -> None:
    read = problem(task_id=f"Mbpp/{number}", base_input=[given], plus_input={})
    (got,) = map(decode, read.base)
    assert got == taken
    assert repr(got) == repr(taken)
    assert read.plus == ()


def test_humaneval_inputs_stay_as_they_are() -> None:
    assert decode(problem(task_id="HumanEval/2", base_input=[[[1, 2]]]).base[0]) == [[1, 2]]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"task_id": "Other/1"}, "task_id: 'Other/1'"),
        ({"task_id": "Mbpp/x"}, "task_id: 'Mbpp/x'"),
        ({"base_input": [1]}, "Mbpp/900: base_input is no list"),
        ({"prompt": None}, "Mbpp/900: prompt is no text"),
    ],
)
def test_bad_rows(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        problem(**fields)


def test_a_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n" + json.dumps(ROW | {"task_id": "Mbpp/901"}) + "\n")
    assert list(read_problems(path)) == ["Mbpp/900", "Mbpp/901"]


@pytest.mark.parametrize(
    ("task_id", "name", "old", "new"),
    [
        ("HumanEval/32", "find_zero", Oracle.ROOT, Oracle.ROOT),
        ("Mbpp/32", "find_zero", Oracle.EQUAL, Oracle.EQUAL),
        ("Mbpp/164", "are_equivalent", Oracle.ANY, Oracle.ANY),
        ("Mbpp/558", "digit_distance_nums", Oracle.EQUAL, Oracle.DIGIT_DISTANCE),
        ("Mbpp/581", "surface_Area", Oracle.EQUAL, Oracle.SURFACE_AREA),
        ("Mbpp/2", "similar_elements", Oracle.EQUAL, Oracle.SET),
        ("Mbpp/737", "check_str", Oracle.NOT_NONE, Oracle.NOT_NONE),
    ],
)
def test_oracles(task_id: str, name: str, old: Oracle, new: Oracle) -> None:
    task = problem(task_id=task_id, entry_point=name, base_input=[], plus_input=[])
    assert (oracle_of(task, Rules.V0_2), oracle_of(task, Rules.V0_3)) == (old, new)


def test_limits() -> None:
    """Four times the reference, at least a second a call; a minute in all, or four times the reference if longer."""
    task = problem(base_input=[[n] for n in range(4)])
    values = tuple(map(encode, range(4)))

    def limits(*seconds: float) -> tuple[tuple[float, ...], float]:
        test = calls_test(task, Kind.BASE, Reference(values=values, cpu_seconds=seconds))
        assert test.limits is not None
        assert test.limits.memory_bytes == 4 << 30
        return test.call_seconds, test.limits.cpu_seconds

    assert limits(0.0, 0.0, 0.5, 0.0) == ((1.0, 1.0, 2.0, 1.0), 6.0)
    assert limits(0.0, 0.0, 14.9, 0.0) == ((1.0, 1.0, 59.6, 1.0), 61.0)
    assert limits(0.0, 0.0, 50.0, 0.0) == ((1.0, 1.0, 200.0, 1.0), 201.0)
    strict = calls_test(
        task, Kind.BASE, Reference(values=values, cpu_seconds=(0.0,) * 4), timing=Timing(least_seconds=0.5, factor=2)
    )
    assert strict.call_seconds == (0.5,) * 4


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (CallsTest(function="f", calls=()), "calls: at least one"),
        (CallsTest(function="f", calls=(carry([]),), expected=()), "expected: 0 for 1 calls"),
        (CallsTest(function="f", calls=(carry([]),), tolerances=(0.0, 0.0)), "tolerances: 2 for 1 calls"),
        (CallsTest(function="f", calls=(carry([]),), call_seconds=(0.0,)), "call_seconds: 0.0 is not positive"),
        (CallsTest(function="f", calls=(b"?",)), r"calls\[0\]: unknown tag"),
        (CallsTest(function="f", calls=(carry(1),)), r"calls\[0\]: a list of arguments is needed, not a int"),
    ],
)
def test_tests_that_make_no_sense(test: CallsTest, told: str) -> None:
    with pytest.raises(InvalidProgram, match=told):
        plan_calls(test, ("name", "f"))


def test_only_plain_data_is_carried() -> None:
    with pytest.raises(ValueError, match="a object object cannot be carried"):
        carry([object()])


@pytest.mark.sandbox
@pytest.mark.asyncio(loop_scope="module")
class TestInJails:
    """The way of a problem: reference, candidate, verdict."""

    async def test_whole_way(self, executor: Executor) -> None:
        task, references = problem(), References(executor)
        tests = tuple([calls_test(task, kind, await references.get(task, kind)) for kind in Kind])
        assert [decode(value) for value in tests[0].expected or ()] == [0.5, 1.0]
        assert tests[0].tolerances == (1e-6, 1e-6)
        report = await executor.run(Program(code="def half(x):\n    return x * 0.50000001\n", tests=tests))
        assert report.verdict is Verdict.PASSED
        report = await executor.run(
            Program(code="def half(x):\n    return x / 2 if x < 3 else 0\n", tests=tests, run_all=True)
        )
        assert (passed(report.tests, Kind.BASE), passed(report.tests, Kind.PLUS)) == (True, False)
        assert report.detail == "call 1 of 1: returned 0, expected 1.5"

    async def test_a_reference_is_found_once(self, executor: Executor) -> None:
        task, references = problem(), References(executor)
        before = sum(executor.stats().executed.values())
        first = await references.get(task, Kind.BASE)
        assert await references.get(task, Kind.BASE) is first
        assert sum(executor.stats().executed.values()) == before + 1
        references.forget(task)
        assert await references.get(task, Kind.BASE) is not first

    async def test_a_reference_from_other_jails_has_sets_in_another_order(self, executor: Executor) -> None:
        """By the rules of 0.2 a candidate that returns a set's own order is wrong, as in EvalPlus."""
        code = "def half(x):\n    return tuple(set(x))\n"
        task = problem(canonical_solution=code, base_input=[[list("abcdefgh")]])
        verdicts: list[Verdict] = []
        async with Executor(ExecutorConfig(slots=1, hash_seed=REFERENCE_HASH_SEED)) as other:
            for of_reference in (executor, other):
                reference = await References(of_reference).get(task, Kind.BASE)
                test = calls_test(task, Kind.BASE, reference, rules=Rules.V0_2)
                verdicts.append((await executor.run(Program(code=code, tests=(test,)))).verdict)
        assert verdicts == [Verdict.PASSED, Verdict.WRONG_ANSWER]

    async def test_not_none(self, executor: Executor) -> None:
        """What a match object is, nobody can carry; that there is one, anybody can."""
        code = "import re\ndef check_str(x):\n    return re.match('a', x)\n"
        task = problem(entry_point="check_str", canonical_solution=code, base_input=[["a"], ["b"]])
        reference = await References(executor).get(task, Kind.BASE)
        assert list(map(decode, reference.values)) == [True, False]
        test = calls_test(task, Kind.BASE, reference)
        assert (await executor.run(Program(code=code, tests=(test,)))).verdict is Verdict.PASSED

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("def half(x):\n    return x / 0\n", "Mbpp/900, base inputs: .* runtime_error: call 1 of 2: ZeroDivision"),
            ("def half(x):\n    return [object()]\n", "call 1 returned a object object, which is not plain data"),
        ],
    )
    async def test_no_reference(self, executor: Executor, code: str, told: str) -> None:
        with pytest.raises(NoReference, match=told):
            await References(executor).get(problem(canonical_solution=code), Kind.BASE)
