import ast
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pieces import run

from engine.text.extract import Found, extract_program
from engine.text.normalise import program_key
from engine.text.python_source import parse
from engine.text.stops import ProgramEnd

F = "def f(x):\n    return x + 1\n"
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        # One block, whatever stands around it.
        (f"```python\n{F}```", F, Found.FENCED),
        (f"Sure!\n\n```python\n{F}```\n\nIt adds one.", F, Found.FENCED),
        (f"```Python3\r\n{F}```\r\n", F, Found.FENCED),
        (f"~~~~ {{.python}}\n{F}~~~~", F, Found.FENCED),
        (f"```\n{F}```\nOutput:\n```\n3\n```", F, Found.FENCED),
        ("1. So:\n\n   ```python\n   def f(x):\n       return x + 1\n   ```", F, Found.FENCED),
        # Several blocks: the one that defines the entry point.
        (f"```python\ndef g(x): pass\n```\n```python\n{F}```\n```python\nprint(f(1))\n```", F, Found.FENCED),
        (f"```bash\nf=1\n```\n```python\n{F}```", F, Found.FENCED),
        (f"```python\ndef f(x):\n    ...\n```\nFull:\n```python\n{F}```", F, Found.FENCED),
        (f"```python\ndef f(x) return\n```\nMended:\n```python\n{F}```", F, Found.FENCED),
        # A block that needs another.
        (
            "```python\nimport math\n```\n```python\ndef f(x):\n    return math.ceil(x)\n```",
            "import math\n\ndef f(x):\n    return math.ceil(x)\n",
            Found.JOINED,
        ),
        (
            "```python\ndef f(x):\n    return g(x)\n```\nwith\n```python\ndef g(x):\n    return h(x)\n```\nand\n"
            "```python\ndef h(x):\n    return x\n```\nUse:\n```python\nprint(f(1))\n```",
            "def g(x):\n    return h(x)\n\ndef h(x):\n    return x\n\ndef f(x):\n    return g(x)\n",
            Found.JOINED,
        ),
        # No closing fence: cut off, or another block begins.
        (f"```python\n{F}", F, Found.UNCLOSED),
        (f"```python\n{F}\nprint(f(", F, Found.UNCLOSED),
        (f"```python\n{F}\ndef g(y):\n    if y:\n", F, Found.UNCLOSED),
        (f"```python\n{F}```python\nprint(f(1))\n```", F, Found.UNCLOSED),
        # A docstring with a fence in it.
        (
            '```python\ndef f(x):\n    """\n    ```\n    f(1)\n    ```\n    """\n    return x\n```',
            'def f(x):\n    """\n    ```\n    f(1)\n    ```\n    """\n    return x\n',
            Found.FENCED,
        ),
        # No fence at all.
        (F, F, Found.WHOLE),
        ("    def f(x):\n        return x + 1\n", F, Found.WHOLE),
        (f"Here is it:\n\n{F}\nThis adds one. It's simple!", F, Found.AMONG_PROSE),
        (f"Python code\nimport math\n\n{F}\n\nExample usage:\nprint(f(1))", f"import math\n\n{F}", Found.AMONG_PROSE),
        (f"x = 1 is the case.\nThen:\n{F}\nThat's it", F, Found.AMONG_PROSE),
        # An interpreter session.
        (">>> def f(x):\n...     return x + 1\n...\n>>> f(1)\n2\n", F, Found.WHOLE),
        ("```pycon\n>>> def f(x):\n...     return x + 1\n```", F, Found.FENCED),
        # Other forms of an entry point.
        ("```python\nf = lambda x: x + 1\n```", "f = lambda x: x + 1\n", Found.FENCED),
        ("```python\nclass f:\n    n = 1\n```", "class f:\n    n = 1\n", Found.FENCED),
    ],
)
def test_where_the_program_is(text: str, code: str, reason: Found) -> None:
    found = extract_program(text, entry_point="f")
    assert (found.code, found.reason, found.defines_entry_point) == (code, reason, True)


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("```python\nprint(int(input()) + 1)\n```", "print(int(input()) + 1)\n", Found.FENCED),
        ("Input:\n```\n5 3\n```\n```\nn = int(input())\nprint(n)\n```", "n = int(input())\nprint(n)\n", Found.FENCED),
        ("n = int(input())\nprint(n)", "n = int(input())\nprint(n)\n", Found.WHOLE),
        ("So:\nn = int(input())\nprint(n)\nDone, that's all", "n = int(input())\nprint(n)\n", Found.AMONG_PROSE),
        ("No.", "No.\n", Found.NOTHING),
        ("Hello", "Hello\n", Found.NOTHING),
        ("", "\n", Found.NOTHING),
    ],
)
def test_without_an_entry_point(text: str, code: str, reason: Found) -> None:
    found = extract_program(text)
    assert (found.code, found.reason, found.defines_entry_point) == (code, reason, True)


