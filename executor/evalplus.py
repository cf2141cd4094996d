"""HumanEval+ and MBPP+ problems as tests: EvalPlus's inputs, expected values, tolerances and time limits.

Expected values come from the canonical solution, run in a jail like any other program. A problem's inputs are JSON in
the published files; which of them were tuples, sets and complex numbers is known by task (`_AS_PYTHON`), as in
EvalPlus's own loader. Rules and data sets have versions: quote both with every score.
"""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import cast

import msgspec

from executor import oracles
from executor.errors import ExecutorError
from executor.guest.plain import PlainError, decode, encode
from executor.oracles import foreign
from executor.sandbox import ExecutorLike
from executor.types import CallsTest, Limits, Oracle, Program, Rules
from executor.verdict import TestReport, Verdict

MEMORY_BYTES = 4 << 30
REFERENCE_HASH_SEED = 1
"""For the executor of References where verdicts by the rules of 0.2 are to be those of EvalPlus.

EvalPlus takes expected values from a process of its own, in which a set of texts has another order than in a
candidate's. In MBPP+ v0.1.0 this decides Mbpp/579, and could decide 2 and 769; the rules of 0.3 compare them as sets.
"""
_REFERENCE_SECONDS = 900.0
_TASK_SECONDS = 60.0
_LEAST_OUTPUT, _MOST_OUTPUT = 8 << 20, 64 << 20


class Kind(StrEnum):
    """Which of a problem's inputs."""

    BASE = "base"
    """Those of the original data set."""
    PLUS = "plus"
    """Those that EvalPlus added."""


class NoReference(ExecutorError):
    """The canonical solution gave no usable expected values. The message names the problem, the call and the reason."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One task of HumanEval+ or MBPP+. Inputs are encoded lists of positional arguments, one per call."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    base: tuple[bytes, ...]
    plus: tuple[bytes, ...]
    atol: float

    def inputs(self, kind: Kind) -> tuple[bytes, ...]:
        """The inputs of one kind."""
        return self.base if kind is Kind.BASE else self.plus


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What the canonical solution gave: an encoded value and the CPU seconds for each call."""

    values: tuple[bytes, ...]
    cpu_seconds: tuple[float, ...]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """CPU limits. A call may take `factor` times what the canonical solution took, but at least `least_seconds`.

    All calls of a test together: the sum of these and a second, but no more than a minute, or than `factor` times the
    canonical solution's whole time if that is longer.
    """

    least_seconds: float = 1.0
    factor: float = 4.0


def read_problems(path: Path) -> dict[str, Problem]:
    """The problems of a published .jsonl or .jsonl.gz file, by task_id. Raises ValueError, which names the task."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        problems = [read_problem(json.loads(line)) for line in lines if line.strip()]
    return {problem.task_id: problem for problem in problems}


def read_problem(row: dict[str, object]) -> Problem:
    """One problem from its JSON object. Raises ValueError, which names the field."""
    task_id = str(row.get("task_id"))
    name, _, number = task_id.partition("/")
    if name not in ("HumanEval", "Mbpp") or not number.isdigit():
        raise ValueError(f"task_id: {task_id!r} is neither HumanEval/<number> nor Mbpp/<number>")
    as_python = _AS_PYTHON.get(int(number)) if name == "Mbpp" else None
    inputs: dict[str, tuple[bytes, ...]] = {}
    for kind in Kind:
        given = row.get(f"{kind}_input")
        # MBPP+ has {} where a task has no further inputs.
        calls = [] if given == {} else given
        if not isinstance(calls, list) or not all(isinstance(call, list) for call in calls):
            raise ValueError(f"{task_id}: {kind}_input is no list of argument lists")
        lists = cast("list[list[object]]", calls)
        inputs[kind] = tuple(carry(as_python(call) if as_python else call) for call in lists)
    return Problem(
        task_id=task_id,
        prompt=_text(row, "prompt"),
        entry_point=_text(row, "entry_point"),
        canonical_solution=_text(row, "canonical_solution"),
        base=inputs[Kind.BASE],
        plus=inputs[Kind.PLUS],
        atol=float(cast("float", row.get("atol") or 0)),
    )


def _text(row: dict[str, object], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise ValueError(f"{row.get('task_id')}: {field} is no text")
    return value


def carry(value: object) -> bytes:
    """A value for CallsTest.calls (a list of arguments) or .expected. Raises ValueError for what is not plain data."""
    try:
        data = encode(value)
    except PlainError as error:
        raise ValueError(f"a value cannot be carried: {error}") from None
    if (name := foreign(decode(data))) is not None:
        raise ValueError(f"a {name} object cannot be carried: only plain data can")
    return data


def oracle_of(problem: Problem, rules: Rules) -> Oracle:
    """What a call's value is held against. EvalPlus goes by the name of the function."""
    special = _HUMANEVAL if problem.task_id.startswith("HumanEval/") else _MBPP[rules]
    return special.get(problem.entry_point, Oracle.EQUAL)


