"""A program that passed takes the function's place, and does there what it did before."""

import ast
import types
from typing import Any

import pytest
from thresher.lsp.functions import Source
from thresher.lsp.splice import SpliceError, new_text

FILE = '''import os
from functools import lru_cache


def square(x):
    return x * x


@lru_cache
def f(x: int, /, y: int = 2) -> int:
    """Doc.

    More.
    """
    ...


class A:
    factor = 3

    def g(self, x):
        """Doc of g."""
        pass

    def h(self):
        return 1
'''


def spliced(code: str, path: str = "f", file: str = FILE) -> str:
    """The lines that take the function's place."""
    source = Source(file)
    function = source.find(tuple(path.split(".")))
    assert function is not None
    text = new_text(source, function, code)
    assert text.endswith("\n")
    return text


def run(code: str, path: str = "f", file: str = FILE) -> Any:
    """The namespace of the file with the program in its place; nothing else of the file has changed."""
    source = Source(file)
    function = source.find(tuple(path.split(".")))
    assert function is not None
    lines = file.split("\n")
    text = "\n".join(lines[: function.first - 1]) + "\n" + spliced(code, path, file) + "\n".join(lines[function.last :])
    names = types.ModuleType("file").__dict__
    exec(compile(text, "file.py", "exec"), names)  # noqa: S102
    return types.SimpleNamespace(**names)


HEAD = FILE[FILE.index("@lru_cache") : FILE.index("    ...")]


def test_signature_decorators_and_docstring_stay_the_users() -> None:
    code = 'def f(x, /, y):\n  """Other."""\n  # why\n  return x + y\n'
    assert spliced(code) == f"{HEAD}    # why\n    return x + y\n"
    assert run(code).f(1) == 3


@pytest.mark.parametrize(
    "body",
    [
        "    return x ** y\n",
        "    total = 1\n    for _ in range(y):\n        total *= x\n\n    return total\n",
        "    if y == 0:\n        return 1\n    return x * f(x, y - 1)\n",
        "    text = '''a\n  b\n'''\n    assert len(text) == 6\n    return x ** y\n",
        "    text = f'''a\n  {x}\n'''\n    assert text.count('\\n') == 2\n    return x ** y\n",
        "    total = 1\n    for n in [\n  x\n    for _ in range(y)]: total *= n\n    return total\n",
    ],
)
@pytest.mark.parametrize("indent", ["  ", "    ", "\t"])
def test_bodies_keep_their_meaning_at_another_margin(body: str, indent: str) -> None:
    code = "def f(x, /, y):\n" + "".join(
        line.replace("    ", indent) if not line.startswith("  b") else line for line in body.splitlines(keepends=True)
    )
    assert run(code).f(3) == 9
    in_class = FILE.replace("def f(x: int, /, y: int = 2) -> int:", "def f(x: int, /, y: int = 2) -> int:")
    assert ast.dump(ast.parse(spliced(code, file=in_class)).body[-1]).count("Return") >= 1


def test_a_function_in_one_line() -> None:
    assert spliced("def f(x, /, y): return x + y\n") == f"{HEAD}    return x + y\n"


def test_other_parameters_bring_their_signature() -> None:
    code = "def f(number, power=3):\n    return number ** power\n"
    text = spliced(code)
    assert text.startswith('@lru_cache\ndef f(number, power=3):\n    """Doc.')
    assert run(code).f(2) == 8


def test_imports_come_inside_and_helpers_above() -> None:
    code = (
        "import math\nimport os\nimport re\nfrom typing import List\nBASE = 10\n\n\n"
        "def helper(n: List) -> int:\n    return math.floor(n) + BASE\n\n\ndef unused():\n    return re\n\n\n"
        "def square(x):\n    return -1\n\n\n"
        "def f(x, /, y):\n    import json\n    assert os and json\n    return helper(square(x)) + math.ceil(0.5)\n\n\n"
        "print(f(1))\n"
    )
    text = spliced(code)
    above, _, rest = text.partition("@lru_cache")
    assert "import math" in above
    assert "BASE = 10" in above
    assert "import re" not in text
    assert "def square" not in text
    assert "\n    import os" not in rest
    assert run(code).f(3) == 20  # the file's own square, not the program's
    only = spliced("import math\n\n\ndef f(x, /, y):\n    return math.floor(x)\n")
    assert only == f"{HEAD}    import math\n    return math.floor(x)\n"


def test_a_method_takes_everything_inside() -> None:
    whole = (
        "import math\n\nSEVEN = 7\n\n\ndef helper(n):\n    return n + SEVEN\n\n\nclass A:\n    factor = 3\n\n"
        "    def g(self, x):\n        return math.floor(helper(x)) * self.factor\n"
    )
    assert run(whole, "A.g").A().g(1) == 24
    assert '        """Doc of g."""\n        import math\n' in spliced(whole, "A.g")
    alone = "def g(self, x):\n    return x * self.factor\n"
    assert spliced(alone, "A.g") == '    def g(self, x):\n        """Doc of g."""\n        return x * self.factor\n'
    assert run(alone, "A.g").A().h() == 1


def test_tabs_stay_tabs() -> None:
    file = "class A:\n\tdef g(self, x):\n\t\tpass\n"
    code = "def g(self, x):\n    if x:\n        return 1\n    return 2\n"
    assert spliced(code, "A.g", file) == "\tdef g(self, x):\n\t\tif x:\n\t\t\treturn 1\n\t\treturn 2\n"


@pytest.mark.parametrize(
    ("code", "path", "reason"),
    [
        ("def other(x): return x\n", "f", "does not define f"),
        ("def f(:\n", "f", "not Python"),
        ("def f(x, /, y):\n    pass\n", "f", "leaves f unwritten"),
        ("async def f(x, /, y):\n    return 1\n", "f", "is asynchronous"),
        ("n = 0\n\n\ndef g(self, x):\n    global n\n    n += 1\n    return n\n", "A.g", "globals"),
    ],
)
def test_what_cannot_take_the_place(code: str, path: str, reason: str) -> None:
    with pytest.raises(SpliceError, match=reason):
        spliced(code, path)
