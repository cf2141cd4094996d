import ast
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pieces import cut, run

from engine.text.python_source import parse
from engine.text.stops import ProgramEnd, Stop, StopReason

MODE = ProgramEnd.COMPLETION
PROMPT = 'from typing import List\n\ndef f(x: List[int]) -> int:\n    """Sum.\n    >>> f([1])\n    1\n    """\n'
BODY = "    total = 0\n    for n in x:\n        total += n\n    return total\n"
TAILS = (
    "\n\nprint(f([1, 2]))\n",
    '\nif __name__ == "__main__":\n    print(f([1]))\n',
    "\n\n# Tests\n\nassert f([]) == 0\n",
    "\nclass Other:\n    pass\n",
    "\n\ndef test_f():\n    assert f([1]) == 1\n",
    "\n@decorated(\n    1)\ndef other():\n    pass\n",
    "\n```\n\nThis function adds up.\n",
    "\nThis function adds up.\n",
    "\nfrom typing import List\n\ndef next_problem(y):\n",
    "\n)\n",
    "\nx = [1]\nprint(f(x))\n",
    "\nn = int(input())\n",
    '\n"""\nExplanation\n"""\n',
    "\nfor n in [1]:\n    f(n)\n",
    "\ntotal = f([1])\n",
    "\nelse:\n    pass\n",
    "\ntry:\n    f(1)\n",
    "\ndef f(x):\n    return 0\n",
    "\n>>> f([1])\n1\n",
)


def completed(text: str, *, prompt: str = PROMPT, entry_point: str | None = "f") -> tuple[str, Stop | None]:
    rules, stop = run(*text, program=MODE, prompt=prompt, entry_point=entry_point)
    return rules.text, stop


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("entry_point", ["f", None])
def test_what_the_program_does_not_need_ends_it(tail: str, entry_point: str | None) -> None:
    assert completed(BODY + tail, entry_point=entry_point) == (
        BODY,
        Stop(StopReason.END_OF_PROGRAM, len(BODY)),
    )


@given(tail=st.sampled_from(TAILS), places=st.lists(st.integers(0, 200), max_size=100))
def test_however_the_text_is_cut(tail: str, places: list[int]) -> None:
    pieces = cut(BODY + tail, places)
    _, stop = run(*pieces, program=MODE, prompt=PROMPT, entry_point="f")
    assert stop == Stop(StopReason.END_OF_PROGRAM, len(BODY))


@pytest.mark.parametrize(
    "text",
    [
        # Layout at the left margin that does not end a statement.
        "    y = [\n1,\n2,\n]\n    return y\n",
        '    s = """\nprint(1)\ndef g():\n"""\n    return s\n',
        "    s = 'a\\\nprint'\n    return s\n",
        "    y = 1 + \\\n2\n    return y\n",
        "    return (  # a ( in a comment\n1)\n",
        "    a = 1\n# a comment at the left margin\n    return a\n",
        "\n\n\n    return 1\n",
        "    return '#' \"'\" '\\''\n",
        "    return r'\\'\n    # it's\n",
        "    x = {'a': [1, (2,\n3)]}\n\n    return x\n",
        "\treturn [\r\n1]\r\n",
        # Helpers below their use.
        "    return g(x)\n\n\ndef g(x):\n    return h(x)\n\n@cache\ndef h(x):\n    return 1\n",
        "    return math.pi + LIMIT\n\nimport math\nLIMIT = 3\n",
        "    return C(x)\n\nclass C(list):\n    def m(self):\n        return dd(list)\n\n"
        "from collections import OrderedDict, defaultdict as dd\n",
        "    return g\n\nasync def g():\n    pass\n",
    ],
)
def test_what_belongs_to_the_program_stays(text: str) -> None:
    assert completed(text) == (text, None)
    assert completed(text + "\n\nprint(1)\n") == (text, Stop(StopReason.END_OF_PROGRAM, len(text)))


