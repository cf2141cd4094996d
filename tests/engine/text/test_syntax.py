"""Pruning: nothing that could become a program is given up, and what is given up was no program."""

import ast
import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pieces import cut, run

from engine.text.extract import extract_program
from engine.text.python_source import parse
from engine.text.stops import ProgramEnd, StopReason
from engine.text.syntax import is_hopeless

STUB = 'def f(x):\n    """Twice x."""\n'


@pytest.mark.parametrize(
    "code",
    [
        "",
        "\n",
        "# only\n",
        "if x:\n",
        "if x:\n\n\n",
        "if x:\n    # later\n",
        "def f():\n    x = 1\n",
        "def f():\n    '''doc\n",
        "def f():\n    @g\n",
        "class A:\n\n",
        "try:\n    x\n",
        "try:\n    x\nexcept A:\n",
        "try:\n    x\nfinally:\n",
        "match x:\n",
        "match x:\n    case 1:\n",
        "@f\n",
        "x = (1,\n",
        "x = '''a\n",
        "f'''{a}\n",
        "x = 1 + \\\n",
        "x = 'a\\\n",
        "while 1:\n    try:\n        a\n",
        "with a as b:\n",
        "for x in y:\n    if a:\n        b\n    else:\n",
        "type X = int\n",
        "return 1\n",
        f"x = {'(' * 300}\n",
        "lambda: (yield)\n",
    ],
)
def test_what_is_only_unfinished_is_not_hopeless(code: str) -> None:
    assert not is_hopeless(code)


@pytest.mark.parametrize(
    "code",
    [
        "print 'a'\n",
        "x = = 1\n",
        "def f():\nx = 1\n",
        "  x = 1\n",
        "def f():\n    x\n  y\n",
        "if x\n",
        "else:\n    a\n",
        "x = 'abc\n",
        "import\n",
        "def f():\n    return 1 2\n",
        "x = (1 +* 2)\n",
        "Here is the solution:\n",
        "x = 1)\n",
        "class A\n",
        "try:\n    a\nb\n",
        "x = 5 if y\n",
        "def f():\n    x = [1, 2\n    return x]\n",
        "@f\nx = 1\n",
    ],
)
def test_what_no_text_can_mend_is_hopeless(code: str) -> None:
    assert is_hopeless(code)


def test_what_the_parser_refuses_to_look_at_is_left_alone() -> None:
    assert not is_hopeless("x = " + "-" * 100_000 + "1\n")
    assert not is_hopeless("x = 1 1\n" * 100_000)


def problems() -> list[dict[str, str]]:
    if "THRESHER_DATA" not in os.environ:
        pytest.skip("set THRESHER_DATA to the folder of problem sets to run this on their programs")
    with gzip.open(Path(os.environ["THRESHER_DATA"]) / "humaneval" / "HumanEval.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def references() -> Iterator[str]:
    """Programs that are known to be right, of three problem sets."""
    for problem in problems():
        yield problem["prompt"] + problem["canonical_solution"]
    data = Path(os.environ["THRESHER_DATA"])
    with gzip.open(data / "mbpp" / "sanitized-mbpp.json.gz", "rt") as file:
        yield from ("\n".join(record["code"].splitlines()) + "\n" for record in json.load(file))


def test_no_beginning_of_a_program_is_hopeless() -> None:
    seen = 0
    for program in references():
        if parse(program) is None:
            continue
        lines = program.splitlines(keepends=True)
        for count in range(len(lines)):
            assert not is_hopeless("".join(lines[:count])), "".join(lines[:count])
        seen += 1
    assert seen > 450


NAMES = st.sampled_from(["a", "b", "f"])
VALUES = st.recursive(
    st.sampled_from(["a", "1", "'s'", '"""t\nu"""', "[1,\n  2]", "{1: 2}"]),
    lambda inner: st.builds("({} + {})".format, inner, inner) | st.builds("f({}, {})".format, inner, inner),
    max_leaves=4,
)


def _indented(block: str) -> str:
    return "".join(f"    {line}\n" for line in block.splitlines())


SIMPLE = st.builds("{} = {}\n".format, NAMES, VALUES) | st.sampled_from(["pass\n", "# note\n", "return a\n", "\n"])
BLOCKS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda v, b: f"if {v}:\n{_indented(b + 'pass')}", NAMES, inner),
        st.builds(lambda b: f"try:\n{_indented(b + 'pass')}except E:\n    pass\n", inner),
        st.builds(lambda n, b: f"@{n}\ndef {n}(x):\n{_indented(b + 'pass')}", NAMES, inner),
        st.builds(lambda n, b: f"match {n}:\n    case 1:\n{_indented(_indented(b + 'pass'))}", NAMES, inner),
        st.builds(lambda one, two: one + two, inner, inner),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(program=BLOCKS)
