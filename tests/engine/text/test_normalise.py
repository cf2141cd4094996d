import ast
import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.text.normalise import program_key

PLAIN = "import math\n\n\ndef f(x, y=2):\n    if x > 1:\n        return x + math.pi\n    return 'a'\n"

SAME = [
    PLAIN + "\n\n# done\n",
    PLAIN.replace("    ", "\t"),
    PLAIN.replace("\n", "\r\n"),
    PLAIN.replace("'a'", '"a"').replace("x + math.pi", "(x +\n            math.pi)"),
    PLAIN.replace("'a'", "'''a'''").replace("'''a'''", "'' 'a'"),
    PLAIN.replace("'a'", "u'a'"),
    PLAIN.replace("y=2", "y=0x2"),
    PLAIN.replace(":\n    if", ':\n    """Doc."""\n    if'),
    '"""Module."""\n' + PLAIN,
    PLAIN.replace("> 1:", ">1 :  # why"),
]
OTHER = [
    PLAIN.replace("x > 1", "x >= 1"),
    PLAIN.replace("'a'", "b'a'"),
    PLAIN.replace("y=2", "y=2.0"),
    PLAIN.replace("y=2", "y=True"),
    PLAIN.replace("def f(x", "def f(z").replace("if x", "if z").replace("return x", "return z"),
    PLAIN + "print(f(1))\n",
    PLAIN.replace("import math\n", "").replace("math.pi", "3"),
]


@pytest.mark.parametrize("other", SAME)
def test_layout_comments_and_docstrings_do_not_count(other: str) -> None:
    assert ast.dump(ast.parse(other)) is not None
    assert program_key(other) == program_key(PLAIN)


def test_different_programs_have_different_keys() -> None:
    keys = {program_key(code) for code in [PLAIN, *OTHER]}
    assert len(keys) == len(OTHER) + 1
    assert {len(key) for key in keys} == {16}


@pytest.mark.parametrize(
    "reader",
    ["print(f.__doc__)", "getattr(f, '__doc__')", "help(f)", "import doctest; doctest.testmod()", "import inspect"],
)
def test_a_docstring_that_may_be_read_counts(reader: str) -> None:
    one, two = (f'def f():\n    """{doc}"""\n    return 1\n{reader}\n' for doc in ("a", "b"))
    assert program_key(one) != program_key(two)
    assert program_key(one) == program_key(one + "# comment\n")


def test_a_function_of_nothing_but_a_docstring_is_one_that_passes() -> None:
    assert program_key('def f():\n    "doc"\n') == program_key("def f():\n    pass\n")
    assert program_key('class C:\n    "doc"\n') == program_key("class C:\n    pass\n")


def test_a_program_that_reads_its_text_is_its_text() -> None:
    code = "import inspect\ndef f(): pass\nprint(inspect.getsource(f))\n"
    assert program_key(code) != program_key(code + "# comment\n")


def test_what_does_not_parse_is_its_text() -> None:
    assert program_key("def f(:\n") == program_key("\r\ndef f(:\r\n\r\n")
    assert program_key("def f(:\n") != program_key("def f(: \n    pass\n")
    assert program_key("") != program_key("x")


@pytest.mark.parametrize(
    "source",
    [
        "(" * 100_000,
        "-" * 100_000 + "1",
        "[" * 5_000 + "]" * 5_000,
        "a" + ".b" * 20_000,
        "x = " + "+".join("1" * 20_000),
        "x = 0x" + "f" * 50_000,
        "x = " + "9" * 10_000,
        "a\0b",
        "lambda:" * 5_000 + "1",
        "if x:\n" * 1_000,
        "".join(" " * n + "if x:\n" for n in range(150)),
        "if 1:0\n" + "elif 1:0\n" * 3_000,
        "f'{" * 100,
        "x = '\\N{NO SUCH CHARACTER}'",
        "x = '\ud800'",
        "\ufeffx = 1",
        "x" * (1 << 20),
        "# -*- coding: no-such-codec -*-\nx = 1",
        "\x0c\x1a",
    ],
    ids=lambda source: ascii(source[:12]),
)
def test_hostile_source_has_a_key(source: str) -> None:
    key = program_key(source)
    assert len(key) == 16
    assert key == program_key(source)
    assert key != program_key(source + "\ny = 1")


@given(st.text() | st.text("def f(x):\n\t '\"#\\[]{}=1.,"))
def test_any_text_has_a_key(source: str) -> None:
    assert len(program_key(source)) == 16


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_reference_programs_stay_apart() -> None:
    folder = os.environ.get("THRESHER_DATA")
    if folder is None:
        pytest.skip("THRESHER_DATA does not name the folder of benchmark data")
    with gzip.open(Path(folder) / "mbpp" / "sanitized-mbpp.json.gz", "rt") as file:
        programs = [problem["code"] for problem in json.load(file)]
    keys = {program_key(code): code for code in programs}
    assert len(keys) == len({ast.dump(ast.parse(code)) for code in programs})
    for key, code in keys.items():
        # The formatting of another printer is another text of the same program.
        assert program_key(ast.unparse(ast.parse(code))) == key