class References:
    """Expected values by problem and kind, each found once by running the canonical solution, then remembered."""

    def __init__(self, executor: ExecutorLike) -> None:
        self._executor = executor
        self._known: dict[tuple[Problem, Kind], asyncio.Task[Reference]] = {}

    async def get(self, problem: Problem, kind: Kind) -> Reference:
        """The reference. Raises NoReference, and whatever `ExecutorLike.run` raises."""
        key = problem, kind
        task = self._known.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._known[key] = asyncio.create_task(self._find(problem, kind))
        return await asyncio.shield(task)

    def forget(self, problem: Problem) -> None:
        """Let go of a problem's values; a few tasks have hundreds of MB."""
        for kind in Kind:
            self._known.pop((problem, kind), None)

    async def _find(self, problem: Problem, kind: Kind) -> Reference:
        calls = problem.inputs(kind)
        if not calls:
            return Reference(values=(), cpu_seconds=())
        program = Program(
            code=problem.prompt + problem.canonical_solution,
            tests=(CallsTest(function=problem.entry_point, calls=calls),),
            limits=Limits(cpu_seconds=_REFERENCE_SECONDS, memory_bytes=MEMORY_BYTES, output_bytes=_MOST_OUTPUT),
        )
        report = await self._executor.run(program)
        where = f"{problem.task_id}, {kind} inputs"
        if report.verdict is not Verdict.PASSED:
            raise NoReference(f"{where}: the canonical solution ends with {report.verdict}: {report.detail}")
        found = report.tests[0].calls
        values = [call.value for call in found]
        if oracle_of(problem, Rules.V0_3) is Oracle.NOT_NONE:
            values = [encode(decode(value) is not None) for value in values]
        else:
            for index, value in enumerate(values):
                # An opaque part is tagged O, so most values need no decoding here.
                if b"O" in value and (name := foreign(decode(value))) is not None:
                    raise NoReference(f"{where}: call {index + 1} returned a {name} object, which is not plain data")
        return Reference(values=tuple(values), cpu_seconds=tuple(call.cpu_seconds for call in found))


def calls_test(
    problem: Problem,
    kind: Kind,
    reference: Reference,
    *,
    rules: Rules = Rules.V0_3,
    timing: Timing | None = None,
    all_calls: bool = False,
) -> CallsTest:
    """The test of one kind of inputs, by name "base" or "plus"."""
    timing = timing or Timing()
    limits = [max(timing.least_seconds, timing.factor * seconds) for seconds in reference.cpu_seconds]
    longest = max(_TASK_SECONDS, timing.factor * sum(reference.cpu_seconds))
    largest = max((len(value) for value in reference.values), default=0)
    return CallsTest(
        name=kind.value,
        function=problem.entry_point,
        calls=problem.inputs(kind),
        expected=reference.values,
        oracle=oracle_of(problem, rules),
        rules=rules,
        tolerances=oracles.tolerances(problem.atol, reference.values, rules),
        call_seconds=tuple(limits),
        all_calls=all_calls,
        limits=Limits(
            cpu_seconds=min(sum(limits), longest) + 1,
            memory_bytes=MEMORY_BYTES,
            # The same values take more bytes as floats than as integers, and prints count, too.
            output_bytes=min(max(_LEAST_OUTPUT, 4 * largest), _MOST_OUTPUT),
        ),
    )


