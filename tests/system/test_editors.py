"""Editors and clients with everything real: a server process, the default model, real jails."""

import doctest
import types
from collections.abc import Generator
from pathlib import Path

import pytest
from support.editor import editor
from support.neovim import neovim
from support.node import installed, run
from thresher.client import Client, refine, solve

from benchmarks import steady
from benchmarks.server import Server, own_server

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]

FUNCTION = '''def count_vowels(text):
    """Return how many letters of the text are vowels (a, e, i, o, u), upper or lower case.

    >>> count_vowels("hello")
    2
    >>> count_vowels("SKY")
    0
    >>> count_vowels("Area")
    3
    """
    ...
'''
METHOD = '''class Stack:
    """A stack of items, the last one on top."""

    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        """Remove the item on top and return it.

        >>> stack = Stack()
        >>> stack.push(1)
        >>> stack.push(2)
        >>> stack.pop()
        2
        >>> stack.items
        [1]
        """
        ...
'''


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with own_server() as running:
        yield running


def failures(text: str) -> int:
    """How many examples of a file fail, as doctest itself finds."""
    module = types.ModuleType("file")
    exec(compile(text, "file.py", "exec"), module.__dict__)  # noqa: S102
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False)
    for case in finder.find(module, "file"):
        runner.run(case, out=lambda text: None)
    assert runner.tries > 0
    return runner.failures


@pytest.mark.parametrize(("text", "line"), [(FUNCTION, 0), (METHOD, 10)], ids=["function", "method"])
async def test_a_stub_is_solved(server: Server, tmp_path: Path, text: str, line: int) -> None:
    async with editor(tmp_path, server.address) as one:
        uri = one.open("file.py", text)
        (action,) = await one.actions(uri, line)
        assert action.title == "Solve with Thresher"
        result = await one.solve(uri, line)
        # A real model may write a class of its own with methods that the file's lacks: said so, and nothing is changed.
        for _ in range(4):
            if result.outcome != "not_in_place":
                break
            assert one.texts[uri] == text and not result.applied
            result = await one.solve(uri, line)
        assert (result.outcome, result.applied) == ("solved", True), result.message
        assert one.texts[uri].startswith(text.partition("    ...")[0].rstrip(" "))
        assert failures(one.texts[uri]) == 0


async def test_a_hole_is_filled_in_while_typing(server: Server, tmp_path: Path) -> None:
    text = FUNCTION.replace("    ...\n", "    return sum(\n")
    line = text.split("\n").index("    return sum(")
    async with editor(tmp_path, server.address) as one:
        uri = one.open("file.py", text)
        for _ in range(3):  # the model may miss with the few samples that a completion gets
            if found := await one.complete(uri, line, len("    return sum(")):
                break
        assert found
        assert failures(text.replace("    return sum(\n", f"    return sum({found[0]}\n")) == 0


def test_a_stub_is_solved_in_neovim_and_a_keystroke_frees_the_server(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(FUNCTION)
    with neovim(tmp_path, file, server.address, "{ k = 64 }") as vim, Client(server.address) as client:
        vim.keys("1G:ThresherSolve<CR>")
        vim.until(lambda: "solved by program" in vim.messages, 180)
        assert failures("\n".join(vim.lines) + "\n") == 0
        vim.keys("u")
        vim.until(lambda: "    ..." in vim.lines)
        # Now no program can pass, so that the solve does not end by itself before a key is pressed.
        vim.keys(":%s/^    2$/    99/<CR>")
        vim.until(lambda: "    99" in vim.lines)
        vim.keys("1G:ThresherSolve<CR>")
        vim.until(lambda: client.load().solves_running == 1)
        vim.keys("GA  # mine<Esc>")
        vim.until(lambda: client.load().solves_running == 0)
        vim.until(lambda: vim.virtual_text == "")
        assert vim.lines[-1] == "    ...  # mine"
        steady.settled(server, client)


def test_a_round_of_the_python_client_shows_the_model_what_failed(server: Server) -> None:
    impossible = ["assert half(4) == 2", "assert half(4) == 3"]
    with Client(server.address) as client:
        first = solve("Write half(n).", impossible, k=2, client=client)
        assert (first.outcome, first.code) == ("exhausted", None)
        second = refine(first, "Both tests count.", k=2, client=client)
        assert second.outcome == "exhausted"
        asked = second.spec.cascade
        assert [one.code for one in asked.prior_attempts] == [one.code for one in first.failed]
        # The programs of before are judged already, and the prompt has grown by them.
        assert second.summary.accounting.prompt_tokens > first.summary.accounting.prompt_tokens + 20
        steady.settled(server, client)


def test_the_typescript_example_solves_streams_and_cancels(server: Server, tmp_path: Path) -> None:
    package = installed("clients/typescript", tmp_path)
    run("npm", "run", "--silent", "build", folder=package)
    done = run("node", "dist/examples/solve.js", server.address, folder=package)
    assert "candidateJudged VERDICT_PASSED" in done.stdout
    assert "def median" in done.stdout
    done = run("node", "dist/examples/solve.js", server.address, "--cancel-after", "2", folder=package)
    assert done.stdout.rstrip().endswith("cancelled")
    with Client(server.address) as client:
        steady.settled(server, client)
