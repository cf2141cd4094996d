import pytest

from engine.text.demonstrations import without_demonstrations
from engine.text.normalise import program_key

F = "def f(x):\n    return g(x) + TABLE[0]\n"
NEEDED = "import sys\nTABLE = [1]\n\ndef g(x):\n    return x\n\n"


@pytest.mark.parametrize(
    "tail",
    [
        "\nassert f(1) == 2\n",
        "\n# Test it\nprint(f(1))  # 2\nprint('done')\n",
        "\nif __name__ == '__main__':\n    print(1)\n",
        "\ndef test_f():\n    assert f(1) == 2\n\ntest_f()\n",
        "\n@decorated\ndef main():\n    n = int(input())\n    print(f(n))\n\n# go\nmain()\n",
        "\nn = int(input())\nfor i in range(n):\n    print(f(i))\n",
        "\nxs: list[int] = [1, 2]\nexpected = 3\nresult = f(xs)\nassert result == expected\n",
        "\ncases = [(1, 2)]\nfor given, wanted in cases:\n    assert f(given) == wanted\n",
        "\nclass TestF(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 2)\n",
        '\n"""Example"""\n',
        "\ntry:\n    f(None)\nexcept TypeError:\n    pass\n",
    ],
)
def test_demonstrations_go(tail: str) -> None:
    assert without_demonstrations(NEEDED + F + tail, "f").rstrip() == (NEEDED + F).rstrip()
    assert program_key(without_demonstrations(NEEDED + F + tail, "f")) == program_key(NEEDED + F)


@pytest.mark.parametrize(
    "code",
    [
        # What the entry point needs, wherever it stands.
        F + "\ndef g(x):\n    return h(x)\n\ndef h(x):\n    return x\n\nTABLE = [1]\n",
        F + "\nimport math as g\n\nTABLE = [print]\n",
        # Set-up that is no demonstration.
        NEEDED + F + "\nsys.setrecursionlimit(10**6)\nTABLE[0] = 3\nfor i in range(3):\n    TABLE.append(i)\n",
        # Before the entry point everything stays.
        "print(1)\nassert True\n" + NEEDED + F,
        # The entry point wrapped below.
        NEEDED + F + "\nf = cache(f)\n",
        # A class that uses itself.
        "class f:\n    pass\n\nclass Helper(list):\n    pass\n",
    ],
)
def test_the_program_stays(code: str) -> None:
    assert without_demonstrations(code, "f") == code


def test_a_last_definition_counts() -> None:
    code = "def f(): return 0\nprint(f())\ndef f(): return 1\nprint(f())\n"
    assert without_demonstrations(code, "f") == "def f(): return 0\nprint(f())\ndef f(): return 1\n"


def test_statements_that_share_a_line_stay_together() -> None:
    code = "def f(): return 0\nimport sys; print(f())\n"
    assert without_demonstrations(code, "f") == code


def test_without_a_definition_nothing_happens() -> None:
    for code in ("def f(:\n", "print(1)\n", "", "class S:\n    def f(self): pass\nprint(1)\n"):
        assert without_demonstrations(code, "f") == code
    assert without_demonstrations("class S:\n    def f(self): pass\nprint(S().f())\n", "S.f").endswith("pass\n")


def test_a_long_chain_is_followed_in_time() -> None:
    chain = "".join(f"a{n} = a{n - 1}\n" for n in range(1, 3000))
    code = f"a0 = 1\n{chain}def f(): return a2999\n"
    assert without_demonstrations(code + "print(f())\n", "f") == code