def passed(reports: Iterable[TestReport], kind: Kind) -> bool:
    """Whether the tests of one kind passed; a problem without inputs of that kind counts as passed."""
    return all(report.verdict is Verdict.PASSED for report in reports if report.name == kind.value)


_HUMANEVAL = {"find_zero": Oracle.ROOT}
_MBPP_0_2 = {
    "are_equivalent": Oracle.ANY,
    "sum_div": Oracle.EQUAL_OR_ZERO,
    "check_str": Oracle.NOT_NONE,
    "text_match_three": Oracle.NOT_NONE,
    "text_starta_endb": Oracle.NOT_NONE,
}
_MBPP = {
    Rules.V0_2: _MBPP_0_2,
    Rules.V0_3: _MBPP_0_2
    | {"surface_Area": Oracle.SURFACE_AREA, "digit_distance_nums": Oracle.DIGIT_DISTANCE}
    | dict.fromkeys(
        (
            "similar_elements",
            "find_char_long",
            "common_in_nested_lists",
            "extract_singly",
            "larg_nnum",
            "intersection_array",
            "find_dissimilar",
            "Diff",
        ),
        Oracle.SET,
    ),
}


def _tuple(value: object) -> tuple[object, ...]:
    return tuple(cast("Iterable[object]", value))


def _tuples(values: object) -> list[object]:
    return [_tuple(value) for value in cast("Iterable[object]", values)]


def _deep(value: object) -> object:
    return tuple(map(_deep, cast("list[object]", value))) if isinstance(value, list) else value


def _set(value: object) -> object:
    return set(cast("list[object]", value)) if isinstance(value, list) and value else {}


_AsPython = Callable[[list[object]], list[object]]
_SHAPES: tuple[tuple[_AsPython, tuple[int, ...]], ...] = (
    # Each argument is a tuple.
    (
        _tuples,
        (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
    ),
    # Each argument is a list of tuples.
    (
        lambda call: [_tuples(argument) for argument in call],
        (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    ),
    # The first one is.
    (lambda call: [_tuples(call[0]), call[1]], (75, 413, 444, 753)),
    (lambda call: [call[0], _tuple(call[1])], (106, 750)),
    (lambda call: [[_set(item) for item in cast("list[object]", call[0])]], (115,)),
    (lambda call: [float(cast("float", call[0])), complex(cast("str", call[1]))], (124,)),
    (lambda call: [_tuple(call[0]), *call[1:]], (250, 307, 405, 446, 617, 720, 763, 808)),
    # Each argument is a tuple of tuples.
    (lambda call: [tuple(_tuples(argument)) for argument in call], (259, 401, 445)),
    (
        lambda call: [
            tuple(_tuple(item) if isinstance(item, list) else item for item in cast("list[object]", call[0]))
        ],
        (278,),
    ),
    (
        lambda call: [
            {key: _tuple(value) for key, value in cast("dict[str, object]", call[0]).items()},
            *call[1:],
        ],
        (722,),
    ),
    (lambda call: [complex(cast("str", call[0]))], (252,)),
    (lambda call: [_deep(argument) for argument in call], (580, 615, 791)),
)
_AS_PYTHON: dict[int, _AsPython] = {task: shape for shape, tasks in _SHAPES for task in tasks}
"""MBPP+ tasks whose JSON inputs are not yet the Python values that the function takes."""
