"""The TypeScript client: its stubs are those of the proto, and its example solves, streams and cancels."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from support.fake_server import PROGRAM, FakeServer
from support.node import ROOT, check_lock, check_passed, installed, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FOLDER = "clients/typescript"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built, and the example of its README."""
    copy = installed(FOLDER, tmp_path_factory.mktemp("npm"))
    text = (copy / "README.md").read_text(encoding="utf-8").partition("```ts\n")[2].partition("```")[0]
    (copy / "examples" / "readme.ts").write_text(text, encoding="utf-8")
    run("npm", "run", "--silent", "build", folder=copy)
    return copy


@pytest.fixture
def server(tmp_path: Path) -> Generator[FakeServer]:
    with FakeServer(tmp_path / "s.sock") as fake:
        yield fake


def test_the_lock_file_names_no_registry() -> None:
    check_lock(FOLDER)


def test_generated_code_is_up_to_date(package: Path) -> None:
    packages = str(package / "node_modules")
    run(sys.executable, "scripts/proto_typescript.py", "--check", "--packages", packages, folder=ROOT)


def test_its_own_tests_pass(package: Path) -> None:
    done = run("npm", "run", "--silent", "test", folder=package)
    check_passed(done.stdout)


def test_the_example_solves_and_streams(package: Path, server: FakeServer) -> None:
    done = run("node", "dist/examples/solve.js", server.address, folder=package)
    assert "1 accepted" in done.stdout
    assert "8 candidateJudged VERDICT_WRONG_ANSWER" in done.stdout
    assert done.stdout.rstrip().endswith(PROGRAM.rstrip())
    (spec,) = server.specs
    assert spec.problem.entry_point == "median"
    assert spec.problem.tests[1].snippet.code == "assert median([4, 1, 2, 3]) == 2.5"
    assert spec.sampling.k == 16
    assert not spec.sampling.HasField("temperature")


def test_the_example_of_the_readme_runs(package: Path, server: FakeServer) -> None:
    done = run("node", "dist/examples/readme.js", server.address, folder=package)
    assert done.stdout == f"0 false\n1 true\n{PROGRAM}\n"
    assert server.specs[0].problem.chat.messages[0].role == "user"


def test_the_example_cancels(package: Path, server: FakeServer) -> None:
    server.hang = True
    done = run("node", "dist/examples/solve.js", server.address, "--cancel-after", "1", folder=package)
    assert done.stdout.splitlines() == ["1 accepted ", "cancelled"]
    assert server.cancelled.wait(60)


def test_the_example_says_what_is_wrong(package: Path, server: FakeServer) -> None:
    server.token = "secret"
    done = run("node", "dist/examples/solve.js", server.address, folder=package, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "UNAUTHENTICATED" in done.stderr
