"""Functions of a file: which there are, which are stubs, where their parts stand."""

import pytest
from thresher.lsp.functions import Source, place_of


@pytest.mark.parametrize(
    "body",
    [
        "...",
        "pass",
        "raise NotImplementedError",
        'raise NotImplementedError("later")',
        '"""Doc."""',
        '"""Doc."""\n    ...',
    ],
)
def test_stubs(body: str) -> None:
    (function,) = Source(f"def f(x):\n    {body}\n").functions()
    assert function.stub


@pytest.mark.parametrize("body", ["return None", "x = 1", "raise ValueError", "..., 1", "print(x)"])
def test_what_is_no_stub(body: str) -> None:
    (function,) = Source(f"def f(x):\n    {body}\n").functions()
    assert not function.stub


def test_functions_that_tests_can_reach() -> None:
    text = (
        "import typing\n\n\ndef outer():\n    def inner(): ...\n    return inner\n\n\n"
        "class A:\n    class B:\n        @property\n        def c(self): ...\n\n"
        "    @typing.overload\n    def d(self, x: int) -> int: ...\n    def d(self, x): return x\n"
    )
    source = Source(text)
    assert [function.dotted for function in source.functions()] == ["outer", "A.B.c", "A.d"]
    found = source.at(10)  # the line of the decorator
    assert found is not None
    assert (found.dotted, found.first, found.last) == ("A.B.c", 11, 12)
    assert source.at(0) is None
    assert Source("def f(:\n").functions() == []


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("def f(x): ...\n", "def f(x):\n"),
        ("def f(x):  # why\n    ...\n", "def f(x):  # why\n"),
        ("@cache\ndef f(\n    x,\n):\n    # first\n    pass\n", "@cache\ndef f(\n    x,\n):\n    # first\n"),
        (
            'def f(x):\n    """Doc.\n\n    More."""\n    # note\n    ...\n',
            'def f(x):\n    """Doc.\n\n    More."""\n    # note\n',
        ),
        ('def f(x): "Doc."\n', 'def f(x):\n    "Doc."\n'),
        ('def f(x):\n\t"""Doc."""\n', 'def f(x):\n\t"""Doc."""\n'),
    ],
)
def test_head_of_a_function(text: str, head: str) -> None:
    source = Source(text)
    (function,) = source.functions()
    assert source.head(function) == head


def test_where_a_function_went() -> None:
    text = "def f(x):\n    ...\n"
    path = ("f",)
    assert place_of(Source(text), path, text) == 0
    assert place_of(Source(f"import os\n\n\n{text}\n\nx = 1\n"), path, text) == 3
    assert place_of(Source(f"x = (\n{text}"), path, text) == 1  # the file does not parse for now
    assert place_of(Source("def f(y):\n    ...\n"), path, text) is None
    assert place_of(Source(f"{text}    return 1\n"), path, text) is None
    assert place_of(Source(f"{text}    return (\n"), path, text) is None
    assert place_of(Source("def g(x):\n    ...\n"), path, text) is None


def test_line_ends_of_other_systems() -> None:
    source = Source("def f(x):\r\n    ...\r\n")
    (function,) = source.functions()
    assert source.text_of(function) == "def f(x):\n    ...\n"