def test_a_missing_entry_point_shows() -> None:
    for text in (f"```python\n{F}```", F, "I cannot do that."):
        found = extract_program(text, entry_point="g")
        assert (found.reason, found.defines_entry_point) == (Found.NOTHING, False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("    return x + 1\n", F),
        ("    return x + 1\n\n\nprint(f(1))\nThat's it", F),
        ("    return x + 1\n\ndef g():\n    if", F),
        # Cut off in its last statement.
        ("    y = x + 1\n    return y\n    y = (", "def f(x):\n    y = x + 1\n    return y\n"),
        # A chat model that writes it all anew.
        (f"```python\n{F}```\nIt adds one.", F),
        (f"    Sure:\n\n```python\n{F}```\n", F),
    ],
)
def test_a_prompt_that_is_part_of_the_program(text: str, code: str) -> None:
    found = extract_program(text, prompt="def f(x):\n", entry_point="f")
    assert found.code == code
    assert found.defines_entry_point


def test_it_takes_what_the_stop_rules_leave() -> None:
    chat = f"Sure:\n```python\nimport math\n```\n```python\n{F}```\nand\n```python\ndef f(x): return 0\n```"
    rules, _ = run(*chat, program=ProgramEnd.CHAT, entry_point="f")
    assert extract_program(rules.text, entry_point="f").code == F
    completion = "    return x + 1\n\n\nprint(f(1))\n"
    rules, _ = run(*completion, program=ProgramEnd.COMPLETION, prompt="def f(x):\n", entry_point="f")
    assert extract_program(rules.text, prompt="def f(x):\n", entry_point="f").code == F


WORDS = st.sampled_from(
    [
        *("```", "```python\n", "~~~", "\n", "def f(x):\n", "    return x\n", ">>> ", "... ", '"""', "(", "prose "),
        *("x = 1\n", "import math\n", "\0", "\ud800", "f", "    ", "\t", "@", "class f:\n"),
    ]
)


@given(st.lists(WORDS, max_size=25).map("".join), st.sampled_from(["f", None]), st.sampled_from(["def f(x):\n", None]))
def test_any_text_has_an_answer(text: str, entry_point: str | None, prompt: str | None) -> None:
    found = extract_program(text, prompt=prompt, entry_point=entry_point)
    assert found.code.endswith("\n")
    if found.reason in (Found.FENCED, Found.JOINED, Found.WHOLE, Found.AMONG_PROSE) and entry_point is not None:
        assert found.defines_entry_point
    if found.reason in (Found.WHOLE, Found.AMONG_PROSE):
        assert parse(found.code) is not None


def test_a_long_text_takes_no_longer_than_it_must() -> None:
    prose = "It's a line of prose (with a bracket.\n" * 3000
    assert extract_program(f"{prose}import math\n{F}{prose}", entry_point="f").code == f"import math\n{F}"


def cases() -> list[Any]:
    found: list[Any] = []
    for path in CORPUS:
        for number, case in enumerate(json.loads(path.read_text())):
            found.append(pytest.param(case, id=f"{path.stem}-{number}-{case['entry_point']}"))
    return found


@pytest.mark.parametrize("case", cases())
def test_corpus(case: dict[str, Any]) -> None:
    """Texts of real models, each with the program that a reader found in it."""
    found = extract_program(case["text"], prompt=case.get("prompt"), entry_point=case["entry_point"])
    assert (found.code, found.reason.value) == (case["code"], case["reason"])


@pytest.mark.parametrize("case", cases())
def test_stopping_early_changes_no_program_of_the_corpus(case: dict[str, Any]) -> None:
    mode = ProgramEnd.COMPLETION if "prompt" in case else ProgramEnd.CHAT
    prompt = case.get("prompt")
    rules, _ = run(*case["text"], program=mode, prompt=prompt or "", entry_point=case["entry_point"])
    found = extract_program(rules.text, prompt=prompt, entry_point=case["entry_point"])
    assert program_key(found.code) == program_key(case["code"])


def recorded(name: str) -> list[dict[str, Any]]:
    folder = os.environ.get("THRESHER_DATA")
    if folder is None:
        pytest.skip("THRESHER_DATA does not name the folder of benchmark data")
    with gzip.open(Path(folder) / name, "rt") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("model", ["1.5b", "7b"])
def test_recorded_completions_of_qwen(model: str) -> None:
    """Every recorded completion that passed its tests is found, as the same program that was run then."""
    entry_points = {p["task_id"]: p["entry_point"] for p in recorded("humaneval/HumanEval.jsonl.gz")}
    prompts = {p["task_id"]: p["prompt"] for p in recorded("humaneval/HumanEval.jsonl.gz")}
    checked = 0
    for record in recorded(f"replay-evalplus-qwen25coder-base/humaneval-{model}.jsonl.gz"):
        task = record["task_id"]
        expected = function(record["evaluated_solution"], entry_points[task])
        if record["base_status"] == "pass" and expected is not None:
            found = extract_program(record["completion"], prompt=prompts[task], entry_point=entry_points[task])
            assert function(found.code, entry_points[task]) == expected
            checked += 1
    assert checked > 30


def function(program: str, name: str) -> bytes | None:
    """Key of the last definition of the function, docstring aside; None if the program lacks it or does not parse."""
    tree = parse(program)
    found = [s for s in (tree.body if tree else []) if isinstance(s, ast.FunctionDef) and s.name == name]
    return program_key(ast.unparse(found[-1])) if found else None
