"""What goes to the server: how much of a file, and in which words."""

import pytest
from thresher.lsp.failures import failures_of
from thresher.lsp.finding import find_tests
from thresher.lsp.found import FoundTest, Place
from thresher.lsp.functions import Source
from thresher.lsp.problem import Task
from thresher.lsp.rounds import Round, with_feedback
from thresher.v1 import verdict_pb2

FILE = '''import logging
import math
import numpy as np
from other import thing
from dataclasses import dataclass

LIMIT = 10
LOG = logging.getLogger(__name__)
TABLE = np.zeros(3)
print("loaded")


@dataclass
class Point:
    x: float
    y: float


# Of use.
def square(x):
    return x * x


def with_numpy(x):
    return np.square(x)


def promised(x):
    ...


@thing
def decorated():
    return 1


# Adds.
def alone(a, b):
    """Sum.

    >>> alone(1, 2)
    3
    """


def leaning(p: Point) -> float:
    """Length.

    >>> leaning(Point(3, 4))
    5.0
    """
    ...


class Box:
    def __init__(self):
        self.items = []

    def put(self, item):
        """Put.

        >>> Box().put(1)
        [1]
        """
        ...

    def take(self):
        return self.items.pop()


def test_other():
    assert square(2) == 4


if __name__ == "__main__":
    print(alone(1, 2))
'''


def task(path: str, file: str = FILE) -> Task:
    source = Source(file)
    function = source.find(tuple(path.split(".")))
    assert function is not None
    assert source.tree is not None
    return Task.of(source, source.tree, function, find_tests(source, function, "/nowhere/x.py", lambda uri: "").tests)


def test_what_goes_along_is_what_may_be_used_and_nothing_that_runs() -> None:
    around = task("alone").excerpt.around
    for piece in ("import math", "LIMIT = 10", "class Point", "# Of use.\ndef square", "def with_numpy", "class Box"):
        assert piece in around
    for piece in ("numpy", "thing", "getLogger", "print(", "def test_other", "__main__", "def alone"):
        assert piece not in around.replace("def with_numpy", "")
    compile(around, "x.py", "exec")


def test_what_is_needed_goes_along_whatever_it_is() -> None:
    needed = "import numpy as np\n\n\ndef size():\n    return np.zeros(3)\n\n\nN = size()\n"
    assert task("f", f"{needed}\n\ndef f(n): ...\n\n\nassert f(N) == 1\n").excerpt.around == needed


def test_what_is_needed_may_have_the_name_of_a_test() -> None:
    needed = "class TestResult:\n    pass\n\n\ndef test_even(n):\n    return n % 2 == 0\n"
    file = f"{needed}\n\ndef f(n: TestResult): ...\n\n\nassert f(test_even(2)) == 1\n"
    assert task("f", file).excerpt.around == needed


def test_long_files_are_cut_to_what_is_needed_and_near() -> None:
    many = "".join(f"def helper_{n}(x):\n    return x + {n}\n\n\n" for n in range(500))
    file = f"{many}def f(n): ...\n\n\nassert f(helper_0(1)) == 2\n"
    around = task("f", file).excerpt.around
    assert len(around) < 12_000
    assert "def helper_0(" in around
    assert "def helper_499(" in around
    assert "def helper_100(" not in around


def test_a_function_on_its_own_is_asked_for_alone() -> None:
    problem = task("alone").chat()
    (message,) = problem.chat.messages
    assert "```python\n# Adds.\ndef alone(a, b):\n" in message.content
    assert "def square(x): ...\n" in message.content
    assert "def promised" not in message.content
    assert "assert alone(1, 2) == 3" in message.content
    assert message.content.endswith("Write only the function, in one ```python code block. Do not repeat the tests.")
    assert "def square(x):\n    return x * x" in problem.setup_code
    assert problem.entry_point == "alone"


def test_a_function_that_leans_on_its_file_is_asked_for_with_it() -> None:
    problem = task("leaning").chat()
    content = problem.chat.messages[0].content
    assert "Write the body of `leaning`" in content
    assert "class Point" in content
    assert "square" not in content  # only what is needed has to be written again
    assert "class Point" not in problem.setup_code


@pytest.mark.parametrize("path", ["leaning", "Box.put"])
def test_a_hole_in_the_file(path: str) -> None:
    given = task(path)
    prompt = given.infill().infill
    assert prompt.prefix.rstrip().endswith('"""')
    body = "        return self.items\n" if path == "Box.put" else "    return 5.0\n"
    names: dict[str, object] = {}
    exec(compile(prompt.prefix + body + prompt.suffix, "x.py", "exec"), names)  # noqa: S102
    assert "Point" in names
    assert prompt.suffix.startswith("\n    def take(self)") == (path == "Box.put")


def test_the_program_to_be_judged_is_the_file_as_it_will_be() -> None:
    given = task("alone")
    program = given.program("def alone(a, b):\n    return a + b\n")
    assert "# Adds.\ndef alone(a, b):\n    return a + b\n" in program.code
    assert "def square" in program.code
    assert program.run_all
    assert len(program.tests) == 1


def test_a_round_is_a_chat_with_the_program_and_what_is_wrong() -> None:
    given = task("alone")
    before = Round("def alone(a, b):\n    return a\n", ("alone(1, 2) gives 1, expected 3",), "Mind the second.")
    first, program, said = with_feedback(given, before).chat.messages
    assert first.content == given.chat().chat.messages[0].content
    assert (program.role, program.content) == ("assistant", "```python\ndef alone(a, b):\n    return a\n```")
    assert said.content == (
        "That program is wrong:\n- alone(1, 2) gives 1, expected 3\n\nMind the second.\n\n"
        "Write it again, in the same form."
    )
    whole = with_feedback(task("leaning"), Round("def leaning(p: Point) -> float:\n    return p.x\n"))
    assert "class Point" in whole.chat.messages[1].content
    (only,) = with_feedback(given, Round("", (), "Mind negative numbers.")).chat.messages
    assert only.content.endswith("\n\nMind negative numbers.")


def test_failures_are_told_once_with_the_best_programs_words() -> None:
    tests = [FoundTest("assert f(1) == 1\n", "assert f(1) == 1", "f(1) == 1", Place("", 0, 0))]
    tests.append(FoundTest("", "", "f(2)", Place("", 1, 1), "4\n"))
    kinds = verdict_pb2.TestResult
    worse = verdict_pb2.ExecutionReport(verdict="VERDICT_RUNTIME_ERROR")
    worse.results.append(kinds(test_index=0, verdict="VERDICT_RUNTIME_ERROR", message="NameError: name 'g'"))
    better = verdict_pb2.ExecutionReport(verdict="VERDICT_WRONG_ANSWER", tests_passed=1)
    better.results.append(kinds(test_index=0, verdict="VERDICT_PASSED"))
    better.results.append(kinds(test_index=1, verdict="VERDICT_WRONG_ANSWER", message="not so: x (got '3\\n')"))
    no_python = verdict_pb2.ExecutionReport(verdict="VERDICT_COMPILE_ERROR", detail="SyntaxError: line 1")
    skipped = verdict_pb2.ExecutionReport(verdict="VERDICT_SKIPPED")
    found = failures_of(tests, [no_python, worse, better, skipped])
    assert [(one.message, one.programs) for one in found] == [
        ("f(1) == 1: SyntaxError: line 1", 2),
        ("f(2) gives 3, expected 4", 1),
    ]