def test_no_beginning_of_a_made_program_is_hopeless(program: str) -> None:
    if parse(program) is None:
        return
    lines = program.splitlines(keepends=True)
    for count in range(len(lines)):
        assert not is_hopeless("".join(lines[:count]))


@pytest.mark.parametrize(
    ("text", "rules", "reason", "kept"),
    [
        # A line that nothing can mend, after one that makes a program: the program ends there.
        ("    y = 2 * x\n    return y\n    z = = 3\n    more", "completion", StopReason.END_OF_PROGRAM, 3),
        ("```python\ndef f(x):\n    return 2 2\n    pass\n", "chat", StopReason.PRUNED, 3),
        ("```python\ndef f(x):\n    return 2\nprint f(1)\nmore\n", "chat", StopReason.END_OF_PROGRAM, 4),
        ("    y = 2\n    z = = 1\n    more\n", "infill", StopReason.END_OF_PROGRAM, 2),
        # An outline that is shown first may be followed by the program; so may prose, a session, another language.
        ("```python\nx = = 1\n```\n", "chat", None, 0),
        ("Twice the number:\n\n```python\ndef f(x): return 2*x\n", "completion", None, 0),
        ("```python\n>>> f(1)\n2 2\n", "chat", None, 0),
        ("```bash\ndef f(x) -> 1 2\n", "chat", None, 0),
        ("I write it so:\n\n```python\n    return x\n", "infill", None, 0),
        ("    y = = 2\n", "none", None, 0),
    ],
)
def test_where_a_text_is_given_up(text: str, rules: str, reason: StopReason | None, kept: int) -> None:
    program = ProgramEnd(rules)
    given_ = {"completion": {"prompt": STUB}, "infill": {"prompt": STUB, "suffix": "    return x\n"}}.get(rules, {})
    pieces = text.splitlines(keepends=True)
    state, stop = run(*pieces, program=program, entry_point="f", prune=True, **given_)
    assert (None if stop is None else stop.reason) == reason
    if reason is not None:
        assert state.text == "".join(pieces[:kept])


def written() -> Iterator[tuple[dict[str, str], str, str | None]]:
    """Texts that a model has written for a problem, with the prompt that they continue or, in a block, without."""
    by_name = {problem["task_id"]: problem for problem in problems()}
    folder = Path(os.environ["THRESHER_DATA"]) / "replay-humaneval-codegen16b"
    chance = random.Random(0)
    with gzip.open(folder / "code_solution.jsonl.gz", "rt") as file:
        for line in file:
            record = json.loads(line)
            problem = next(one for one in by_name.values() if f"def {one['entry_point']}(" in record["prompt"])
            for sample in record["samples"][:10]:
                # Models of today make fewer errors: break some of the texts.
                cut_at = chance.randrange(len(sample) + 1)
                broken = sample[:cut_at] + chance.choice(["", ")", " is ", "\n  x\n", ":\n", "'"]) + sample[cut_at:]
                yield problem, broken, record["prompt"]
                yield problem, f"```python\n{record['prompt']}{broken}\n```\nDone.", None


def test_what_is_given_up_was_no_program_and_what_is_cut_is_the_same() -> None:
    """On real texts: the program that is judged is the one that would have been judged without pruning."""
    pruned = cut_short = 0
    for problem, text, prompt in written():
        program = ProgramEnd.CHAT if prompt is None else ProgramEnd.COMPLETION
        rules: dict[str, object] = {"program": program, "entry_point": problem["entry_point"], "prompt": prompt or ""}
        pieces = cut(text, list(range(0, len(text), 7)))
        whole, _ = run(*pieces, **rules)
        state, stop = run(*pieces, **rules, prune=True)
        if state.text == whole.text:
            continue
        assert stop is not None
        assert text.startswith(state.text)
        plain = extract_program(whole.text, prompt=prompt, entry_point=problem["entry_point"])
        if stop.reason is StopReason.PRUNED:
            pruned += 1
            assert parse(plain.code) is None or not plain.defines_entry_point, text
            continue
        cut_short += 1
        kept = extract_program(state.text, prompt=prompt, entry_point=problem["entry_point"])
        tree = parse(plain.code)
        # Without pruning a closed block keeps its error and fails; a program is never another one.
        if tree is not None:
            assert ast.dump(tree) == ast.dump(parse(kept.code) or ast.Module())
    assert pruned > 40
    assert cut_short > 40