@pytest.mark.parametrize(
    ("prompt", "entry_point", "text", "kept"),
    [
        # The prompt ends within a line, a string, a bracket.
        ("def f(x):\n    return", "f", " x\nprint(1)\n", " x\n"),
        (
            'def f(x):\n    """Doc',
            "f",
            'string.\nprint\n"""\n    return 1\nprint(1)\n',
            'string.\nprint\n"""\n    return 1\n',
        ),
        ("def f(x):\n    return [", "f", "\n1\n]\nprint(1)\n", "\n1\n]\n"),
        # The entry point is still to come.
        (
            "# sum of a list\n",
            "f",
            "import math\n\ndef f(x):\n    return 1\nprint(1)\n",
            "import math\n\ndef f(x):\n    return 1\n",
        ),
        (
            "",
            "f",
            "def g():\n    pass\n\ndef f(x):\n    return 1\n\nf(1)",
            "def g():\n    pass\n\ndef f(x):\n    return 1\n",
        ),
        ("import re\n# sum\n", None, "def f(x):\n    return 1\n\nf(1)", "def f(x):\n    return 1\n"),
        ("def g():\n    pass\n\n# now f\n", None, "def f(x):\n    return 1\n\nf(1)", "def f(x):\n    return 1\n"),
        # A method of a class.
        ("class S:\n    def f(self):\n", "S.f", "        return 1\n\nS().f()", "        return 1\n"),
        # Branches of a statement at the left margin.
        ("def f(x): return x\nif x:\n", None, "    pass\nelse:\n    pass\nprint(1)", "    pass\nelse:\n    pass\n"),
    ],
)
def test_the_prompt_is_read_too(prompt: str, entry_point: str | None, text: str, kept: str) -> None:
    assert completed(text, prompt=prompt, entry_point=entry_point)[0] == kept


@pytest.mark.parametrize("entry_point", ["f", None])
def test_a_model_may_write_the_function_anew(entry_point: str | None) -> None:
    again = "\nfrom typing import List\n\n" + PROMPT.partition("\n\n")[2] + BODY
    for tail in TAILS:
        kept, stop = completed(again + tail, entry_point=entry_point)
        assert kept == again
        assert stop is not None
    # Not so where the prompt's function has a body already.
    begun = "    y = 1\n"
    assert completed("print(1)\n\nprint(2)", prompt=PROMPT + begun, entry_point=entry_point)[0] == "print(1)\n"


def test_nothing_ends_before_it_has_begun() -> None:
    text = "\nprint(1)\n    return 1\n"
    assert completed(text)[1] is None


def test_keep_after_program_switches_it_off() -> None:
    rules, stop = run(*(BODY + TAILS[0]), program=ProgramEnd.NONE, prompt=PROMPT, entry_point="f")
    assert stop is None
    assert rules.text == BODY + TAILS[0]


def data(*names: str) -> list[list[dict[str, Any]]]:
    folder = os.environ.get("THRESHER_DATA")
    if folder is None:
        pytest.skip("THRESHER_DATA does not name the folder of benchmark data")
    found: list[list[dict[str, Any]]] = []
    for name in names:
        with gzip.open(Path(folder) / name, "rt") as file:
            found.append([json.loads(line) for line in file])
    return found


def test_reference_solutions_are_kept_whole() -> None:
    (problems,) = data("humaneval/HumanEval.jsonl.gz")
    assert len(problems) == 164
    for problem in problems:
        solution = problem["canonical_solution"].rstrip() + "\n"
        for tail in (TAILS[0], TAILS[1], TAILS[2], TAILS[4], TAILS[6], TAILS[7]):
            _, stop = run(
                solution,
                tail,
                program=MODE,
                prompt=problem["prompt"],
                entry_point=problem["entry_point"],
            )
            assert stop == Stop(StopReason.END_OF_PROGRAM, len(solution)), problem["task_id"]


def test_recorded_completions_keep_their_function() -> None:
    """Samples of CodeGen-16B: wherever the usual stop strings leave a program, ours holds the same function."""
    (problems, recorded) = data("humaneval/HumanEval.jsonl.gz", "replay-humaneval-codegen16b/code_solution.jsonl.gz")
    entry_points = {problem["task_id"]: problem["entry_point"] for problem in problems}
    usual = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif")
    compared = 0
    for record in recorded:
        name, prompt = entry_points[record["task_id"]], record["prompt"]
        for sample in record["samples"][::10]:
            cut_usually = sample[: min([sample.find(s) for s in usual if s in sample], default=len(sample))]
            expected = function(prompt + cut_usually, name)
            if expected is not None:
                rules, _ = run(*cut(sample, list(range(0, 2000, 3))), program=MODE, prompt=prompt, entry_point=name)
                assert function(prompt + rules.text, name) == expected, (record["task_id"], sample)
                compared += 1
    assert compared > 500


def function(program: str, name: str) -> str | None:
    """The last definition of the function, as a tree; None if the program does not parse or lacks it."""
    tree = parse(program)
    body = [] if tree is None else tree.body
    return next((ast.dump(s) for s in reversed(body) if isinstance(s, ast.FunctionDef) and s.name == name), None)
