"""References against the tests of their records: what is known of the published sets.

HumanEval, MBPP, its sanitized part and MathQA-Python are run in tests/executor/test_references.py.
"""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.data import DataSet, Record, load, program_maker
from benchmarks.data.validate import References, run_references
from executor import Executor, ExecutorConfig, Limits, Program, StdioTest

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def executor() -> AsyncIterator[Executor]:
    """One for all tests here."""
    async with Executor(ExecutorConfig(slots=2)) as running:
        yield running


async def judged(
    executor: Executor, data: DataSet, change: Callable[[Record], Record] = lambda record: record
) -> References:
    changed = dataclasses.replace(data, records=tuple(map(change, data.records)))
    return await run_references(changed, program_maker(data.origin.name), executor)


async def test_mbpp_challenge_tests(executor: Executor, data_folder: Path) -> None:
    data = load("mbpp", data=data_folder)
    some = dataclasses.replace(data, records=tuple(record for record in data.records if record.held_out))
    found = await judged(executor, some)
    assert (found.passed, found.held_out_passed, found.held_out) == (6, 6, 6)


async def test_six_sanitized_references_need_the_imports(executor: Executor, data_folder: Path) -> None:
    """In a plain harness, that is: program and asserts as one script. Our host knows math in asserts without them."""

    def script(record: Record, code: str, limits: Limits) -> Program:
        text = "\n".join((code, *map(str, record.visible)))
        return Program(code=text, tests=(StdioTest(),), limits=limits)

    data = load("mbpp-sanitized", data=data_folder)
    found = await run_references(data, script, executor)
    assert (found.programs, found.passed) == (300, 294)
    assert set(found.failed) == {"98", "124", "246", "248", "276", "300"}
    found = await run_references(data, lambda *one: script(one[0], f"{one[0].setup_code}\n{one[1]}", one[2]), executor)
    assert (found.programs, found.passed) == (300, 300)


async def test_a_program_that_only_knows_the_visible_tests_is_found_out(executor: Executor, data_folder: Path) -> None:
    """The Woodall problem, for which a model wrote that only 383 is such a number."""
    data = load("mbpp", data=data_folder)
    (woodall,) = (record for record in data.records if record.id == "20")
    cheat = dataclasses.replace(woodall, references=("def is_woodall(n):\n    return n == 383\n",))
    found = await judged(executor, dataclasses.replace(data, records=(cheat,)))
    assert (found.passed, found.held_out_passed) == (0, 0) and "32212254719" in found.failed["20"]
    visible = dataclasses.replace(cheat, held_out=())
    assert (await judged(executor, dataclasses.replace(data, records=(visible,)))).passed == 1


async def test_cruxeval(executor: Executor, data_folder: Path) -> None:
    found = await judged(executor, load("cruxeval", data=data_folder))
    assert (found.programs, found.passed) == (400, 400)


async def test_humanevalplus_examples(executor: Executor, data_folder: Path) -> None:
    """What is read of docstrings is true of the references, and so is the check."""
    found = await judged(executor, load("humanevalplus", data=data_folder))
    assert (found.programs, found.passed, found.held_out_passed) == (82, 82, 82)


async def test_humaneval_examples(executor: Executor, data_folder: Path) -> None:
    def shown(record: Record) -> Record:
        return dataclasses.replace(record, visible=tuple(record.facts["examples"]) or record.visible)

    found = await judged(executor, load("humaneval", data=data_folder), shown)
    assert (found.programs, found.passed) == (164, 164)


async def test_six_prompts_of_mbppplus_contradict_their_references(executor: Executor, data_folder: Path) -> None:
    found = await judged(executor, load("mbppplus", data=data_folder))
    assert (found.programs, found.passed) == (281, 275)
    assert set(found.failed) == {f"Mbpp/{number}" for number in (396, 400, 442, 574, 582, 640)}


async def test_apps_solutions_pass_without_the_graders_leniency(executor: Executor, data_folder: Path) -> None:
    found = await judged(executor, load("apps", data=data_folder))
    assert (found.programs, found.passed, found.held_out_passed) == (101, 101, 101)


DOUBLED = """\
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next

class Solution:
    def doubleIt(self, head: Optional[ListNode]) -> Optional[ListNode]:
        digits = ""
        while head:
            digits += str(head.val)
            head = head.next
        first = None
        for digit in reversed(str(2 * int(digits))):
            first = ListNode(int(digit), first)
        return first
"""
CONTINUOUS = """\
class Solution:
    def continuousSubarrays(self, nums: List[int]) -> int:
        counts, start, total = Counter(), 0, 0
        for end, value in enumerate(nums):
            counts[value] += 1
            while max(counts) - min(counts) > 2:
                counts[nums[start]] -= 1
                if not counts[nums[start]]:
                    del counts[nums[start]]
                start += 1
            total += end - start + 1
        return total
"""


@pytest.mark.parametrize(
    ("problem", "right", "wrong"),
    [
        ("weekly-contest-358-double-a-number-represented-as-a-linked-list", DOUBLED, ("2 * int", "2 + int")),
        ("weekly-contest-352-continuous-subarrays", CONTINUOUS, ("> 2", "> 1")),
    ],
)
async def test_leetcode_tests_accept_and_reject(
    executor: Executor, data_folder: Path, problem: str, right: str, wrong: tuple[str, str]
) -> None:
    """The set has no references: a right program of ours, and a wrong one."""
    data = load("leetcode", data=data_folder)
    (record,) = (record for record in data.records if record.id == problem)
    both = dataclasses.replace(record, references=(right, right.replace(*wrong)))
    found = await judged(executor, dataclasses.replace(data, records=(both,)))
    assert (found.programs, found.passed, found.held_out_passed) == (2, 1, 1)
    assert list(found.failed) == [f"{problem} (reference 2)"]


async def test_livecodebench_tests_accept_and_reject(executor: Executor, data_folder: Path) -> None:
    data = load("livecodebench", data=data_folder)
    programs = {
        "2777": "class Solution:\n    def distinctDifferenceArray(self, nums: List[int]) -> List[int]:\n"
        "        return [len(set(nums[:i + 1])) - len(set(nums[i + 1:])) for i in range(len(nums))]\n",
        "abc301_a": "n, s = int(input()), input()\nt, a = s.count('T'), s.count('A')\n"
        "print('T' if t > a or t == a and s[-1] == 'A' else 'A')\n",
    }
    records = tuple(
        dataclasses.replace(record, references=(programs[record.id], "class Solution:\n    pass\n"))
        for record in data.records
        if record.id in programs
    )
    found = await judged(executor, dataclasses.replace(data, records=records))
    assert (found.programs, found.passed) == (4, 2)
    assert set(found.failed) == {"2777 (reference 2)", "abc301_a (reference 2)"}
