"""Commands of the pages: each has a test that executes it, or is listed here with what stands in for it, and why.

What executes the commands of a page reads them out of the page, all of its blocks. Where that is not the command as it
stands (another address or file; a server that only prints its settings; a scripted server or fewer samples instead of
a model), its own test says so.
"""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from tests.support.fake_server import FakeServer

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for where in ("docs", ".", "editors/*", "clients/*") for page in ROOT.glob(f"{where}/*.md"))
HERE = "tests/docs/test_commands.py"
EXECUTED_BY = {
    "README.md": HERE,
    "docs/cascades.md": "tests/engine/serving/test_cascades_page.py",
    "docs/data.md": "tests/benchmarks/data/test_data_page.py",
    "docs/executor.md": "tests/executor/test_documents.py",
    "docs/experiments.md": "tests/benchmarks/experiments/test_document.py",
    "docs/load.md": "tests/benchmarks/load/test_page.py",
    "docs/metrics.md": "tests/deploy/test_metrics_page.py",
    "docs/operating.md": "tests/deploy/test_operating_page.py",
    "docs/problem-files.md": "tests/system/test_exec_command.py",
    "docs/refine.md": "tests/engine/serving/test_refine_page.py",
    "docs/sampling.md": "tests/engine/serving/test_sampling_page.py",
    "docs/scale-out.md": HERE,
    "docs/security.md": "tests/engine/serving/test_security_page.py",
    "docs/settings.md": "tests/packaging/test_settings_page.py",
    "docs/tutorial.md": "tests/system/test_tutorial.py",
}
"""What executes the commands of a page, but for those below."""
_MODELS = "draws from a model for long; tests/benchmarks/experiments/test_with_a_model.py runs a smaller one like it"
_BOTH = "smollm2-135m-instruct,qwen2.5-coder-0.5b-instruct"
NOT_AS_THEY_STAND = {
    "make demo": "tests/system/test_demo.py, with a tiny model",
    "make test": "it is what CI runs",
    "make setup": "what runs this test came out of it",
    "make check": "the first part of make test",
    "pip install .": "tests/packaging/test_wheel.py builds the wheel, and installs it with its extras",
    "pip install '.[server]'": "the same",
    "pip install '.[executor]'": "the same",
    "pip install '.[otel]'": "installed by make setup; test_operating_page.py reads it",
    "pip install --target /srv/packages numpy": "fetches from an index; test_documents.py sets the folder",
    ".venv/bin/thresher serve": "tests/system/test_tutorial.py",
    "thresher doctor": "tests/deploy/test_operating_page.py",
    "thresher data validate": "reads all data for minutes; tests/benchmarks/data/test_command.py, over a few records",
    "thresher data validate humaneval --references": "runs 164 programs; test_command.py, over a few",
    f"thresher bench sizes --models {_BOTH} --prompt chat --out results/sizes.json": _MODELS,
    "thresher bench ways --rows 600 --out results/ways.json": _MODELS,
    "thresher bench repair --failing 40 --rounds 4 --out results/repair.json": _MODELS,
    "thresher bench repair --human --failing 40 --rounds 4 --out results/human.json": _MODELS,
    "npm ci": "tests/editors/test_vscode.py and tests/clients/test_typescript.py, without scripts",
    "npm run build": "the first part of npm run test, which test_vscode.py runs",
    "npm run package": "untested: fetches what packs extensions",
    "code --install-extension thresher-0.1.0.vsix": "untested: needs VS Code",
    "npm run solve": "tests/clients/test_typescript.py runs what it starts, against a scripted server",
    "npm run solve -- 127.0.0.1:50051": "the same",
    "npm run solve -- --cancel-after 1": "the same",
}


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks, without comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = (line for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return [line for line in (re.sub(r"\s+#.*|\s+$", "", line) for line in lines) if line]


ALL = {str(page.relative_to(ROOT)): commands(page) for page in PAGES}
_IN_TEXT = re.compile(r"`(thresher [^`…|]+)`")
OURS = sorted(
    {line for lines in ALL.values() for line in lines if re.match(r"(\w+=\S+ )*(\S*/)?thresher ", line)}
    | {line for page in PAGES for line in _IN_TEXT.findall(page.read_text(encoding="utf-8").replace("\n", " "))}
)


def words(line: str) -> tuple[dict[str, str], list[str]]:
    """The variables before a command of ours, and the words behind its name."""
    found = shlex.split(line)
    start = next(place for place, word in enumerate(found) if word.endswith("thresher") and "=" not in word)
    return dict(word.split("=", 1) for word in found[:start]), found[start + 1 :]


def test_every_command_has_its_test() -> None:
    left = {page: [line for line in lines if line not in NOT_AS_THEY_STAND] for page, lines in ALL.items()}
    assert {page for page, lines in left.items() if lines} == set(EXECUTED_BY)
    for page, test in EXECUTED_BY.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not read {page}"


def test_nothing_is_excused_that_no_page_has() -> None:
    assert set(NOT_AS_THEY_STAND) <= {line for lines in ALL.values() for line in lines}
    for told in NOT_AS_THEY_STAND.values():
        for name in re.findall(r"(?:tests/[\w/]+/)?test_\w+\.py", told):
            assert list(ROOT.glob(name if "/" in name else f"tests/**/{name}")), name


def understood(asked: list[str]) -> bool:
    """Whether there are such a command and such options; the last one may want a value that the text leaves out."""
    # Help is said once all options are known, and before anything is done.
    forms = ([*asked, "--help"], [*asked, "1", "--help"])
    return any(CliRunner().invoke(app, form).exit_code == 0 for form in forms)


@pytest.mark.parametrize("line", OURS)
def test_every_command_of_ours_has_the_options_that_it_names(line: str) -> None:
    assert understood(words(line.partition(" > ")[0])[1])


@pytest.mark.parametrize("line", ["solve --no-such-option", "serve --no-such 1", "no-such-command", "bench no-such"])
def test_one_that_is_not_there_is_found(line: str) -> None:
    assert not understood(line.split())


@pytest.mark.parametrize("page", ["README.md", "docs/scale-out.md", "docs/metrics.md"])
def test_servers_of_the_pages_take_their_settings(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = [words(line) for line in ALL[page] if "thresher serve" in line]
    assert starts
    for variables, asked in starts:
        result = CliRunner().invoke(app, [*asked, "--print-config"], env=variables)
        assert result.exit_code == 0, result.output


def test_the_solves_of_the_readme_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solves = [words(line)[1] for line in ALL["README.md"] if "thresher solve" in line]
    assert len(solves) == 2
    monkeypatch.chdir(ROOT)
    with FakeServer(tmp_path / "s") as server:
        monkeypatch.setenv("THRESHER_ADDRESS", server.address)
        for asked in solves:
            assert CliRunner().invoke(app, asked).exit_code == 0
    file, prompt = server.specs
    assert file.problem.tests and prompt.sampling.k == 16
    assert prompt.problem.tests[0].snippet.code == "assert reverse_words('a bc d') == 'd bc a'"
