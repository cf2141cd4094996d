"""`thresher exec` against a server that does what it is told."""

import json
from pathlib import Path

import pytest
import yaml
from support.fake_server import PROGRAM, FakeServer
from thresher.v1 import problem_pb2, verdict_pb2

from tests.support.command_line import thresher

pytestmark = pytest.mark.usefixtures("no_environment")


def test_exec_passes_and_fails(server: FakeServer, problem: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    result = thresher("exec", str(program), "--tests", problem, "--address", server.address)
    assert result.exit_code == 0
    assert "passed: 1 of 1 tests passed" in result.stdout
    sent = server.programs[0]
    assert (sent.code, sent.entry_point, len(sent.tests), sent.run_all) == (PROGRAM, "add", 1, False)
    server.report = verdict_pb2.ExecutionReport(verdict="VERDICT_WRONG_ANSWER", tests_total=1, stderr=b"boo\xff")
    server.report.results.add(verdict="VERDICT_WRONG_ANSWER", message="got 4, expected 3")
    result = thresher("exec", str(program), "--tests", problem, "--address", server.address, "--all")
    assert result.exit_code == 1
    assert "got 4, expected 3" in result.stdout
    assert "boo" in result.stdout
    assert server.programs[1].run_all
    server.report.verdict = verdict_pb2.VERDICT_SANDBOX_FAILURE
    assert thresher("exec", str(program), "--tests", problem, "--address", server.address).exit_code == 3


def test_exec_json_stdin_and_python_tests(server: FakeServer, tmp_path: Path) -> None:
    tests = tmp_path / "test_add.py"
    tests.write_text("assert add(1, 2) == 3\nassert add(0, 0) == 0\n")
    arguments = ("exec", "-", "--tests", str(tests), "--test", "assert add(2, 2) == 4", "--entry-point", "add")
    result = thresher(*arguments, "--address", server.address, "--json", stdin=PROGRAM)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["passed"] is True
    assert document["report"]["verdict"] == "passed"
    assert [test.snippet.code for test in server.programs[0].tests] == [tests.read_text(), "assert add(2, 2) == 4"]
    assert server.programs[0].code == PROGRAM


def test_exec_wrong_use(tmp_path: Path) -> None:
    result = thresher("exec", str(tmp_path / "none.py"), "--test", "a")
    assert result.exit_code == 2
    assert "cannot read" in result.stderr
    assert thresher("exec", "-", stdin="x = 1").exit_code == 2


EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_exec_takes_the_documented_problem_files(server: FakeServer, path: Path) -> None:
    """A server refuses a hidden test of a program: no model is there from which it could be hidden."""
    result = thresher("exec", "-", "--tests", str(path), "--address", server.address, stdin=PROGRAM)
    assert result.exit_code == 0, result.output
    wanted = len(yaml.safe_load(path.read_text())["tests"])
    assert [test.hidden for test in server.programs[0].tests] == [False] * wanted


STDIO = "tests:\n- stdio: {stdin: '1', expected: '2'}\n"


@pytest.mark.parametrize(
    ("name", "said", "options", "language"),
    [
        ("a.py", "", [], "PYTHON"),
        ("-", "", [], "PYTHON"),
        ("program", "", [], "PYTHON"),
        ("a.cpp", "", [], "CPP"),
        ("a.CC", "", [], "CPP"),
        ("a.js", "", [], "JAVASCRIPT"),
        ("a.mjs", "language: javascript\n", [], "JAVASCRIPT"),
        ("a.txt", "language: cpp\n", [], "CPP"),
        ("a.txt", "", ["--language", "javascript"], "JAVASCRIPT"),
        ("a.py", "language: python\n", ["--language", "cpp"], "CPP"),
    ],
)
def test_exec_knows_the_language(
    server: FakeServer, tmp_path: Path, name: str, said: str, options: list[str], language: str
) -> None:
    problem = tmp_path / "problem.yaml"
    problem.write_text(said + STDIO)
    source = name if name == "-" else str(tmp_path / name)
    if name != "-":
        Path(source).write_text("int main() {}")
    result = thresher("exec", source, "--tests", str(problem), *options, "--address", server.address, stdin="x")
    assert result.exit_code == 0, result.output
    assert problem_pb2.Language.Name(server.programs[0].language) == f"LANGUAGE_{language}"


def test_exec_of_several_languages_at_a_time(server: FakeServer, tmp_path: Path) -> None:
    sources = [str(tmp_path / name) for name in ("a.cpp", "b.py")]
    for source in sources:
        Path(source).write_text("x")
    (tmp_path / "problem.yaml").write_text(STDIO)
    result = thresher("exec", *sources, "--tests", str(tmp_path / "problem.yaml"), "--address", server.address)
    assert result.exit_code == 0, result.output
    assert {program.language for program in server.programs} == {problem_pb2.LANGUAGE_CPP, problem_pb2.LANGUAGE_PYTHON}


@pytest.mark.parametrize(
    ("name", "said", "options", "words"),
    [
        ("a.cpp", "language: python\n", [], "the problem file says python, and {path} looks like cpp; give --language"),
        ("a.rs", "", [], "{path}: the ending .rs names no language; give --language python|cpp|javascript"),
        ("a.py", "", ["--language", "rust"], "language: 'rust' is none of python, cpp, javascript"),
    ],
)
def test_exec_asks_where_the_language_is_not_clear(
    tmp_path: Path, name: str, said: str, options: list[str], words: str
) -> None:
    path = tmp_path / name
    path.write_text("x")
    (tmp_path / "problem.yaml").write_text(said + STDIO)
    result = thresher("exec", str(path), "--tests", str(tmp_path / "problem.yaml"), *options)
    assert result.exit_code == 2
    assert words.format(path=path) in result.stderr


def test_a_call_that_takes_too_long_is_told_to_take_longer(server: FakeServer, problem: str) -> None:
    server.hang = True
    result = thresher("exec", "-", "--tests", problem, "--address", server.address, "--timeout", "0.3", stdin=PROGRAM)
    assert result.exit_code == 3
    assert "allow more time" in result.stderr
    assert "samples" not in result.stderr, "nothing is sampled here"


def test_exec_of_several_says_what_each_came_to(server: FakeServer, problem: str, tmp_path: Path) -> None:
    sources = []
    for name, code in (("good", PROGRAM), ("empty", ""), ("other", PROGRAM)):
        (tmp_path / f"{name}.py").write_text(code)
        sources.append(str(tmp_path / f"{name}.py"))
    options = ("--tests", problem, "--address", server.address)
    result = thresher("exec", sources[0], sources[2], *options)
    assert result.exit_code == 0
    assert result.stdout.count("passed, 1 of 1 tests passed") == 2
    result = thresher("exec", *sources, *options, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert (document["passed"], [row["source"] for row in document["programs"]]) == (False, sources)
    assert document["programs"][1]["refused"]["field"] == "program.code"
    server.report = verdict_pb2.ExecutionReport(verdict="VERDICT_WRONG_ANSWER", tests_total=1)
    server.report.results.add(verdict="VERDICT_WRONG_ANSWER", message="got 4, expected 3\nand more")
    result = thresher("exec", sources[0], sources[2], *options)
    assert result.exit_code == 1
    assert f"{sources[0]}: wrong answer, 0 of 1 tests passed: got 4, expected 3\n" in result.stdout
    server.report.verdict = verdict_pb2.VERDICT_SANDBOX_FAILURE
    assert thresher("exec", sources[0], sources[2], *options).exit_code == 3
    assert thresher("exec", sources[0], sources[2], "--tests", problem, "--address", "unix:/none").exit_code == 3
